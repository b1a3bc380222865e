"""Trains and scores the runs of recipes/mask/experiments.yaml: networks that know of masks, and their twins.

    make mask-data                                             # once
    python benchmarks/masks_runs.py [RUN ...] [--seeds 7]      # all, seed by seed; or some: mtarcface-normal
    python benchmarks/masks_runs.py --list

Each is trained and scored as `benchmarks/runs.py` does it, on recipes/mask; after `make mask-yale` also on real faces
with painted masks. docs/results/masks.csv is written from all that are done (masks_rows.py).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks.runs import ROOT, Benchmark
from pipeline.tables import write_parquet

REAL = ROOT / "recipes" / "mask-yale"


class Masks(Benchmark):
    """Families of networks, each on normals, albedo, frames and fused."""

    def listed(self) -> dict[str, Any]:
        """The runs of all families, and what each is compared with."""
        found = super().listed()
        families, sees = found["families"], found["sees"]
        runs = {f"{family}-{what}": {"family": family, **made_of, **_sees(family, shown)}
                for family, made_of in families.items() for what, shown in sees.items()}  # fmt: skip
        compared = {f"{family}-{what}": [f"{other}-{what}" for other in others]
                    for family, others in found["compare"].items() for what in sees}  # fmt: skip
        return found | {"runs": runs | found["more"], "compare": compared}

    def params_of(self, name: str, run: Mapping[str, Any], seed: int) -> dict[str, Any]:
        """As of any benchmark; the entry is named by its seed too, so that several may be trained at once."""
        found = super().params_of(f"{name}-{seed}", run, seed)
        for entry in found.get("fuse", {}).values():
            entry["modalities"] = run["modalities"]
        return found

    def splits_of(self, params: Path, run: Mapping[str, Any]) -> Path:
        """The recipe's splits; the same with nobody masked in training and validation; or by other unseen masks.

        Those of a run lie in its own folder or have its name: several may be made at once.
        """
        if "balance" in run:
            return super().splits_of(params, run)
        splits = Path("data/splits.parquet")
        if not run.get("bare"):
            return splits
        table = pd.read_parquet(self.folder / splits)
        sessions = pd.read_parquet(self.folder / "data/sessions.parquet").set_index("id")
        worn = sessions.loc[table["session"], "mask"].to_numpy() == 1
        table["keep"] &= ~(worn & (table["split"] != "test").to_numpy())
        bare = params.with_name("splits.parquet")
        write_parquet(self.folder / bare, table)
        return bare

    def fit_and_score(self, name: str, run: Mapping[str, Any], seed: int, folder: Path) -> float:
        """Train or fuse a run, and score it; how many minutes the training took."""
        start, params = time.monotonic(), folder / "params.yaml"
        splits, fitting = self.splits_of(params, run), ["train", f"{name}-{seed}"]
        if "fuse" in run:
            fitting = ["fuse", f"{name}-{seed}", "--runs", self._branches(run, folder)]
        self.psface(*fitting, "--params", params, "--splits", splits, "--output", folder / "train")
        minutes = (time.monotonic() - start) / 60
        own = {"splits": splits} if "balance" in run else {}  # who never saw a mask is still asked about masks
        self.evaluate(f"{name}-{seed}", folder, "evaluate", own)
        return minutes

    def _branches(self, run: Mapping[str, Any], folder: Path) -> Path:
        """A folder that names the branches as `psface fuse` looks for them, by what they see."""
        home = folder / "branches"
        (self.folder / home).mkdir(exist_ok=True)
        for branch, what in zip(run["fuse"], run["modalities"], strict=True):
            link = self.folder / home / what
            link.unlink(missing_ok=True)
            link.symlink_to(Path("..", "..", branch))
        return home

    def score_more(self, name: str, seed: int) -> None:
        """Real faces with painted masks, where they have been made."""
        folder, data = self.place(seed, name), Path("..") / REAL.name / "data"
        known = self.folder / folder / "yale" / "embeddings.npz"
        trained = self.folder / folder / "train" / "weights.safetensors"
        if not (REAL / "data" / "splits.parquet").exists() or (
            known.exists() and known.stat().st_mtime_ns > trained.stat().st_mtime_ns
        ):
            return
        tables = {"faces": data / "faces", "sessions": data / "masked" / "sessions.parquet"}
        tables |= {key: data / f"{key}.parquet" for key in ("splits", "quality")}
        self.evaluate(f"{name}-{seed}", folder, "yale", tables)

    def tables(self) -> dict[str, Path]:
        """By folder of results the table of the sessions that runs are scored on."""
        return {
            "evaluate": self.folder / "data" / "sessions.parquet",
            "yale": REAL / "data" / "masked" / "sessions.parquet",
        }

    def run_rows(self, run: Path) -> Iterator[dict[str, Any]]:
        """The rates of a run's folder."""
        from benchmarks.masks_rows import run_rows

        yield from run_rows(run, self.tables())

    def compared_rows(self, first: Path, second: Path) -> Iterator[tuple[str, dict[str, Any]]]:
        """Paired differences and ratios of two runs' folders."""
        from benchmarks.masks_rows import compared_rows

        yield from compared_rows(first, second, self.tables())

    def rows(self, compared: Mapping[str, Sequence[str]]) -> list[dict[str, Any]]:
        """As of any benchmark, and the pixels as they are, on the sessions that the first family was scored on."""
        from benchmarks.masks_rows import pixel_rows

        found, listed = super().rows(compared), self.listed()
        family, seed = next(iter(listed["families"])), min(listed["seeds"])
        for what in listed["sees"]:
            done = next(iter(sorted(self.folder.glob(f"runs/*/{seed}/{family}-{what}/done.json"))), None)
            whose = {"run": f"pixels-{what}", "seed": seed, "device": "cpu"}
            if done is not None:
                found += [{**whose, **row} for row in pixel_rows(done.parent, self.tables())]
        return found


def _sees(family: str, shown: Mapping[str, Any]) -> dict[str, Any]:
    """What a run sees: one network, or the family's networks fused."""
    each = shown["modalities"]
    return {**shown, "fuse": [f"{family}-{what}" for what in each]} if len(each) > 1 else dict(shown)


MASKS = Masks(ROOT / "recipes" / "mask", ROOT / "docs" / "results" / "masks.csv", "make mask-data")

if __name__ == "__main__":
    MASKS.main(__doc__)
