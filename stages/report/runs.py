"""What the runs of a workspace left behind, read for the page."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import BaseModel, ValidationError

from pipeline.errors import PsfaceError, UserError
from pipeline.faces import MODALITIES
from pipeline.files import check_regular
from pipeline.tables import read_csv, read_text
from pipeline.verification import PairScores, cosine_matrix, matrix_pairs, without_twins
from stages.report.metrics import Metrics, Validation

METRICS = "metrics.json"  # the last file of an evaluation to be put in place
ROC = dict.fromkeys(("fmr", "tmr", "raw_pixels"), float)
CMC = dict.fromkeys(("rank", "rate"), float)
HISTORY = dict.fromkeys(("epoch", "validation_auc"), float)


@dataclass(frozen=True)
class Run:
    """One evaluated run.

    Attributes
    ----------
    name
        Name of its folder.
    modalities
        What its network sees.
    metrics
        Content of metrics.json.
    roc, cmc
        Tables of its curves.
    results, trained
        Its folders ``evaluate`` and ``train``; of the second, files may be missing.
    """

    name: str
    modalities: tuple[str, ...]
    metrics: dict[str, Any]
    roc: pd.DataFrame
    cmc: pd.DataFrame
    results: Path
    trained: Path

    @property
    def fused(self) -> bool:
        """Whether it sees more than one modality."""
        return len(self.modalities) > 1

    @cached_property
    def history(self) -> pd.DataFrame | None:
        """A row an epoch of its training, if that is at hand."""
        path = self.trained / "history.csv"
        return read_csv(path, made_by=f"train {self.name}", columns=HISTORY) if path.is_file() else None

    @cached_property
    def validation_auc(self) -> float | None:
        """AUC on the validation subjects of the state that training kept."""
        path = self.trained / "validation.json"
        return float(read_json(path, Validation)["auc"]) if path.is_file() else None

    @cached_property
    def embeddings(self) -> dict[str, np.ndarray]:
        """``session``, ``subject``, ``rig`` (N,), ``embedding`` (N, D); of a gate ``gate`` (N, modalities)."""
        path = self.results / "embeddings.npz"
        try:
            check_regular(path)
            with path.open("rb") as file, np.load(file, allow_pickle=False) as saved:
                names = ("session", "subject", "rig", "embedding", *(["gate"] if "gate" in saved else []))
                found = {name: saved[name] for name in names}
        except Exception as error:  # of the archive, of an array's header, a name that is missing
            raise UserError(f"{path} cannot be read: run `psface evaluate {self.name}` again") from error
        tables = [found[name] for name in ("embedding", "gate") if name in found]
        numbers = all(table.ndim == 2 and table.dtype.kind == "f" for table in tables)
        if not numbers or len({len(values) for values in found.values()}) > 1:
            raise UserError(f"{path} is not whole: run `psface evaluate {self.name}` again")
        if "gate" in found and found["gate"].shape[1] != len(self.modalities):
            raise UserError(f"{path} is of other modalities: run `psface evaluate {self.name}` again")
        return found

    def similarity(self, sessions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Cosines (N, N) of the sessions, which must be among its own, and their subjects (N,)."""
        chosen = np.isin(self.embeddings["session"], sessions)
        cosines = cosine_matrix(self.embeddings["embedding"][chosen])
        return without_twins(cosines, self.embeddings["session"][chosen]), self.embeddings["subject"][chosen]

    def scores(self, sessions: np.ndarray) -> PairScores:
        """Scores of all pairs of the sessions, which must be among its own."""
        return matrix_pairs(*self.similarity(sessions))


def read_runs(folder: Path, trained: Path) -> list[Run]:
    """All evaluated runs: single modalities first, in their usual order, then the fusions by name.

    Parameters
    ----------
    folder
        ``runs`` of the workspace, with ``<run>/evaluate``.
    trained
        Where ``<run>/train`` are: the same folder, or that of the workspace which trained them.

    Raises
    ------
    UserError
        Where nothing has been evaluated, or an evaluation was killed while its files took their places.
    """
    torn = [path.parent for path in sorted(folder.glob("*/evaluate/roc.csv")) if not path.with_name(METRICS).exists()]
    if torn:
        raise UserError(f"{torn[0]} has no {METRICS}: run `psface evaluate {torn[0].parent.name}` again")
    runs = [_read_run(path.parent, trained) for path in sorted(folder.glob(f"*/evaluate/{METRICS}"))]
    if not runs:
        raise UserError(f"{folder}: no run has been evaluated: run `psface evaluate RUN` first")
    order = {name: place for place, name in enumerate(MODALITIES)}
    return sorted(runs, key=lambda run: (len(run.modalities), order.get(run.name, len(order)), run.name))


def _read_run(results: Path, trained: Path) -> Run:
    name = results.parent.name
    metrics = read_json(results / METRICS, Metrics)
    made_by = f"evaluate {name}"
    return Run(
        name=name,
        modalities=tuple(metrics["run"]["modalities"].split("+")),
        metrics=metrics,
        roc=read_csv(results / "roc.csv", made_by=made_by, columns=ROC),
        cmc=read_csv(results / "cmc.csv", made_by=made_by, columns=CMC),
        results=results,
        trained=trained / name / "train",
    )


def read_json(path: Path, schema: type[BaseModel]) -> dict[str, Any]:
    """A JSON file that fits a schema, or one line that says which is broken."""
    try:
        content: dict[str, Any] = json.loads(read_text(path))
        schema.model_validate(content)
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"])) or "all of it"
        raise PsfaceError(f"{path} is not whole ({where}): run the stage that writes it again") from error
    except (ValueError, RecursionError) as error:
        raise PsfaceError(f"{path} is not JSON: run the stage that writes it again") from error
    except OSError as error:
        raise PsfaceError(f"{path} cannot be read ({error.strerror}): run the stage that writes it again") from error
    return content
