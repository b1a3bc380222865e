"""`psface verify`: exact rates of all pairs of a file of embeddings, however many."""

from __future__ import annotations

import json
from pathlib import Path

import click
import numpy as np

from pipeline.errors import PsfaceError, UserError
from pipeline.files import check_regular
from pipeline.verification import cosine_matrix, distance_matrix, far_key, matrix_pairs, resample, verification
from pipeline.verification.allpairs import count_all_pairs

RESAMPLED, RESAMPLES = 2000, 1000  # embeddings of which all pairs are kept, and how often their subjects are drawn
FARS = (0.1, 0.01, 0.001, 0.0001, 0.00001, 0.000001)


@click.command("verify")
@click.argument("embeddings", type=click.Path(path_type=Path), metavar="EMBEDDINGS.npz")
@click.option("--euclidean", is_flag=True, help="Compare by Euclidean distance, unnormalised, instead of by cosine.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of lines.")
def command(embeddings: Path, euclidean: bool, as_json: bool) -> None:
    """Verification rates of all pairs of embeddings, exact, in constant memory.

    EMBEDDINGS.npz holds `embedding` (N, D) and `subject` (N,), as `psface evaluate` writes them. Prints the AUC, the
    EER and the TAR at FARs from 1e-1 down to the last that 30 impostor pairs decide; of up to 2,000 embeddings with
    95 % intervals by resampling the subjects.
    """
    vectors, subjects = _read(embeddings)
    try:
        found = count_all_pairs(vectors, subjects, euclidean=euclidean)
    except PsfaceError as error:
        raise UserError(f"{embeddings}: {error}") from error
    counts = {"genuine": int(found.genuine.sum()), "impostor": int(found.impostor.sum())}
    rates = {name: {"value": value} for name, value in found.rates(FARS).items()}
    if len(subjects) <= RESAMPLED:
        rates = {
            name: rates[name] | ends for name, ends in _intervals(vectors, subjects, euclidean, list(rates)).items()
        }
    if as_json:
        click.echo(json.dumps({**rates, "counts": counts}, indent=2))
        return
    click.echo(f"{counts['genuine']} genuine and {counts['impostor']} impostor pairs of {len(subjects)} embeddings")
    for name, rate in rates.items():
        click.echo(
            f"{name:14} {rate['value']:.6f}" + (f"  [{rate['low']:.6f}, {rate['high']:.6f}]" if "low" in rate else "")
        )


def _intervals(vectors: np.ndarray, subjects: np.ndarray, euclidean: bool, names: list[str]) -> dict[str, dict]:
    """Ends of the 95 % intervals of rates by name."""
    similarity = -distance_matrix(vectors) if euclidean else cosine_matrix(vectors)
    scores = matrix_pairs(similarity, subjects)
    draws = resample(len(scores.subjects), RESAMPLES, np.random.default_rng(0))
    found = verification(scores, [far for far in FARS if far_key(far) in names], draws)
    return {name: {"low": found[name]["low"], "high": found[name]["high"]} for name in names}


def _read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    try:
        check_regular(path)
        with path.open("rb") as file, np.load(file, allow_pickle=False) as saved:
            vectors, subjects = saved["embedding"], saved["subject"]
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing: `psface evaluate` writes such a file") from error
    except Exception as error:  # of the archive, of an array's header, a name that is missing
        raise UserError(f"{path} cannot be read: it is to hold `embedding` (N, D) and `subject` (N,)") from error
    if vectors.ndim != 2 or vectors.dtype.kind != "f" or subjects.shape != vectors.shape[:1] or not len(vectors):
        raise UserError(f"{path} is not whole: it is to hold `embedding` (N, D) and `subject` (N,)")
    return vectors, subjects
