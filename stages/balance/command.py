"""`psface balance`: subjects into splits, the training split undersampled, and what that costs."""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
import pandas as pd

from pipeline.attributes import AGE, ATTRIBUTES
from pipeline.errors import UserError
from pipeline.faces import INDEX_COLUMNS
from pipeline.maskdesigns import expand
from pipeline.params import Balance, section
from pipeline.progress import wrote
from pipeline.sessions import read_sessions, sessions_frame
from pipeline.tables import read_parquet, write_csv, write_parquet
from pipeline.work import alone
from stages.balance.methods import balance
from stages.balance.program import Problem
from stages.balance.splits import roles, split_subjects, within_span
from stages.balance.summary import before_after, cost, draw_before_after

CODE = ("stages.balance", "pipeline.attributes", "pipeline.maskdesigns")
PATH = click.Path(path_type=Path)
COLUMNS = ["session", "subject", "split", "keep", "weight", "role"]


@click.command("balance")
@click.option("--params", "params_path", type=PATH, default="params.yaml", show_default=True, help="Parameters.")
@click.option("--sessions", type=PATH, default="data/sessions.parquet", show_default=True, help="Table of sessions.")
@click.option(
    "--faces", type=PATH, default="data/faces/index.parquet", show_default=True, help="Table of packed faces."
)
@click.option("--out", type=PATH, default="data/splits.parquet", show_default=True, help="Table of splits to write.")
@click.option(
    "--summary", type=PATH, default="data/balance", show_default=True, help="Folder of tables and figure to write."
)
@alone("balance")
def command(params_path: Path, sessions: Path, faces: Path, out: Path, summary: Path) -> None:
    """Split the subjects and balance the training split.

    Sessions with a face go to train, validation or test with their subject; of training, as many are kept as leave the
    rarer class of each attribute its minimum share. Prints what other minimum shares would cost.
    """
    params = section(params_path, "balance", Balance)
    table = usable(sessions, faces)
    splits, notes = assign(table, params)
    problem = training(splits, params)
    costs = cost(problem, seed=params.seed, time_limit=params.time_limit)
    classes = before_after(splits)
    write_csv(summary / "before_after.csv", classes)
    write_csv(summary / "cost.csv", costs)
    draw_before_after(summary / "before_after.png", classes, params.minimum_share)
    write_parquet(out, splits[COLUMNS])
    if len(costs):
        click.echo("sessions and subjects kept for training, by minimum share:\n" + costs.to_string(index=False))
    for note in notes:
        click.echo(f"note: {note}", err=True)
    train = splits["split"] == "train"
    counts = ", ".join(
        f"{n} {name}"
        for name in ("train", "validation", "test")
        if (n := splits.loc[splits["split"] == name, "subject"].nunique())
    )
    wrote(
        out,
        summary,
        note=f"subjects: {counts}; {int((train & splits['keep']).sum())} of {int(train.sum())} training "
        f"sessions kept by {params.method}",
    )


def usable(sessions: Path, faces: Path) -> pd.DataFrame:
    """A row a session that has a face, by id: session, subject, the attributes' codes and the age.

    Raises
    ------
    UserError
        No session has a face.
    """
    table = sessions_frame(read_sessions(sessions)).drop(columns="session").rename(columns={"id": "session"})
    index = read_parquet(faces, made_by="crop", columns=INDEX_COLUMNS, key="session")
    table = table[table["session"].isin(index.loc[index["row"] >= 0, "session"])]
    if table.empty:
        raise UserError(f"{faces}: no session of {sessions} has a face; see its column reason")
    return table[["session", "subject", *ATTRIBUTES, AGE, "mask_design"]].reset_index(drop=True)


def assign(table: pd.DataFrame, params: Balance) -> tuple[pd.DataFrame, list[str]]:
    """The table with split, keep, weight and role, and what the user should hear."""
    train_share = 1 - params.validation - params.test
    shares = {"train": 0 if train_share < 1e-9 else train_share, "validation": params.validation, "test": params.test}
    table = table.assign(
        split=table["subject"].map(split_subjects(table, shares, seed=params.seed)), keep=True, weight=1.0,
        role=roles(table, seed=params.seed),
    )  # fmt: skip
    if params.unseen_masks:
        table = apart(table, params.unseen_masks)
        table["role"] = roles(table, seed=params.seed)
    if params.age_span is not None:
        table = within_span(table, params.age_span, seed=params.seed)
    train = (table["split"] == "train").to_numpy()
    problem = training(table, params)
    done = balance(problem, params.method, params.minimum_share, seed=params.seed, time_limit=params.time_limit)
    table.loc[train, "role"] = ""
    table.loc[train, "keep"] = done.keep
    table.loc[train, "weight"] = done.weight
    return table, done.notes


def apart(table: pd.DataFrame, unseen: tuple[str, ...]) -> pd.DataFrame:
    """The sessions of a table with splits whose mask, if they wear one, belongs there: unseen designs to test alone.

    A mask of which nobody knows the design belongs nowhere.

    Raises
    ------
    UserError
        No masked session of test is left.
    """
    names = {"/".join(each) for each in expand(unseen)}
    known, test = table["mask_design"].ne(""), table["split"].eq("test")
    worn = known | table["mask"].eq(1)
    kept = ~worn | known & table["mask_design"].isin(names).eq(test)
    if not (worn & test & kept).any():
        raise UserError(f"no test session wears one of balance.unseen_masks ({', '.join(unseen)}): name other designs")
    return table[kept].reset_index(drop=True)


def training(table: pd.DataFrame, params: Balance) -> Problem:
    """The training sessions of a table with splits, as a problem."""
    train = table[table["split"] == "train"]
    labels = [ATTRIBUTES[name].to_binary(train[name].to_numpy()) for name in params.attributes]
    return Problem(
        subjects=np.unique(train["subject"].to_numpy(str), return_inverse=True)[1],
        labels=np.stack(labels, axis=1) if labels else np.empty((len(train), 0), dtype=int),
        names=params.attributes,
        cap=params.cap,
        floor=params.floor,
    )
