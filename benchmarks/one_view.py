"""Two runs of the recognition benchmark without the mirrored view, less each other (docs/recognition.md).

    python benchmarks/one_view.py unturned normal [--seeds 8 9]

`psface evaluate` adds the embedding of each face's mirror image, whose normals are turned. A network that was trained
on mirrored pictures of normals has never seen those; here it need not.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks.recognition import Recognition
from benchmarks.recognition_rows import RESAMPLES, SEED
from models.embedding import embed
from pipeline.identification import Ranks, protocols, rank1_difference
from pipeline.verification import PairScores, cosine_matrix, difference, matrix_pairs, resample
from stages.evaluate.inputs import read_evaluation_set
from stages.evaluate.network import load_network


def scored(run: Path, data: Path) -> tuple[PairScores, Ranks]:
    """All pairs, and the ranks of one gallery session a subject, of a run's test sessions seen as they are."""
    contract, network = load_network(run / "train")
    tables = {key: data / f"{key}.parquet" for key in ("sessions", "splits", "quality")}
    tested = read_evaluation_set(contract, faces=data / "faces", **tables)
    similarity = cosine_matrix(embed(network, tested.inputs).embeddings)
    ranks = protocols(similarity, tested.samples.subject, tested.rigs)["overall"]
    assert isinstance(ranks, Ranks), ranks
    return matrix_pairs(similarity, tested.samples.subject), ranks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("first")
    parser.add_argument("second")
    parser.add_argument("--seeds", type=int, nargs="+", default=[7])
    options = parser.parse_args()
    benchmark = Recognition()
    for seed in options.seeds:
        folders = [benchmark.folder / benchmark.place(seed, name) for name in (options.first, options.second)]
        one, other = (scored(folder, benchmark.folder / "data") for folder in folders)
        draws = resample(len(one[0].subjects), RESAMPLES, np.random.default_rng(SEED))
        gaps = {"AUC": difference(one[0], other[0], draws)["auc"], "rank-1": rank1_difference(one[1], other[1], draws)}
        told = [f"{name} {gap['value']:+.3f} [{gap['low']:+.3f}, {gap['high']:+.3f}]" for name, gap in gaps.items()]
        print(f"seed {seed}: {options.first} {one[1].cmc()[0]:.3f}, {options.second} {other[1].cmc()[0]:.3f} of rank-1")
        print(f"  {options.first} - {options.second}: {', '.join(told)}")


if __name__ == "__main__":
    main()
