"""Exact rates of all pairs of very many embeddings: time, peak memory, and that they are scikit-learn's.

    python benchmarks/allpairs.py [--embeddings 100000] [--dimension 512] [--each 10]

Drawn subjects of `--each` sessions. First 1,500 embeddings are held against scikit-learn (its `roc_auc_score`, and the
TAR on its `roc_curve`), by cosine and by Euclidean distance; then all pairs of `--embeddings` are counted once. The
peak is that of the whole process, the embeddings included.
"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np
from sklearn.metrics import roc_auc_score, roc_curve

from pipeline.verification import cosine_matrix, distance_matrix, far_key
from pipeline.verification.allpairs import count_all_pairs

FARS = (0.1, 0.01, 0.001, 0.0001)


def drawn(subjects: int, each: int, dimension: int) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings (subjects * each, dimension) float32 about their subjects' centres, and labels."""
    rng = np.random.default_rng(7)
    vectors = 3 * rng.standard_normal((subjects * each, dimension), dtype=np.float32)
    vectors.reshape(subjects, each, dimension)[:] += rng.standard_normal((subjects, 1, dimension), dtype=np.float32)
    return vectors, np.repeat(np.arange(subjects), each)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--embeddings", type=int, default=100_000)
    parser.add_argument("--dimension", type=int, default=512)
    parser.add_argument("--each", type=int, default=10)
    options = parser.parse_args()
    vectors, labels = drawn(150, 10, 32)
    pair = np.triu_indices(len(labels), k=1)
    same = (labels[:, None] == labels)[pair]
    for name, matrix in (("cosine", cosine_matrix(vectors)), ("Euclidean", -distance_matrix(vectors))):
        found = count_all_pairs(vectors, labels, euclidean=name == "Euclidean").rates([0.01])
        fmr, tmr, _ = roc_curve(same, matrix[pair], drop_intermediate=False)
        gaps = (found["auc"] - roc_auc_score(same, matrix[pair]), found[far_key(0.01)] - tmr[fmr <= 0.01].max())
        print(f"{name}: AUC off scikit-learn's by {gaps[0]:.1e}, TAR at FAR 1e-2 by {gaps[1]:.1e}")
    del pair, same, matrix, fmr, tmr
    vectors, labels = drawn(options.embeddings // options.each, options.each, options.dimension)
    start = time.perf_counter()
    found_all = count_all_pairs(vectors, labels)
    taken = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    genuine, impostor = int(found_all.genuine.sum()), int(found_all.impostor.sum())
    print(f"{len(vectors)} x {options.dimension}: {genuine} genuine and {impostor} impostor pairs, {taken:.0f} s")
    print(f"peak memory of the process: {peak:.0f} MB")
    print(", ".join(f"{name} {value:.6f}" for name, value in found_all.rates(FARS).items()))


if __name__ == "__main__":
    main()
