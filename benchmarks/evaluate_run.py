"""What all numbers of one run cost, beyond embedding its faces: drawn embeddings, faces and labels.

python benchmarks/evaluate_run.py [--subjects 125] [--sessions 8] [--fitted 2000] [--resamples 1000]
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch

from pipeline.attributes import ATTRIBUTES
from pipeline.contract import Contract, Network
from pipeline.params import Evaluate
from pipeline.samples import Samples
from stages.evaluate.inputs import EvaluationSet
from stages.evaluate.results import evaluate_run

FACTS = ("age", "albedo", "detector", "residual", "integrability")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subjects", type=int, default=125)
    parser.add_argument("--sessions", type=int, default=8)
    parser.add_argument("--fitted", type=int, default=2000, help="training sessions that probes are fitted on")
    parser.add_argument("--resamples", type=int, default=1000)
    options = parser.parse_args()
    rng = np.random.default_rng(7)
    count = options.subjects * options.sessions
    subjects = np.repeat([f"s{i:04d}" for i in range(options.subjects)], options.sessions)
    sessions = np.array([f"{subject}/{i:05d}" for i, subject in enumerate(subjects)])
    labels = {name: rng.integers(0, 2, count) for name in ATTRIBUTES}
    samples = Samples(sessions, subjects, np.arange(count), labels, np.ones(count, np.float32))
    faces = {"normal": torch.from_numpy(rng.standard_normal((count, 3, 112, 112), dtype=np.float32))}
    facts = {name: rng.uniform(1, 60, count) for name in FACTS}
    data = EvaluationSet(samples, np.where(np.arange(count) % 2, "a", "b"), labels, facts, faces, 0)
    centres = rng.standard_normal((options.subjects, 512), dtype=np.float32).repeat(options.sessions, axis=0)
    embeddings = centres + 2 * rng.standard_normal((count, 512), dtype=np.float32)
    said = {name: rng.dirichlet([1, 1], count) for name in ATTRIBUTES}
    people = np.array([f"t{i // 8:04d}" for i in range(options.fitted)])
    fitted = {name: rng.integers(0, 2, options.fitted) for name in ATTRIBUTES}
    rows = rng.standard_normal((options.fitted, 512), dtype=np.float32)
    contract = Contract(
        run="drawn", modalities=["normal"], size=112, channels={"normal": 3}, normalisation={"normal": "unit-1"},
        network=Network(name="none"), attributes=dict.fromkeys(ATTRIBUTES, 2),
    )  # fmt: skip
    settings = Evaluate(resamples=options.resamples)
    wall, core = time.perf_counter(), time.process_time()
    evaluate_run(contract, settings, data, embeddings, said, (rows, people, fitted), None)
    print(f"{count} test sessions of {options.subjects} subjects, {options.resamples} resamples: ", end="")
    print(f"{time.perf_counter() - wall:.1f} s, {time.process_time() - core:.1f} s of a core")


if __name__ == "__main__":
    main()
