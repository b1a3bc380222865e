"""Drawn scores of one and the same AUC, .985, that are worth very different things (docs/what-auc-hides.md).

    python benchmarks/auc_hides.py [--subjects 100] [--sessions 8]

Each case is a symmetric matrix of similarities: noise, plus what its name says; its separation is found by bisection
so that the pooled AUC is .985. `per probe` is the mean over probes of the AUC of that probe's own pairs: what a triplet
loss asks for, since a triplet compares two pairs that share their anchor.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np

from pipeline.identification import expected_ranks
from pipeline.verification import matrix_pairs, rates

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subjects", type=int, default=100)
    parser.add_argument("--sessions", type=int, default=8)
    options = parser.parse_args()
    subjects = np.repeat([f"s{i:04d}" for i in range(options.subjects)], options.sessions)
    everyone = np.ones(len(subjects), dtype=bool)
    print(f"{'':42}{'AUC':>7}{'EER':>7}{'1e-2':>7}{'1e-3':>7}{'rank-1':>8}{'per probe':>11}")
    for name, case in cases(subjects, np.random.default_rng(7)).items():
        matrix = separated(case, subjects)
        found = [value[0] for value in rates(matrix_pairs(matrix, subjects), FARS).values()]
        first = expected_ranks(matrix, subjects, gallery=everyone, probes=everyone).cmc()[0]
        numbers = "".join(f"{value:7.3f}" for value in found)
        print(f"{name:42}{numbers}{first:8.3f}{per_probe(matrix, subjects):11.3f}")


if __name__ == "__main__":
    main()
