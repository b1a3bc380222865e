"""Normals and lights from frames whose lights nobody wrote down, beside known lights and beside the mean face.

    python benchmarks/uncalibrated.py [--yale CROPPED_YALE] [--subjects 30] [--sessions 4] [--jobs 2]

Simulated rig, as params.yaml draws it, subjects from 1000 on (the model of faces comes from 20000 on):
- the mean angle between normals and the truth over the face and hair that the maps cover, of calibrated maps (the
  recorded lights, 1.5 degrees off), of uncalibrated ones, and of the model's mean face, laid on the true landmarks; the
  last where the mean face has normals, and the other two there as well;
- rank-1 of raw normals, cosine of aligned crops, as `psface evaluate` takes it, gallery and probes of one rig.
Extended Yale B, eight subjects and nineteen held-out flashes: PSNR of the held-out photographs, each predicted by the
maps' scaled normals, with attached shadows, under its best free light; and how far estimated lights are from the
published ones. There the mask is the whole picture.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
from scipy.optimize import least_squares

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks.difficulty import JITTER, POSES, QUALITY, SIZE, rank1
from pipeline.errors import Rejected
from pipeline.faces import preprocess
from pipeline.geometry import arcface_template, estimate_similarity, invert, warp_map
from pipeline.images import read_frame
from pipeline.maps import Maps
from pipeline.parallel import map_sessions
from pipeline.params import Reconstruct, Simulate, section
from stages.ingest.yaleb import light_of
from stages.reconstruct.face.model import face_model, landmarks
from stages.reconstruct.session import Photographs, reconstruct
from stages.simulate.photoface import five_landmarks
from stages.simulate.render import photograph
from stages.simulate.subject import draw_subject
from stages.simulate.visit import draw_visit

KINDS = ("calibrated", "uncalibrated")
YALE = ("yaleB01", "yaleB02", "yaleB03", "yaleB05", "yaleB08", "yaleB15", "yaleB22", "yaleB28")
# azimuth, elevation of the flashes that the maps are made from, the first of these, and of those held out
TRAIN = (
    (-50, 0), (20, -40), (35, 40), (0, 45), (50, 0), (-20, -40), (0, -35), (-35, 40), (15, 20), (-15, 20), (0, 20),
    (0, -20), (50, -40), (-50, -40), (5, -10),
)  # fmt: skip
HELD = (
    (0, 0), (5, 10), (-5, 10), (10, 0), (-10, 0), (10, -20), (-10, -20), (20, 10), (-20, 10), (20, -10), (-20, -10),
    (25, 0), (-25, 0), (35, 15), (-35, 15), (35, -20), (-35, -20), (60, 20), (-60, 20),
)  # fmt: skip


def angle(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Degrees between vectors (..., 3)."""
    length = np.linalg.norm(one, axis=-1) * np.linalg.norm(other, axis=-1)
    return np.rad2deg(np.arccos(np.clip(np.sum(one * other, axis=-1) / length, -1, 1)))


def simulated(params: Simulate, settings: Reconstruct, item: tuple[int, int]) -> dict[str, object] | None:
    """Errors and aligned normals of one session; none where ingest would leave it out."""
    subject = draw_subject(params, item[0])
    visit = draw_visit(params, subject, item[1])
    if visit.pose not in POSES or visit.quality not in QUALITY or visit.occlusion:
        return None
    shot = photograph(subject, visit, params.size, params.effects, params.seed)
    frames, ambient = (np.rint(np.clip(x, 0, 1) * 255).astype(np.float32) / 255 for x in (shot.frames, shot.ambient))
    points = np.stack(list(five_landmarks(shot.landmarks).values()))
    mean = face_model()
    onto = invert(estimate_similarity(points, landmarks()))
    laid = warp_map("normal", mean.normal, onto, params.size, mask=mean.weight > 0.3)
    ones = np.ones(len(frames))
    row: dict[str, object] = {"subject": item[0], "rig": visit.rig}
    rng = np.random.default_rng([params.seed, *item])
    points = points + JITTER * params.size / 256 * rng.normal(size=points.shape)
    matrix = estimate_similarity(points, arcface_template(SIZE))
    for kind, lights in zip(KINDS, (visit.recorded, None), strict=True):
        start = time.process_time()
        try:
            maps, _ = reconstruct(Photographs(frames, lights, ones, ambient), settings)
        except Rejected as reason:
            return {"rejected": f"{item[0]}, session {item[1]}: {reason}"}
        row[f"{kind} seconds"] = time.process_time() - start
        where = maps.mask & shot.truth.mask
        face = where & (np.linalg.norm(laid, axis=-1) > 0.5)
        error = np.zeros(where.shape)
        error[where] = angle(maps.normal[where], shot.truth.normal[where])
        row |= {kind: float(error[where].mean()), f"{kind} face": float(error[face].mean())}
        row["mean face"] = float(angle(laid[face], shot.truth.normal[face]).mean())
        if lights is None:
            row["lights"] = float(angle(found_lights(maps), visit.lights).mean())
        crop = warp_map("normal", maps.normal, matrix, SIZE, mask=maps.mask)
        inside = warp_map("mask", maps.mask, matrix, SIZE)
        row[f"{kind} pixels"] = preprocess(crop[None], inside[None], "normal").ravel().astype(np.float16)
    return row


