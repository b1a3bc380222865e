"""What the verification rates and their intervals cost, and that they are scikit-learn's: timed in turn with it.

    python benchmarks/evaluate.py [--subjects 50] [--sessions 6] [--resamples 200] [--repeat 5]

Both get the same scores of all pairs. For one set of rates scikit-learn runs `roc_auc_score` and `roc_curve`; for the
intervals the peer is the plain way: each resample hands scikit-learn the pairs with their weights, for the AUC alone.
The largest difference of an AUC is printed below the times.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from sklearn.metrics import roc_auc_score, roc_curve

from pipeline.identification import protocols
from pipeline.verification import PairScores, cosine_matrix, pair_scores, rates, resample

FARS = (0.01, 0.001)


def pooled(scores: PairScores) -> tuple[np.ndarray, np.ndarray]:
    """Truth and score of all pairs, as scikit-learn wants them."""
    truth = np.r_[np.ones(len(scores.genuine), dtype=int), np.zeros(len(scores.impostor), dtype=int)]
    return truth, np.r_[scores.genuine, scores.impostor]


def timed(parts: dict[str, Callable[[], object]], repeat: int) -> dict[str, float]:
    """Median seconds of each part, all taken in turn."""
    taken: dict[str, list[float]] = {name: [] for name in parts}
    for _ in range(repeat + 1):  # the first round warms up
        for name, call in parts.items():
            start = time.perf_counter()
            call()
            taken[name].append(time.perf_counter() - start)
    return {name: statistics.median(each[1:]) for name, each in taken.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subjects", type=int, default=50)
    parser.add_argument("--sessions", type=int, default=6)
    parser.add_argument("--resamples", type=int, default=200)
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    rng = np.random.default_rng(7)
    subjects = np.repeat(np.arange(options.subjects).astype(str), options.sessions)
    centres = rng.normal(size=(options.subjects, 64)).repeat(options.sessions, axis=0)
    embeddings = centres + 1.5 * rng.normal(size=centres.shape)
    scores = pair_scores(embeddings, subjects)
    truth, score = pooled(scores)
    weights = resample(options.subjects, options.resamples, rng)
    print(f"{len(subjects)} sessions, {len(scores.genuine)} genuine and {len(scores.impostor)} impostor pairs")

    def peer(row: np.ndarray) -> float:
        genuine, impostor = row[scores.genuine_subject], np.prod(row[scores.impostor_subjects], axis=0)
        return float(roc_auc_score(truth, score, sample_weight=np.r_[genuine, impostor]))

    found = timed(
        {
            "pairs and scores": lambda: pair_scores(embeddings, subjects),
            "rates": lambda: rates(scores, FARS),
            "scikit-learn, AUC and ROC": lambda: (roc_auc_score(truth, score), roc_curve(truth, score)),
            "interval": lambda: rates(scores, FARS, weights=weights),
            "scikit-learn, interval of the AUC": lambda: [peer(row) for row in weights],
            "identification, three protocols": lambda: protocols(
                cosine_matrix(embeddings), subjects, np.tile(["a", "b"], len(subjects))[: len(subjects)]
            ),
        },
        options.repeat,
    )
    for name, seconds in found.items():
        print(f"{1e3 * seconds:10.2f} ms  {name}")
    print(f"rates: {found['scikit-learn, AUC and ROC'] / found['rates']:.1f} times scikit-learn's speed")
    print(f"interval: {found['scikit-learn, interval of the AUC'] / found['interval']:.1f} times scikit-learn's speed,")
    print("          with EER and TARs besides")
    gap = np.abs(rates(scores, weights=weights)["auc"] - [peer(row) for row in weights]).max()
    print(f"largest difference of an AUC: {max(gap, abs(rates(scores)['auc'][0] - roc_auc_score(truth, score))):.1e}")


if __name__ == "__main__":
    main()
