"""Masks as the detector and the painter meet them: what they cost and how far their points can be trusted.

python benchmarks/masks.py [--subjects 30] [--yale /path/to/CroppedYale]

Twins of simulated sessions, bare and masked: core seconds to render, faces found on the mean frame, and how far each
landmark is off the true one (median, in distances of the eyes); the yaw that the painter finds from the five true
points. With --yale, sessions of four flashes painted, and how many of those the detector finds.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from pipeline.geometry import LANDMARKS
from pipeline.images import read_frame
from pipeline.maskdesigns import draw_design
from pipeline.maskhead import fit_pose
from pipeline.maskpaint import wear
from pipeline.params import Simulate, section
from stages.crop.looks import find_faces
from stages.simulate.photoface import five_landmarks
from stages.simulate.render import photograph
from stages.simulate.subject import draw_subject
from stages.simulate.visit import draw_masks, draw_visit

ROOT = Path(__file__).resolve().parent.parent
LOOK = {"border": 0.3, "min_face": 0.2, "confidence": 0.9}
FLASHES = ("A+000E+00", "A+035E+40", "A-050E+00", "A+000E+20")


def simulated(count: int) -> None:
    """Twins of sessions that ingest would keep."""
    params = section(ROOT / "params.yaml", "simulate", Simulate).model_copy(update={"masks": 1.0, "mask_twins": True})
    seconds, means, points, yaws = [], [], [], []
    for index in range(count):
        who = draw_subject(params, index)
        visit = draw_visit(params, who, 0)
        if visit.occlusion or visit.quality != "ok" or int(visit.pose) > 3:
            continue
        photograph(who, visit, params.size, params.effects, params.seed)  # makes the subject, which is no twin's cost
        for twin in draw_masks(params, visit):
            begin = time.process_time()
            shot = photograph(who, twin, params.size, params.effects, params.seed)
            seconds.append(time.process_time() - begin)
            means.append(np.clip(shot.frames, 0, 1).mean(axis=0))
        five = np.array(list(five_landmarks(shot.landmarks).values()))
        points.append(five)
        yaws.append(abs(fit_pose(five).yaw - visit.angles[0]))
    bare, masked = np.median(seconds[::2]), np.median(seconds[1::2])
    print(f"a masked session costs {masked / bare:.2f} times a bare one ({bare:.3f} s of a core)")
    print(f"yaw of the painter's head, from the five true points: off by {np.mean(yaws):.1f} degrees on average")
    for name, images in (("bare", means[::2]), ("masked", means[1::2])):
        seen = [s.landmarks for s in find_faces(images, **LOOK)]  # type: ignore[arg-type]
        off = [
            np.linalg.norm(found - true, axis=1) / np.linalg.norm(true[1] - true[0])
            for found, true in zip(seen, points, strict=True)
            if found is not None
        ]
        each = ", ".join(f"{mark} {value:.2f}" for mark, value in zip(LANDMARKS, np.median(off, axis=0), strict=True))
        print(f"{name}: {len(off)} of {len(images)} faces found; off by {each}")


def yale(root: Path) -> None:
    """Four flashes of each subject, painted at the points that were found before."""
    means, painted = [], []
    for folder in sorted(root.glob("yaleB*")):
        files = [folder / f"{folder.name}_P00{flash}.pgm" for flash in FLASHES]
        if all(file.is_file() for file in files):
            means.append(np.stack([read_frame(file) for file in files]))
    found = find_faces([frames.mean(axis=0) for frames in means], **LOOK)  # type: ignore[arg-type]
    rng = np.random.default_rng(7)
    for frames, sighting in zip(means, found, strict=True):
        if sighting.landmarks is not None:
            painted.append(wear(draw_design(rng), frames, sighting.landmarks).mean(axis=0))
    again = [s.landmarks is not None for s in find_faces(painted, **LOOK)]  # type: ignore[arg-type]
    print(f"Yale B: {len(painted)} of {len(means)} faces found bare, {sum(again)} of those again when painted")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subjects", type=int, default=30)
    parser.add_argument("--yale", type=Path)
    options = parser.parse_args()
    simulated(options.subjects)
    if options.yale:
        yale(options.yale)


if __name__ == "__main__":
    main()
