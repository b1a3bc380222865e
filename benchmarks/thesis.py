"""The thesis behind this project as it was, its faults kept, on a workspace's faces and scored as `psface evaluate`.

    python benchmarks/thesis.py normal [--workspace .] [--minutes 10] [--seed 42] [--epochs 119] [--params params.yaml]
                                       [--runs runs/42]
    python benchmarks/thesis.py normal+albedo+depth          its concatenation of runs that this has trained

Reads data/faces, sessions.parquet and splits.parquet; writes what `psface evaluate` writes into
thesis-NAME/evaluate below --runs, and own.csv: what only this recipe has. Prints the rows that
docs/results/recognition.csv has of it (recognition_rows.py). The state is that of the last epoch, not the best on the
test set as in the thesis (fault 6; its AUC is the row `thesis.best_on_test_auc`, for the record). Minutes are of
training alone; the test set is looked at after each epoch on top of them.

A concatenation is the branches' embeddings side by side: the thesis trained heads on frozen branches, which changes no
embedding but by norms that drifted (fault 7). Its attributes are not scored.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks.recognition_rows import run_rows
from benchmarks.thesis_recipe.data import MODALITIES, ThesisFaces
from benchmarks.thesis_recipe.loss import attribute_auc, best_constant
from benchmarks.thesis_recipe.network import ORDER
from benchmarks.thesis_recipe.training import EPOCHS, Epoch, Fit, embed, train
from pipeline.contract import Contract, Network
from pipeline.errors import PsfaceError, UserError
from pipeline.faces import PREPROCESSING, Faces
from pipeline.params import Evaluate, section
from pipeline.samples import FaceStore, Samples, read_samples
from pipeline.tables import write_csv
from pipeline.verification import pair_scores, rates
from stages.evaluate.inputs import EvaluationSet, read_evaluation_set, read_probed_set
from stages.evaluate.results import evaluate_run
from stages.evaluate.written import write_results


def contract_of(modalities: list[str], folder: Path) -> Contract:
    """What the evaluation must know of a run of the thesis."""
    shapes = {name: Faces(folder).array(name).shape for name in modalities}
    return Contract(
        run="thesis-" + "+".join(modalities),
        modalities=modalities,
        size=shapes[modalities[0]][1],
        channels={name: shape[3] for name, shape in shapes.items()},
        normalisation={name: PREPROCESSING[name] for name in modalities},
        network=Network(name="thesis"),
        attributes=dict.fromkeys(ORDER, 2),
    )


def own_rows(
    done: list[Epoch], probabilities: dict[str, np.ndarray], data: EvaluationSet, train: Samples
) -> list[dict]:
    """What the recipe alone has: its AUC of attributes, the best on test, norms out of range, adversaries' losses."""
    last, tested = done[-1], len(data.samples)
    rows = [
        ("thesis.epochs", len(done), EPOCHS),
        ("thesis.best_on_test_auc", max(epoch.auc for epoch in done), tested),
        ("thesis.norm_mean", float(last.norms.mean()), len(last.norms)),
        ("thesis.clamped", last.clamped, len(last.norms)),
    ]
    for name in ORDER:
        truth = data.samples.labels[name]
        if (known := truth >= 0).any():
            rows.append(
                (f"thesis.auc.{name}", attribute_auc(probabilities[name][known], truth[known]), int(known.sum()))
            )
        rows.append((f"thesis.adversary.{name}", last.losses[f"adversary_{name}"], len(last.norms)))
        rows.append((f"thesis.constant.{name}", best_constant(name, train.labels[name]), len(train)))
    return [{"metric": metric, "value": value, "n": n} for metric, value, n in rows]


