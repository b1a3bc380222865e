"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from pipeline.parallel import Jobs


class JobsType(click.ParamType):
    """A number of processes, or the address of a Dask scheduler (it holds a colon)."""

    name = "N|ADDRESS"

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> Jobs:
        if isinstance(value, int) or ":" in value:
            jobs: Jobs = value
            return jobs
        try:
            return int(value)
        except ValueError:
            self.fail(
                f"{value!r} is neither a number of processes nor the address of a Dask scheduler (tcp://host:8786)",
                param,
                context,
            )


def jobs_option(default: int = -1, note: str = "") -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The option `--jobs`, also read from the variable PSFACE_JOBS, as `Jobs`."""
    text = f"Processes (-1: all cores), or a Dask scheduler as tcp://host:port.{note and ' '}{note}"
    return click.option(
        "--jobs", type=JobsType(), default=default, show_default=True, envvar="PSFACE_JOBS", show_envvar=True, help=text
    )
