"""Strobe gains of Extended Yale B, each subject's from all other subjects, by the code of `psface calibrate`.

    python benchmarks/calibrate.py CroppedYale -o gains.csv                     # subject,azimuth,elevation,gain
    python benchmarks/relight.py CroppedYale -k 4 9 --gains gains.csv           # and what they are worth
    python benchmarks/calibrate.py --simulated data/simulated                   # against the gains that made the frames

On Yale a session is a subject's photographs under the flashes within 62 degrees of the axis. On the simulator
(`light_error: 0`, `strobe_gains: 0`, and a strength for each light, see docs/calibration.md) the true gains stand in
the frames' truth.exr; errors are relative, gains of geometric mean 1.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from pathlib import Path

import numpy as np

from pipeline.lights import to_angles
from pipeline.maps import read_maps
from pipeline.params import Ingest
from pipeline.sessions import Session
from stages.ingest.photoface import read_photoface
from stages.ingest.yaleb import find_shots, light_of
from stages.reconstruct.calibration.captures import captures_of, read_samples
from stages.reconstruct.calibration.gains import estimate_gains

CAP = 62.0  # degrees


def yale_sessions(root: Path) -> list[Session]:
    """A session a subject: all flashes within `CAP`."""
    return [
        Session(
            id=f"{shot.folder.name}/{shot.pose}",
            subject=shot.folder.name,
            session=shot.pose,
            rig="yale",
            frames=tuple(path.as_posix() for path in shot.paths.values()),
            lights=np.stack([light_of(flash) for flash in shot.paths]),
            strengths=np.ones(len(shot.paths)),
        )
        for shot in find_shots(root, CAP)
    ]


def yale(root: Path, out: Path) -> None:
    """Write the table, and print how far gains are from 1 and how sure they are."""
    captures = captures_of(yale_sessions(root))
    pairs = zip(captures.sessions, captures.lights, strict=True)
    samples = [read_samples(session, lights) for session, lights in pairs]
    flashes = [""] * len(captures.directions)
    for session, lights in zip(captures.sessions, captures.lights, strict=True):
        for frame, light in zip(session.frames, lights, strict=True):
            flashes[light] = frame.removesuffix(".pgm")[-9:]
    rows, spread, error, seconds = [], [], [], []
    for left_out, session in enumerate(captures.sessions):
        start = time.perf_counter()
        found = estimate_gains(samples[:left_out] + samples[left_out + 1 :], captures.directions)
        seconds.append(time.perf_counter() - start)
        rows += [
            (session.subject, int(flash[1:5]), int(flash[6:]), f"{gain:.5f}")
            for flash, gain in zip(flashes, found.gains, strict=True)
        ]
        spread.append(np.log(found.gains).std())
        error.append((found.errors / found.gains).mean())
    with out.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([("subject", "azimuth", "elevation", "gain"), *rows])
    print(
        f"{len(flashes)} flashes, {len(samples)} subjects: gains spread by {np.mean(spread):.1%} (standard deviation), "
        f"standard error {np.mean(error):.2%}, {np.mean(seconds):.1f} s a calibration; wrote {out}"
    )


def simulated(root: Path) -> None:
    """Print the true and the found gains of a simulated data set of one rig."""
    found = read_photoface(root, Ingest(source="photoface", root=root.as_posix()))
    captures = captures_of([item for item in found if isinstance(item, Session)])
    pairs = list(zip(captures.sessions, captures.lights, strict=True))
    truth = np.exp(np.mean([np.log(_true_gains(session, lights)) for session, lights in pairs], axis=0))
    gains = estimate_gains([read_samples(*pair) for pair in pairs], captures.directions)
    for light, (true, gain, error) in enumerate(zip(truth, gains.gains, gains.errors, strict=True)):
        zenith, azimuth = to_angles(captures.directions[light])
        print(f"zenith {zenith:5.1f} azimuth {azimuth:6.1f}: true {true:.4f}, found {gain:.4f} +- {error:.4f}")
    off = gains.gains / truth - 1
    print(f"{len(pairs)} sessions: relative error {np.sqrt(np.mean(off**2)):.2%} rms, {np.abs(off).max():.2%} at most")


def _true_gains(session: Session, lights: np.ndarray) -> np.ndarray:
    gains = np.array(json.loads(read_maps(Path(session.frames[0]).parent / "truth.exr").attributes["gains"]))
    ordered = np.empty(len(gains))
    ordered[lights] = gains
    return np.asarray(ordered / np.exp(np.log(gains).mean()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="CroppedYale, or with --simulated a simulated data set of one rig")
    parser.add_argument("-o", "--out", type=Path, default=Path("gains.csv"))
    parser.add_argument("--simulated", action="store_true")
    options = parser.parse_args()
    if options.simulated:
        simulated(options.data)
    else:
        yale(options.data, options.out)


if __name__ == "__main__":
    main()