class Workspace:
    """The tables and faces of a workspace, and the folder of the thesis's runs."""

    def __init__(self, folder: Path, seed: int, runs: Path | None = None) -> None:
        data = folder / "data"
        self.tables = {"sessions": data / "sessions.parquet", "splits": data / "splits.parquet"}
        self.faces, self.quality, self.seed = data / "faces", data / "quality.parquet", seed
        self.runs = runs or folder / "runs" / str(seed)

    def output(self, name: str) -> Path:
        """Folder of a run's results."""
        return self.runs / f"thesis-{name}" / "evaluate"

    def test(self, contract: Contract) -> EvaluationSet:
        """The test sessions."""
        return read_evaluation_set(contract, faces=self.faces, quality=self.quality, **self.tables)

    def write(self, name: str, contract: Contract, settings: Evaluate, data: EvaluationSet, found: tuple, own: list):
        """Score and write a run; ``found``: embeddings, probabilities and what probes are fitted on."""
        results = evaluate_run(contract, settings, data, *found, None)
        write_results(self.output(name), contract.run, contract, data, results, self.faces)
        if own:
            write_csv(self.output(name) / "own.csv", pd.DataFrame(own))
        print(pd.DataFrame(run_rows(self.output(name).parent)).to_csv(index=False, float_format="%.4f"), end="")


def run_branch(place: Workspace, modality: str, settings: Evaluate, minutes: float, epochs: int) -> None:
    """Train and score one modality."""
    contract = contract_of([modality], place.faces)
    data, packed = place.test(contract), Faces(place.faces)
    samples = read_samples("train", faces=packed, attributes=list(ORDER), vocabulary="binary", **place.tables)
    fit = Fit(ThesisFaces(FaceStore(packed, [modality], samples.row), samples, modality), place.seed)

    def test() -> float:
        embeddings, _ = embed(fit.network, data.inputs[modality], modality)
        return float(rates(pair_scores(embeddings, data.samples.subject))["auc"][0])

    done = train(fit, test, minutes=minutes, epochs=epochs)
    probed = read_probed_set(contract, faces=place.faces, seed=settings.seed, **place.tables)
    assert probed is not None  # there are training sessions: the network was trained on them
    fitted_on = embed(fit.network, probed.faces.all()[modality], modality)[0], probed.subject, probed.labels
    embeddings, probabilities = embed(fit.network, data.inputs[modality], modality)
    own = own_rows(done, probabilities, data, samples)
    place.write(modality, contract, settings, data, (embeddings, probabilities, fitted_on), own)


def run_concatenation(place: Workspace, name: str, settings: Evaluate) -> None:
    """Score the embeddings of trained branches side by side."""
    modalities = name.split("+")
    contract = contract_of(modalities, place.faces)
    data, parts = place.test(contract), []
    for modality in modalities:
        path = place.output(modality) / "embeddings.npz"
        if not path.exists():
            raise UserError(f"{path} is missing: run benchmarks/thesis.py {modality} --seed {place.seed} first")
        with np.load(path) as saved:
            if saved["session"].tolist() != data.samples.session.tolist():
                raise UserError(f"{path} is of other sessions: run benchmarks/thesis.py {modality} again")
            parts.append(saved["embedding"])
    place.write(name, contract, settings, data, (np.concatenate(parts, axis=1), {}, None), [])


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help=f"one of {', '.join(MODALITIES)}, or several joined by +")
    parser.add_argument("--workspace", type=Path, default=Path())
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--params", type=Path, help="section `evaluate`  [default: params.yaml of the workspace]")
    parser.add_argument("--runs", type=Path, help="folder of the runs  [default: runs/SEED of the workspace]")
    options = parser.parse_args(arguments)
    if unknown := set(options.name.split("+")) - set(MODALITIES):
        parser.error(f"no modality `{sorted(unknown)[0]}` here; known: {', '.join(MODALITIES)}")
    if options.minutes <= 0 or options.epochs < 1:
        parser.error("--minutes must be above 0 and --epochs at least 1")
    place = Workspace(options.workspace, options.seed, options.runs)
    settings = section(options.params or options.workspace / "params.yaml", "evaluate", Evaluate)
    if "+" in options.name:
        run_concatenation(place, options.name, settings)
    else:
        run_branch(place, options.name, settings, options.minutes, options.epochs)


if __name__ == "__main__":
    try:
        main()
    except PsfaceError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, UserError) else 1)
