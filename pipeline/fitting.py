"""What fitting a network needs, whichever network it is: precision, schedule, weights, history, validation."""

from __future__ import annotations

import ctypes
import logging
import math
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from pipeline.contract import Contract, save_run
from pipeline.errors import PsfaceError, UserError
from pipeline.files import why_unwritable
from pipeline.samples import Samples
from pipeline.tables import write_atomic, write_csv, write_json
from pipeline.verification import cosine_matrix, matrix_pairs, rates, without_twins

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def fabric_precision(precision: str) -> str:
    """Fabric's name of a precision; ``auto`` takes bfloat16 where the processor multiplies it natively."""
    if precision == "auto":
        precision = "bf16" if native_bf16() else "32"
    return {"bf16": "bf16-mixed", "32": "32-true"}[precision]


def make_fabric(precision: str, processes: int = 1) -> Fabric:
    """Fabric on the best kind of device there is: one of it, or one a process."""
    from lightning_fabric import Fabric
    from lightning_fabric.strategies import DDPStrategy

    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it announces the precision at each start
    devices = torch.cuda.device_count()
    if processes > 1 and 0 < devices < processes:
        raise UserError(f"--processes {processes}: there are {devices} GPUs here, and each process takes one")
    strategy = DDPStrategy(start_method="spawn") if processes > 1 else "auto"
    return Fabric(
        accelerator="cpu" if processes > 1 and not devices else "auto",
        devices=processes,
        strategy=strategy,
        precision=fabric_precision(precision),  # type: ignore[arg-type]
    )


def native_bf16() -> bool:
    """Whether the device that training will use multiplies bfloat16 natively (elsewhere it is slower than float32)."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported()
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")  # private, so absent from some versions of torch
    return any(getattr(torch.cpu, check, bool)() for check in checks)


TRIM_THRESHOLD, MAP_THRESHOLD = -1, -3  # glibc's M_TRIM_THRESHOLD and M_MMAP_THRESHOLD
KEPT = 2**30  # bytes


def keep_freed_memory() -> None:
    """Let this process keep the memory of freed tensors for the next step's instead of handing it back.

    glibc returns large blocks at once, and each step then waits for the kernel to clear thousands of pages. Elsewhere
    nothing happens.
    """
    if sys.platform == "linux" and hasattr(library := ctypes.CDLL(None), "mallopt"):
        library.mallopt(MAP_THRESHOLD, KEPT)
        library.mallopt(TRIM_THRESHOLD, KEPT)


def learning_rate(progress: float, peak: float, warmup: float) -> float:
    """Linear warm-up over a share of training, then a cosine to 0; ``progress`` in [0, 1]."""
    if progress < warmup:
        return peak * progress / warmup
    return peak * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup))) / 2


def check_samples(train: Samples, validation: Samples) -> None:
    """Refuse splits that are too small to be trained or validated on."""
    if len(set(train.subject)) < 2:
        raise UserError("the training split has faces of one subject only: telling people apart needs two and more")
    if len(set(validation.subject)) < 2 or len(validation) == len(set(validation.subject)):
        raise UserError("the validation split needs two subjects, and one of them twice: raise balance.validation")


def subject_weights(samples: Samples) -> np.ndarray:
    """Weights (N,) of the identity loss: balancing's, over the square root of how often the subject comes, mean 1."""
    _, code, count = np.unique(samples.subject, return_inverse=True, return_counts=True)
    weight = samples.weight / np.sqrt(count[code])
    return (weight / weight.mean()).astype(np.float32)


def verify(embeddings: np.ndarray, samples: Samples) -> dict[str, float]:
    """AUC and EER over all pairs of the samples."""
    found = rates(matrix_pairs(without_twins(cosine_matrix(embeddings), samples.session), samples.subject))
    return {name: float(found[name][0]) for name in ("auc", "eer")}


def balanced_accuracy(probabilities: np.ndarray, truth: np.ndarray) -> float | None:
    """Mean over the classes of the share recognised, of samples with a label; None with fewer than two classes."""
    known = truth >= 0
    present = np.unique(truth[known])
    if len(present) < 2:
        return None
    said = probabilities.argmax(axis=1)
    return float(np.mean([np.mean(said[truth == c] == c) for c in present]))


def age_error(probabilities: np.ndarray, truth: np.ndarray) -> float | None:
    """Mean absolute error in years of the mean ages under probabilities (N, 101), of samples whose age is known."""
    known = truth >= 0
    if not known.any():
        return None
    said = probabilities[known].astype(np.float64) @ np.arange(probabilities.shape[1])
    return float(np.abs(said - truth[known]).mean())


