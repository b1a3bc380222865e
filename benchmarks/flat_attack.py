"""Flat attacks against the planarity score, as in ISO/IEC 30107-3: APCER by species, BPCER, subject-disjoint.

    python benchmarks/flat_attack.py                      # 150 attacks of each species, 480 faces' sessions
    python benchmarks/flat_attack.py --fit                # fit the score anew and print the lines of flatness.py
    python benchmarks/flat_attack.py --yale CroppedYale   # real faces beside them

Attacks and bona fide presentations are simulated with the effects of params.yaml and reconstructed with its settings.
Bona fide are the sessions that ingest keeps: every expression, pose, rig, spectacles, beard. ``--fit`` takes other
subjects: the score is fitted on one set of them and the threshold set on a second, where the worse of BPCER and the
worst species' APCER is least. APCER: attacks taken for faces; BPCER: faces taken for flat; APNRR: attacks that
reconstruction itself rejects, which count as stopped. Intervals are 95 %, Clopper and Pearson's; a picture is shown
once to a species; a bona fide subject has several sessions, so the subjects with an error are given too.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from scipy.stats import beta
from sklearn.linear_model import LogisticRegression

from pipeline.errors import Rejected
from pipeline.images import read_frame
from pipeline.maps import Maps
from pipeline.parallel import map_sessions
from pipeline.params import Reconstruct, Simulate, section
from stages.ingest.yaleb import light_of
from stages.reconstruct import flatness
from stages.reconstruct.flatness import shapes_of
from stages.reconstruct.session import Photographs, reconstruct
from stages.simulate.attacks import SPECIES, draw_attack, photograph_attack
from stages.simulate.render import Shot, photograph
from stages.simulate.subject import draw_subject
from stages.simulate.visit import Visit, draw_visit

FACE, UNSUBTRACTED = "face", "screen, ambient light not subtracted"
POSES, QUALITY = ("1", "2", "3"), ("ok",)  # what ingest keeps by default
SETS = {"fit": 20_000, "threshold": 21_000, "test": 22_000}  # first subject of each
Item = tuple[str, int, int]
Measured = tuple[str, int, str, np.ndarray | None]
YALE = {4: ("+000E+00", "+000E+45", "-035E+15", "+035E+15"),
        5: ("-020E-10", "+020E-10", "-035E+40", "+035E+40", "+000E+20")}  # fmt: skip


def maps_of(shot: Shot, visit: Visit, settings: Reconstruct, *, ambient: bool = True) -> Maps | None:
    """The maps of an 8-bit session as recorded; None where it is rejected."""
    frames, dark = (np.rint(np.clip(x, 0, 1) * 255).astype(np.float32) / 255 for x in (shot.frames, shot.ambient))
    given = Photographs(frames, visit.recorded, np.ones(len(frames)), dark if ambient else None)
    try:
        return reconstruct(given, settings)[0]
    except Rejected:
        return None


def measure(params: Simulate, settings: Reconstruct, item: Item) -> list[Measured]:
    """Species, subject, kind and the score's numbers (None: rejected) of one presentation."""
    species, subject, number = item
    if species == FACE:
        who = draw_subject(params, subject)
        visit = draw_visit(params, who, number)
        if visit.pose not in POSES or visit.quality not in QUALITY or visit.occlusion:
            return []
        shot = photograph(who, visit, params.size, params.effects, params.seed)
        kind = f"pose {visit.pose}, {visit.expression}"
    else:
        attack = draw_attack(params, subject, number, species)
        visit, shot = attack.visit, photograph_attack(attack, params)
        kind = f"{attack.shape}, {'nobody' if attack.behind is None else 'a person'} behind"
    ways = {species: True} | ({UNSUBTRACTED: False} if species == "screen" else {})
    found: list[Measured] = []
    for name, ambient in ways.items():
        maps = maps_of(shot, visit, settings, ambient=ambient)
        found.append((name, subject, kind, None if maps is None else shapes_of(maps)))
    return found


def collect(params: Simulate, settings: Reconstruct, first: int, each: int, faces: int, jobs: int) -> list[Measured]:
    """All presentations of subjects from ``first`` on: an attack of each species a subject, six sessions a face."""
    items: list[Item] = [(species, first + i, 0) for i in range(each) for species in SPECIES]
    items += [(FACE, first + i, number) for i in range(faces) for number in range(6)]
    found = map_sessions(partial(measure, params, settings), items, jobs=jobs, label="presentations")
    return [row for rows in found if isinstance(rows, list) for row in rows]


def logits(rows: Sequence[Measured], name: str) -> np.ndarray:
    """(N,) logits of the scores of a species, without those that were rejected."""
    return np.array(
        [(x @ flatness.WEIGHTS + flatness.OFFSET).max() for kind, _, _, x in rows if kind == name and x is not None]
    )


def fit(rows: Sequence[Measured]) -> tuple[np.ndarray, float]:
    """Weights and offset: logistic regression in which each species weighs the same, and all together as the faces.

    Each presentation counts with its flattest place, which depends on the weights: fitted in turn until it rests.
    """
    kept = [(SPECIES.index(row[0]) + 1 if row[0] in SPECIES else 0, row[3]) for row in rows
            if row[0] in (FACE, *SPECIES) and row[3] is not None]  # fmt: skip
    species = np.array([kind for kind, _ in kept])
    share = np.array([len(SPECIES), *np.ones(len(SPECIES))]) / np.bincount(species)
    weights, offset = np.array([-1.0, -1.0, -1.0]), 0.0
    for _ in range(20):
        x = np.array([shapes[np.argmax(shapes @ weights)] for _, shapes in kept])
        mean, sd = x.mean(axis=0), x.std(axis=0)
        model = LogisticRegression(C=1.0, max_iter=1000)
        model.fit((x - mean) / sd, species > 0, sample_weight=share[species] / share[species].mean())
        weights = model.coef_[0] / sd
        offset = float(model.intercept_[0] - weights @ mean)
    return weights, offset


