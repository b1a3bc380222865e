"""What stands behind an AUC: drawn scores of one and the same AUC, .985, or trained networks (docs/what-auc-hides.md).

    python benchmarks/auc_hides.py [--subjects 100] [--sessions 8]
    python benchmarks/auc_hides.py --runs recipes/recognition/runs/cuda/7/triplet [...]

A drawn case is a symmetric matrix of similarities: noise, plus what its name says; its separation is found by bisection
so that the pooled AUC is .985. A run is the cosines of its `evaluate/embeddings.npz`. `per probe` is the mean over
probes of the AUC of that probe's own pairs: what a triplet loss asks for, since a triplet compares two pairs that share
their anchor. The next two columns, at FAR 1e-3: which share of the refused genuine pairs is of the tenth of people with
the most of them, and of the tenth of genuine pairs whose lower norm is the lowest (`-` where vectors are all of one
length); a tenth would be no more than chance for the second. `spread` is the standard deviation of the impostor scores.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from pipeline.identification import expected_ranks
from pipeline.verification import PairScores, cosine_matrix, matrix_pairs, rates, threshold_at

AUC = 0.985
FARS = (0.01, 0.001)
Case = Callable[[float], np.ndarray]


def cases(subjects: np.ndarray, rng: np.random.Generator) -> dict[str, Case]:
    """By name the similarities (N, N) at a separation."""
    count, codes = len(subjects), np.unique(subjects, return_inverse=True)[1]
    noise = rng.normal(size=(count, count))
    noise = (noise + noise.T) / np.sqrt(2)
    same = codes[:, None] == codes
    people = codes.max() + 1
    alike = np.triu(rng.uniform(size=(people, people)) < 0.02, k=1)
    alike = (alike | alike.T)[codes][:, codes]
    own = 1.2 * rng.normal(size=people)[codes]
    hard = codes < 0.02 * people
    return {
        "one spread for all": lambda gap: noise + gap * same,
        "look-alikes: 2 % of the pairs of people": lambda gap: noise + gap * (same + 0.8 * alike),
        "a level of one's own": lambda gap: noise + gap * same + own[:, None] + own,
        "one person in fifty is never recognised": lambda gap: noise + gap * (same & ~hard),
    }


def separated(case: Case, subjects: np.ndarray) -> np.ndarray:
    """The case at the separation that makes its AUC .985, or the largest tried."""
    low, high = 0.0, 30.0
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if rates(matrix_pairs(case(middle), subjects))["auc"][0] < AUC else (low, middle)
    return case(high)


def per_probe(matrix: np.ndarray, subjects: np.ndarray) -> float:
    """Mean over probes of the AUC among the pairs of that probe."""
    found = []
    for row, subject in enumerate(subjects):
        genuine = np.delete(matrix[row], row)[np.delete(subjects == subject, row)]
        found.append((genuine[:, None] > matrix[row][subjects != subject]).mean())
    return float(np.mean(found))


def refused(scores: PairScores, far: float) -> np.ndarray:
    """Which genuine pairs, (G,) bool, the threshold of a FAR refuses."""
    return scores.genuine < threshold_at(scores, far)


def of_few_people(scores: PairScores, wrong: np.ndarray) -> float:
    """Share of the refused genuine pairs that the tenth of people with the most of them has."""
    counts = np.sort(np.bincount(scores.genuine_subject[wrong], minlength=len(scores.subjects)))
    return float(counts[-(len(counts) // 10) :].sum() / max(wrong.sum(), 1))


def of_low_norms(scores: PairScores, wrong: np.ndarray, norms: np.ndarray) -> float:
    """Share of the refused genuine pairs among the tenth whose lower norm is the lowest; nan where all are alike."""
    if np.ptp(norms) < 1e-3 * norms.mean():
        return float("nan")
    lower = norms[scores.genuine_sessions].min(axis=0)
    return float(wrong[np.argsort(lower, kind="stable")[: len(lower) // 10]].sum() / max(wrong.sum(), 1))


def row(matrix: np.ndarray, subjects: np.ndarray, norms: np.ndarray) -> list[float]:
    """The columns of a table's row."""
    everyone = np.ones(len(subjects), dtype=bool)
    scores = matrix_pairs(matrix, subjects)
    first = expected_ranks(matrix, subjects, gallery=everyone, probes=everyone).cmc()[0]
    wrong = refused(scores, FARS[-1])
    apart = [per_probe(matrix, subjects), of_few_people(scores, wrong), of_low_norms(scores, wrong, norms)]
    return [*(value[0] for value in rates(scores, FARS).values()), first, *apart, float(scores.impostor.std())]


def show(name: str, numbers: list[float]) -> None:
    """Print a row of the table, for the page."""
    print(f"| {name} | {' | '.join('-' if np.isnan(x) else f'{x:.3f}'.lstrip('0') for x in numbers)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subjects", type=int, default=100)
    parser.add_argument("--sessions", type=int, default=8)
    parser.add_argument("--runs", type=Path, nargs="+", default=[], metavar="FOLDER", help="evaluated runs instead")
    options = parser.parse_args()
    head = ["", "AUC", "EER", "TAR at FAR 1e-2", "at 1e-3", "rank-1", "AUC per probe", "of a tenth of people",
            "of low norms", "spread"]  # fmt: skip
    print(f"| {' | '.join(head)} |\n|{'---|' * len(head)}")
    for folder in options.runs:
        with np.load(folder / "evaluate" / "embeddings.npz") as kept:
            vectors, subjects = kept["embedding"], kept["subject"]
        show(f"`{folder.name}`", row(cosine_matrix(vectors), subjects, np.linalg.norm(vectors, axis=1)))
    if options.runs:
        return
    subjects = np.repeat([f"s{i:04d}" for i in range(options.subjects)], options.sessions)
    for name, case in cases(subjects, np.random.default_rng(7)).items():
        show(name, row(separated(case, subjects), subjects, np.ones(len(subjects))))


if __name__ == "__main__":
    main()
