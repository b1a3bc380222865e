"""Does the score of `psface quality` predict the error of the normals? Spearman's correlation on simulated sessions.

    python benchmarks/quality.py                      # 300 sessions of subjects that the fit did not see
    python benchmarks/quality.py --fit                # fit anew on other subjects and print the lines of trust.py
    python benchmarks/quality.py --yale CroppedYale   # and rank real sessions, four flashes each

Every session has the effects of params.yaml and one trouble more, drawn evenly: none, blur, dark, drift of the head
(1.5 to 5 px), three lights instead of four, recorded lights that are 3 to 10 degrees off, highlights 2 to 4 times as
strong. Its error is the mean angle between reconstructed and true normals over the skin of the face, shadows included.
The interval is 95 %, by resampling subjects (a session each).
"""

from __future__ import annotations

import argparse
import re
from functools import partial
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from pipeline.errors import Rejected
from pipeline.images import decode
from pipeline.parallel import map_sessions
from pipeline.params import Reconstruct, Simulate, section
from stages.ingest.yaleb import light_of
from stages.reconstruct import trust
from stages.reconstruct.ranking import ranked
from stages.reconstruct.session import Photographs, reconstruct
from stages.reconstruct.trust import Trust, evidence, judge, predicted_error
from stages.simulate.render import photograph
from stages.simulate.skin import R_SKIN
from stages.simulate.subject import draw_subject
from stages.simulate.visit import draw_visit

TROUBLES = ("none", "blur", "dark", "drift", "three lights", "wrong lights", "highlights")
SETS = {"fit": 30_000, "test": 31_000}  # first subject of each
RIDGE = 1.0
Measured = tuple[str, dict[str, float], float]
DEALT = (("+000E+00", "+000E+45", "-035E+15", "+035E+15"), ("-020E-10", "+020E-10", "-035E+40", "+035E+40"),
         ("+010E+00", "-010E+00", "+025E+00", "+000E+20"),
         ("-025E+00", "+010E-20", "-005E+10", "+020E-40"))  # fmt: skip


def troubled(params: Simulate, trouble: str, rng: np.random.Generator) -> Simulate:
    """The parameters with a trouble more."""
    effects = {
        "drift": {"motion": float(rng.uniform(1.5, 5))},
        "wrong lights": {"light_error": float(rng.uniform(3, 10))},
        "highlights": {"specular": params.effects.specular * float(rng.uniform(2, 4))},
    }.get(trouble, {})
    quality = {trouble if trouble in ("blur", "dark") else "ok": 1.0}
    pose = {name: share for name, share in params.frequencies.pose.items() if name in ("1", "2", "3")}
    frequencies = params.frequencies.model_copy(update={"quality": quality, "occlusion": {"": 1.0}, "pose": pose})
    return params.model_copy(update={"effects": params.effects.model_copy(update=effects), "frequencies": frequencies})


def measure(params: Simulate, settings: Reconstruct, item: tuple[int, str]) -> Measured:
    """Trouble, evidence and degrees of error of one session."""
    subject, trouble = item
    rng = np.random.default_rng([params.seed, subject])
    params = troubled(params, trouble, rng)
    who = draw_subject(params, subject)
    visit = draw_visit(params, who, int(rng.integers(100)))
    shot = photograph(who, visit, params.size, params.effects, params.seed)
    frames, dark = (np.rint(np.clip(x, 0, 1) * 255).astype(np.float32) / 255 for x in (shot.frames, shot.ambient))
    kept = np.sort(rng.permutation(len(frames))[: 3 if trouble == "three lights" else None])
    maps, _ = reconstruct(Photographs(frames[kept], visit.recorded[kept], np.ones(len(kept)), dark), settings)
    face = (shot.regions == R_SKIN) & shot.truth.mask & maps.mask
    cosine = np.clip((maps.normal * shot.truth.normal).sum(axis=-1)[face], -1, 1)
    return trouble, evidence(maps), float(np.rad2deg(np.arccos(cosine)).mean())


def collect(params: Simulate, settings: Reconstruct, first: int, count: int, jobs: int) -> list[Measured]:
    """Sessions of ``count`` subjects, the troubles in turn; without those that are rejected."""
    items = [(first + i, TROUBLES[i % len(TROUBLES)]) for i in range(count)]
    found = map_sessions(partial(measure, params, settings), items, jobs=jobs, label="sessions")
    return [row for row in found if not isinstance(row, Rejected)]


