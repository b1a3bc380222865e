"""How hard is the simulated data set? Raw pixels of aligned true maps on unseen subjects, before anything is trained.

    python benchmarks/difficulty.py [--params params.yaml] [--subjects 50] [--first 1000] [--sessions 6] [--jobs 2]

Faces are aligned by the five true points, each moved by 1.5 px, to 112 px; similarity is the cosine of the preprocessed
pixels less their mean, as `psface evaluate` takes it. Rank-1 is the mean over every choice of gallery session, with
gallery and probes of one rig and of two. `estimated` rows take normals and albedo of plain least squares from the
frames and the recorded lights, as a rig's owner would have them. The wanted band at one rig is .05 to .15, and less
across rigs.
"""

from __future__ import annotations

import argparse
from functools import partial

import numpy as np

from pipeline.faces import preprocess
from pipeline.geometry import arcface_template, estimate_similarity, warp_map
from pipeline.parallel import map_sessions
from pipeline.params import Simulate, section
from stages.simulate.photoface import five_landmarks
from stages.simulate.render import photograph
from stages.simulate.subject import draw_subject
from stages.simulate.visit import draw_visit

SIZE = 112
JITTER = 1.5  # pixels of a 256 px frame
KINDS = {
    "normal": "normal", "albedo": "albedo", "depth": "depth", "frame": "frame",
    "estimated normal": "normal", "estimated albedo": "albedo",
}  # fmt: skip
POSES, QUALITY = ("1", "2", "3"), ("ok",)  # what ingest keeps by default


def face(params: Simulate, item: tuple[int, int]) -> tuple[int, str, dict[str, np.ndarray]] | None:
    """Subject, rig and preprocessed pixels by kind of one session; None where ingest would leave it out."""
    subject = draw_subject(params, item[0])
    visit = draw_visit(params, subject, item[1])
    if visit.pose not in POSES or visit.quality not in QUALITY or visit.occlusion:
        return None
    shot = photograph(subject, visit, params.size, params.effects, params.seed)
    rng = np.random.default_rng([params.seed, *item])
    points = np.stack(list(five_landmarks(shot.landmarks).values()))
    points = points + JITTER * params.size / 256 * rng.normal(size=points.shape)
    matrix = estimate_similarity(points, arcface_template(SIZE))
    truth, frames = shot.truth, np.clip(shot.frames, 0, 1)
    scaled = np.tensordot(np.linalg.pinv(visit.recorded), frames, axes=1).transpose(1, 2, 0)
    length = np.linalg.norm(scaled, axis=-1)
    estimated = scaled / np.maximum(length, 1e-6)[..., None]
    mask = warp_map("mask", truth.mask, matrix, SIZE)
    depth = warp_map("depth", truth.depth, matrix, SIZE, mask=truth.mask)
    eyes = np.linalg.norm(arcface_template(SIZE)[1] - arcface_template(SIZE)[0])
    maps = {
        "normal": warp_map("normal", truth.normal, matrix, SIZE, mask=truth.mask),
        "albedo": warp_map("albedo", truth.albedo, matrix, SIZE, mask=truth.mask),
        "depth": np.where(mask, depth - depth[mask].mean(), 0) / eyes,
        "frame": warp_map("frame", frames[rng.integers(len(frames))], matrix, SIZE),
        "estimated normal": warp_map("normal", estimated, matrix, SIZE, mask=truth.mask),
        "estimated albedo": warp_map("albedo", length, matrix, SIZE, mask=truth.mask),
    }
    pixels = {
        name: preprocess(values.reshape(1, SIZE, SIZE, -1), mask[None], KINDS[name]).ravel().astype(np.float16)
        for name, values in maps.items()
    }
    return item[0], visit.rig, pixels


def rank1(similarity: np.ndarray, subjects: np.ndarray, rigs: np.ndarray, *, same: bool) -> float:
    """Mean rank-1 over 200 random choices of one gallery session a subject (at one rig), the rest as probes."""
    rng = np.random.default_rng(0)
    hits = tries = 0
    for _ in range(200):
        rig = rng.choice(np.unique(rigs))
        order = rng.permutation(np.flatnonzero(rigs == rig))
        gallery = order[np.unique(subjects[order], return_index=True)[1]]
        probes = np.setdiff1d(np.flatnonzero((rigs == rig) if same else (rigs != rig)), gallery)
        probes = probes[np.isin(subjects[probes], subjects[gallery])]
        best = gallery[np.argmax(similarity[np.ix_(probes, gallery)], axis=1)]
        hits, tries = hits + int(np.sum(subjects[best] == subjects[probes])), tries + len(probes)
    return hits / max(tries, 1)


def auc(similarity: np.ndarray, subjects: np.ndarray) -> float:
    """Area under the ROC of all pairs."""
    i, j = np.triu_indices(len(subjects), 1)
    genuine = subjects[i] == subjects[j]
    order = np.argsort(np.argsort(similarity[i, j], kind="stable"), kind="stable")
    positives = int(genuine.sum())
    return float((order[genuine].sum() - positives * (positives - 1) / 2) / (positives * (~genuine).sum()))


def measure(params: Simulate, subjects: range, sessions: int, jobs: int) -> dict[str, dict[str, float]]:
    """``{kind: {"same_rig", "across_rigs", "auc"}}`` of raw pixels."""
    items = [(subject, number) for subject in subjects for number in range(sessions)]
    found = [
        x for x in map_sessions(partial(face, params), items, jobs=jobs, label="difficulty") if isinstance(x, tuple)
    ]
    who, rigs = np.array([x[0] for x in found]), np.array([x[1] for x in found])
    table = {}
    for kind in KINDS:
        pixels = np.stack([x[2][kind] for x in found]).astype(np.float32)
        pixels -= pixels.mean(axis=0)
        pixels /= np.linalg.norm(pixels, axis=1, keepdims=True)
        similarity = pixels @ pixels.T
        table[kind] = {
            "same_rig": rank1(similarity, who, rigs, same=True),
            "across_rigs": rank1(similarity, who, rigs, same=False) if len(set(rigs)) > 1 else float("nan"),
            "auc": auc(similarity, who),
        }
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--params", default="params.yaml")
    parser.add_argument("--subjects", type=int, default=50)
    parser.add_argument("--first", type=int, default=1000, help="first subject; those of the data set begin at 0")
    parser.add_argument("--sessions", type=int, default=6)
    parser.add_argument("--jobs", type=int, default=-1)
    options = parser.parse_args()
    params = section(options.params, "simulate", Simulate)
    table = measure(params, range(options.first, options.first + options.subjects), options.sessions, options.jobs)
    print(f"{'raw pixels':<18} rank-1 same rig  across rigs    AUC   (chance {1 / options.subjects:.3f})")
    for kind, row in table.items():
        print(f"{kind:<18} {row['same_rig']:>15.3f} {row['across_rigs']:>12.3f} {row['auc']:>6.3f}")


if __name__ == "__main__":
    main()