def goes_on(what: str, epochs: int, batches: int = 0) -> None:
    """Say that an interrupted fit is taken up again, and where."""
    begun = f" and {batches} batches" if batches else ""
    print(f"{what}: goes on after {epochs} epochs{begun}", file=sys.stderr, flush=True)


def stop_unless_finite(bad: str | None, *, epoch: int, batch: int, section: str) -> None:
    """End training where a loss is not finite, naming it."""
    if bad is not None:
        raise PsfaceError(f"the {bad} loss is not finite at epoch {epoch}, batch {batch}: lower {section}.lr")


class Checkpoint:
    """The state of a fit in a file that is whole at every moment.

    Writing it takes at most a twentieth of the time: a small network is saved after nearly every step, a large one less
    often, and a kill never costs more than twenty times what a save takes.
    """

    SHARE = 0.05

    def __init__(self, path: Path) -> None:
        self.path = path
        self._written, self._wait = time.monotonic(), 0.0

    def due(self) -> bool:
        """Whether it is time to write."""
        return time.monotonic() - self._written >= self._wait

    def write(self, parts: dict[str, Any]) -> None:
        """Write the state: tensors, numbers and texts in lists and dictionaries."""
        start = time.monotonic()
        write_atomic(self.path, lambda p: _save(parts, p))
        self._written = time.monotonic()
        self._wait = (self._written - start) / self.SHARE

    def read(self) -> dict[str, Any] | None:
        """The state that was written last, on the CPU; None where there is none."""
        if not self.path.exists():
            return None
        parts: dict[str, Any] = torch.load(self.path, map_location="cpu", weights_only=True)
        return parts


def _save(parts: dict[str, Any], path: Path) -> None:
    try:
        torch.save(parts, path)
    except RuntimeError as error:  # which is how it says that a disk is full
        raise why_unwritable(path) from error


class History:
    """A row of numbers an epoch; written as a table and drawn as curves."""

    def __init__(self, rows: list[dict[str, Any]] | None = None) -> None:
        self.rows: list[dict[str, Any]] = rows or []

    def add(self, **values: Any) -> None:
        """Add an epoch."""
        self.rows.append(values)

    def write(self, path: str | Path) -> None:
        """Write ``history.csv``."""
        write_csv(path, pd.DataFrame(self.rows).round(6))

    def draw(self, path: str | Path, title: str) -> None:
        """Draw losses, validation rates and norms over the epochs; the same rows give the same bytes."""
        from matplotlib.figure import Figure

        table = pd.DataFrame(self.rows)
        names = [str(column) for column in table]
        figure = Figure(figsize=(12, 3.6), layout="constrained")
        losses, rates_axis, norms = figure.subplots(1, 3)
        for name in [c for c in names if c.startswith("loss_")]:
            dashed = "--" if name.startswith("loss_adversary") else "-"
            losses.plot(table["epoch"], table[name], dashed, label=name.removeprefix("loss_"))
        losses.set(title=f"{title}: losses", xlabel="epoch", yscale="symlog")
        for name in [c for c in names if c.startswith("validation_")]:
            rates_axis.plot(table["epoch"], table[name], label=name.removeprefix("validation_"))
        rates_axis.set(title="validation", xlabel="epoch", ylim=(0, 1))
        if "norm_mean" in table:  # a fusion may have no embedding to train
            norms.fill_between(
                table["epoch"], table["norm_low"], table["norm_high"], alpha=0.3, label="5th to 95th centile"
            )
            norms.plot(table["epoch"], table["norm_mean"], label="mean")
        norms.set(title="norm of the embedding", xlabel="epoch")
        for axis in (losses, rates_axis, norms):
            if axis.has_data():
                axis.legend(fontsize=7)
            axis.grid(alpha=0.3)
        write_atomic(path, lambda p: figure.savefig(p, dpi=100, metadata={"Software": None}))


@dataclass
class Fitted:
    """The chosen state of a network, what describes it, how it came about, and its rates on validation."""

    contract: Contract
    state: dict[str, Tensor]
    history: History
    validation: dict[str, Any]

    def save(self, folder: Path) -> None:
        """Write all files of a trained run into a folder."""
        save_run(folder, self.contract, self.state)
        self.history.write(folder / "history.csv")
        self.history.draw(folder / "curves.png", self.contract.run)
        write_json(folder / "validation.json", self.validation)


def norm_summary(norms: Tensor, clamped: Tensor) -> Mapping[str, float]:
    """Mean, 5th and 95th centile of embedding norms (N,), and the share of them outside MagFace's range."""
    low, high = np.quantile(norms.numpy(), [0.05, 0.95])
    return {
        "norm_mean": float(norms.mean()),
        "norm_low": float(low),
        "norm_high": float(high),
        "clamped": float(clamped.float().mean()),
    }