def fit(rows: list[Measured]) -> None:
    """Ridge regression of the logarithm of the error, and print it as trust.py has it."""
    x = np.array([[numbers[name] for name in trust.NAMES] for _, numbers, _ in rows])
    y = np.log([error for *_, error in rows])
    trust.TYPICAL = np.nanmedian(x, axis=0).round(2)
    x = np.nan_to_num(x - trust.TYPICAL)
    scale = x.std(axis=0)
    z = x / scale
    centred = z - z.mean(axis=0)
    slopes = np.linalg.solve(centred.T @ centred + RIDGE * np.eye(z.shape[1]), centred.T @ (y - y.mean())) / scale
    trust.SLOPES = slopes.round(3)
    trust.OFFSET = round(float((y - x @ slopes).mean()), 3)
    for name in ("TYPICAL", "SLOPES"):
        print(f"{name} = np.array({getattr(trust, name).tolist()})")
    print(f"OFFSET = {trust.OFFSET}")


def report(rows: list[Measured]) -> None:
    """Print the correlation over all sessions, with its interval, and what each trouble scores."""
    error = np.array([row[2] for row in rows])
    rng = np.random.default_rng(0)
    draws = rng.integers(len(rows), size=(1000, len(rows)))
    print("| | Spearman, score against error |\n|---|---|")
    score = np.array([predicted_error(row[1]) for row in rows])
    low, high = np.quantile([spearmanr(score[d], error[d])[0] for d in draws], [0.025, 0.975])
    print(f"| the score, {len(rows)} sessions | {spearmanr(score, error)[0]:.2f} [{low:.2f}, {high:.2f}] |")
    residual = np.array([np.nan_to_num(row[1]["misfit"], nan=-10) for row in rows])
    print(f"| the residual alone | {spearmanr(residual, error)[0]:.2f} |\n")
    print("| trouble | sessions | error, degrees | predicted | Spearman within |\n|---|---|---|---|---|")
    for trouble in TROUBLES:
        its = np.array([row[0] == trouble for row in rows])
        within = spearmanr(score[its], error[its])[0]
        print(f"| {trouble} | {its.sum()} | {error[its].mean():.1f} | {score[its].mean():.1f} | {within:.2f} |")


def yale(root: Path, settings: Reconstruct) -> None:
    """Rank real sessions and print the worst: four hands of four flashes a subject, `.bad` files among them."""
    found: list[tuple[str, Trust]] = []
    for folder in sorted(root.glob("yaleB*")):
        named = {m[1]: p for p in sorted(folder.glob("*.pgm*")) if (m := re.search(r"A([+-]\d+E[+-]\d+)\.pgm", p.name))}
        for number, flashes in enumerate(DEALT, start=1):
            paths = [named[flash] for flash in flashes if flash in named]
            frames = [decode(path, 0).astype(np.float32) / 255 for path in paths]
            if len(frames) < len(flashes):
                continue
            lights = np.stack([light_of("A" + flash) for flash in flashes])
            maps, _ = reconstruct(Photographs(np.stack(frames), lights, np.ones(len(frames))), settings)
            bad = " (has a .bad frame)" if any(path.suffix == ".bad" for path in paths) else ""
            found.append((f"{folder.name}/set{number}{bad}", judge(maps, np.stack(frames))))
    print(f"\nYale, {len(found)} sessions, worst first")
    for name, one in ranked(found)[:14]:
        print(f"| {name} | {one.error:.1f} | {one.why} | {one.flat:.2f} |")
    good = [one.error for _, one in found if not one.findings]
    print(f"{len(good)} without a finding: {min(good):.1f} to {max(good):.1f}, median {np.median(good):.1f} degrees")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--params", default="params.yaml")
    parser.add_argument("--sessions", type=int, default=301)
    parser.add_argument("--size", type=int, default=160, help="pixels")
    parser.add_argument("--fit", action="store_true", help="on other subjects; print the lines of trust.py")
    parser.add_argument("--yale", type=Path, help="the folder CroppedYale")
    parser.add_argument("--jobs", type=int, default=-1)
    options = parser.parse_args()
    params = section(options.params, "simulate", Simulate).model_copy(update={"size": options.size})
    settings = section(options.params, "reconstruct", Reconstruct)
    if options.fit:
        fit(collect(params, settings, SETS["fit"], options.sessions, options.jobs))
    report(collect(params, settings, SETS["test"], options.sessions, options.jobs))
    if options.yale:
        yale(options.yale, settings)


if __name__ == "__main__":
    main()
