"""`psface check`: a data set looked over without changing anything."""

from __future__ import annotations

import json
from pathlib import Path

import click

from pipeline.errors import UserError

SOURCES = ("photoface", "yaleb", "folder")


@click.command("check")
@click.argument("path")
@click.option("--source", type=click.Choice(SOURCES), help="How it is laid out.  [default: guessed]")
@click.option("--uncalibrated", is_flag=True, help="Take sessions without lights, as `ingest.uncalibrated: true` does.")
@click.option("-o", "--out", help="Draw some of its sessions as a contact sheet (.jpg, .png).")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def command(path: str, source: str | None, uncalibrated: bool, out: str | None, as_json: bool) -> None:
    """Look a data set over without changing anything.

    Prints its sessions, frames, lights and labels, what ingest would reject and why, and what a person should look at.
    It reads the header and the length of every frame, and the pixels of all where those are 500 million or fewer, else
    of twelve sessions; it says of how many. Exit status 0 where a session can be used, else 2.
    """
    from pipeline.progress import wrote
    from stages.ingest.check_inspect import inspect
    from stages.ingest.check_text import as_text, as_values

    if out and Path(out).resolve().is_relative_to(Path(path).resolve()):
        raise UserError(f"{out} lies in the data set, which `psface check` leaves as it is: draw the sheet elsewhere")
    found = inspect(path, source, uncalibrated=uncalibrated)
    print(json.dumps(as_values(found), indent=2, ensure_ascii=False) if as_json else as_text(found), flush=True)
    if out and found.drawn:
        from stages.ingest.check_sheet import contact_sheet

        contact_sheet(out, found.drawn, found.sessions)
        if not as_json:
            wrote(out)
    if not found.sessions:
        raise UserError(f"{path}: none of {len(found.refusals)} sessions can be used")