def threshold(rows: Sequence[Measured]) -> float:
    """The logit at which the worse of BPCER and the worst APCER is least: the middle of where that is so."""
    face, attacks = logits(rows, FACE), [logits(rows, name) for name in SPECIES]
    at = np.linspace(-6, 6, 1201)
    worst = [max(np.mean(face > t), *(np.mean(a <= t) for a in attacks)) for t in at]
    return float(np.median(at[np.isclose(worst, min(worst))]))


def interval(errors: int, count: int) -> tuple[float, float]:
    """Clopper and Pearson's 95 % interval of a rate."""
    low = float(beta.ppf(0.025, errors, count - errors + 1)) if errors else 0.0
    return low, float(beta.ppf(0.975, errors + 1, count - errors)) if errors < count else 1.0


def line(name: str, errors: int, count: int, more: str = "") -> str:
    """One row of the table."""
    low, high = interval(errors, count)
    return f"| {name} | {errors}/{count} | {errors / count:.1%} [{low:.1%}, {high:.1%}] | {more} |"


def report(rows: Sequence[Measured]) -> None:
    """Print APCER by species and BPCER at the threshold of flatness.py, and BPCER where a species' APCER is 2 %."""
    at = np.log(flatness.FLAT_ABOVE / (1 - flatness.FLAT_ABOVE))
    face = logits(rows, FACE)
    print("| presentation | errors | rate | |\n|---|---|---|---|")
    for name in (*SPECIES, UNSUBTRACTED):
        refused = sum(kind == name and x is None for kind, _, _, x in rows)
        scores = np.sort(logits(rows, name))
        lowest = scores[int(0.02 * (len(scores) + refused))]
        more = f"BPCER at APCER 2 %: {np.mean(face >= lowest):.2%}; APNRR {refused}/{len(scores) + refused}"
        print(line(f"APCER {name}", int(np.sum(scores <= at)), len(scores) + refused, more))
    scored = [row for row in rows if row[0] == FACE and row[3] is not None]
    wrong = [(who, kind) for (_, who, kind, _), s in zip(scored, face, strict=True) if s > at]
    people = f"{len({who for who, _ in wrong})}/{len({row[1] for row in scored})} subjects"
    print(line("BPCER", len(wrong), len(face), people + "".join(f"; {kind}" for _, kind in wrong)))


def yale(root: Path, settings: Reconstruct) -> None:
    """Print what real faces score, from four and from five flashes."""
    for count, flashes in YALE.items():
        scores = []
        for folder in sorted(root.glob("yaleB*")):
            named = {m[1]: p for p in sorted(folder.glob("*.pgm")) if (m := re.search(r"A([+-]\d+E[+-]\d+)", p.name))}
            if not set(flashes) <= set(named):
                continue
            frames = np.stack([read_frame(named[flash]) for flash in flashes])
            lights = np.stack([light_of("A" + flash) for flash in flashes])
            maps, _ = reconstruct(Photographs(frames, lights, np.ones(count)), settings)
            scores.append(flatness.flatness(maps))
        flat = int(np.sum(np.array(scores) > flatness.FLAT_ABOVE))
        more = f"highest scores {', '.join(f'{s:.2f}' for s in sorted(scores)[-3:])}, threshold {flatness.FLAT_ABOVE}"
        print(line(f"Yale, {count} flashes, called flat", flat, len(scores), more))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--params", default="params.yaml")
    parser.add_argument("--each", type=int, default=150, help="attacks of each species")
    parser.add_argument("--faces", type=int, default=80, help="bona fide subjects, six sessions each")
    parser.add_argument("--size", type=int, default=160, help="pixels")
    parser.add_argument("--fit", action="store_true", help="on other subjects; print the lines of flatness.py")
    parser.add_argument("--yale", type=Path, help="the folder CroppedYale")
    parser.add_argument("--jobs", type=int, default=-1)
    options = parser.parse_args()
    params = section(options.params, "simulate", Simulate).model_copy(update={"size": options.size})
    settings = section(options.params, "reconstruct", Reconstruct)
    if options.fit:
        weights, offset = fit(collect(params, settings, SETS["fit"], 80, 40, options.jobs))
        flatness.WEIGHTS, flatness.OFFSET = np.round(weights, 2), round(offset, 2)
        limit = threshold(collect(params, settings, SETS["threshold"], 80, 40, options.jobs))
        flatness.FLAT_ABOVE = round(float(1 / (1 + np.exp(-limit))), 2)
        print(f"WEIGHTS = np.array({flatness.WEIGHTS.tolist()})\nOFFSET = {flatness.OFFSET}")
        print(f"FLAT_ABOVE = {flatness.FLAT_ABOVE}")
    report(collect(params, settings, SETS["test"], options.each, options.faces, options.jobs))
    if options.yale:
        yale(options.yale, settings)


if __name__ == "__main__":
    main()
