"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from pipeline.devices import usable_device
from pipeline.parallel import Jobs

if TYPE_CHECKING:
    import torch


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


def device_option() -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The option `--device` of what numpy does where none is named: none for `cpu`, else a torch device."""

    def chosen(context: click.Context, param: click.Parameter, name: str) -> torch.device | None:
        return None if name == "cpu" else usable_device(name, double=True)

    text = "Where pixels are solved and integrated: cpu (by numpy), or what torch names so, such as cuda."
    return click.option("--device", default="cpu", show_default=True, callback=chosen, help=text)