def ringed(params: Simulate, count: int) -> Simulate:
    """The settings with two rigs of so many flashes, the second turned by half a step."""
    rigs = [
        {"name": name, "lights": [{"zenith": 35, "azimuth": 360 * (i + turn) / count} for i in range(count)]}
        for name, turn in (("ring", 0.25), ("turned", 0.75))
    ]
    return Simulate.model_validate({**params.model_dump(), "rigs": rigs})


def found_lights(maps: Maps) -> np.ndarray:
    """(k, 3) of a file's attributes."""
    return np.array(json.loads(maps.attributes["lights"]))


def accepted(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    """The rows that have results; the reasons of the others are printed."""
    for row in rows:
        if "rejected" in row:
            print(f"refused: {row['rejected']}")
    return [row for row in rows if "rejected" not in row]


def report_simulated(rows: list[dict[str, object]], solver: str) -> None:
    kept = accepted(rows)
    mean = {name: float(np.mean([row[name] for row in kept])) for name in kept[0] if isinstance(kept[0][name], float)}
    who, rigs = np.array([row["subject"] for row in kept]), np.array([row["rig"] for row in kept])
    print(
        f"simulated rig, solver {solver}: {len(kept)} sessions of {len(set(who))} subjects, "
        f"{len(rows) - len(kept)} refused"
    )
    print(f"{'':14s} whole    face   seconds of a core")
    for kind in KINDS:
        print(f"{kind:14s} {mean[kind]:5.2f}   {mean[f'{kind} face']:5.2f}   {mean[f'{kind} seconds']:.2f}")
    print(f"{'mean face':14s}         {mean['mean face']:5.2f}")
    print(
        f"uncalibrated / calibrated {mean['uncalibrated'] / mean['calibrated']:.2f} (at most 1.6), on the face "
        f"{mean['uncalibrated face'] / mean['calibrated face']:.2f}; uncalibrated / mean face "
        f"{mean['uncalibrated face'] / mean['mean face']:.2f} (at most .50); lights {mean['lights']:.1f} degrees off"
    )
    worst = np.quantile([row["uncalibrated"] for row in kept], 0.95)
    print(f"uncalibrated: 95 % of the sessions below {worst:.1f} degrees")
    rates = {}
    for kind in KINDS:
        pixels = np.stack([row[f"{kind} pixels"] for row in kept]).astype(np.float32)
        pixels -= pixels.mean(axis=0)
        pixels /= np.linalg.norm(pixels, axis=1, keepdims=True)
        rates[kind] = rank1(pixels @ pixels.T, who, rigs, same=True)
    gap = 100 * (rates["calibrated"] - rates["uncalibrated"])
    print(
        f"rank-1 of raw normals: calibrated {rates['calibrated']:.3f}, uncalibrated {rates['uncalibrated']:.3f} "
        f"({gap:+.1f} points lost, at most 5; chance {1 / len(set(who)):.3f})"
    )


def named(flash: tuple[int, int]) -> str:
    return f"A{flash[0]:+04d}E{flash[1]:+03d}"


def photograph_of(root: Path, subject: str, flash: tuple[int, int]) -> np.ndarray | None:
    path = root / subject / f"{subject}_P00{named(flash)}.pgm"
    return read_frame(path) if path.is_file() else None


def best_light(scaled: np.ndarray, photo: np.ndarray) -> np.ndarray:
    """(P,) of scaled normals (P, 3) under the free light, attached shadows cut off, that is nearest to a photograph."""
    start = np.linalg.lstsq(scaled, photo, rcond=None)[0]

    def left(light: np.ndarray) -> np.ndarray:
        return np.maximum(scaled @ light, 0) - photo

    found = least_squares(left, start, lambda light: scaled * ((scaled @ light) > 0)[:, None])
    return np.clip(scaled @ found.x, 0, 1)


def yale(root: Path, settings: Reconstruct, job: tuple[str, int]) -> dict[str, object]:
    """PSNR of held-out photographs of one subject from ``count`` flashes, and how the two kinds of maps differ."""
    subject, count = job
    used = [flash for flash in TRAIN if photograph_of(root, subject, flash) is not None][:count]
    frames = np.stack([photograph_of(root, subject, flash) for flash in used])
    lights = np.stack([light_of(named(flash)) for flash in used])
    row: dict[str, object] = {}
    whole = np.ones(frames.shape[1:], bool)
    made = {}
    for kind, given in zip(KINDS, (lights, None), strict=True):
        try:
            made[kind], _ = reconstruct(Photographs(frames, given, np.ones(count), mask=whole), settings)
        except Rejected as reason:
            return {"rejected": f"{subject}: {reason}"}
        scaled = (made[kind].normal * made[kind].albedo[..., None]).reshape(-1, 3).astype(float)
        scores = []
        for flash in HELD:
            photo = photograph_of(root, subject, flash)
            if photo is not None:
                error = np.mean((best_light(scaled, photo.ravel().astype(float)) - photo.ravel()) ** 2)
                scores.append(-10 * np.log10(error))
        row[kind] = scores
    lit = frames.min(axis=0) > 0.03
    row["lights"] = angle(found_lights(made["uncalibrated"]), lights).mean()
    row["apart"] = angle(made["uncalibrated"].normal[lit], made["calibrated"].normal[lit]).mean()
    return row


def report_yale(rows: list[dict[str, object]], count: int, solver: str) -> None:
    kept = accepted(rows)
    known, unknown = (np.concatenate([row[kind] for row in kept]) for kind in KINDS)
    lost = unknown.mean() - known.mean()
    print(
        f"Yale, solver {solver}, k = {count}: held-out photographs under their best light, calibrated "
        f"{known.mean():.2f} dB, uncalibrated {unknown.mean():.2f} dB ({lost:+.2f}, at least -1.5) over {len(known)}; "
        f"lights {np.mean([row['lights'] for row in kept]):.1f} degrees from the published, normals "
        f"{np.mean([row['apart'] for row in kept]):.1f} from the calibrated"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--params", default="params.yaml")
    parser.add_argument("--yale", type=Path, metavar="CROPPED_YALE", help="left out without it")
    parser.add_argument("--subjects", type=int, default=30)
    parser.add_argument("--first", type=int, default=1000)
    parser.add_argument("--sessions", type=int, default=4)
    parser.add_argument("--flashes", type=int, help="rings of so many flashes 35 degrees off the axis instead")
    parser.add_argument("--jobs", type=int, default=-1)
    parser.add_argument("--solver", default="auto")
    options = parser.parse_args()
    params, settings = section(options.params, "simulate", Simulate), Reconstruct(solver=options.solver)
    if options.flashes:
        params = ringed(params, options.flashes)
    items = [(s, n) for s in range(options.first, options.first + options.subjects) for n in range(options.sessions)]
    found = map_sessions(partial(simulated, params, settings), items, jobs=options.jobs, label="simulated")
    report_simulated([row for row in found if isinstance(row, dict)], options.solver)
    if options.yale is None:
        return
    if not options.yale.is_dir():
        parser.error(f"{options.yale}: no such folder")
    for count in (4, 9):
        jobs = [(subject, count) for subject in YALE]
        found = map_sessions(partial(yale, options.yale, settings), jobs, jobs=options.jobs, label=f"Yale, {count}")
        report_yale([row for row in found if isinstance(row, dict)], count, options.solver)


if __name__ == "__main__":
    main()
