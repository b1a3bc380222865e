"""Sessions over a Dask cluster: the work of `pipeline.parallel` on workers that see the same files.

joblib's own Dask backend gives back everything at the end; the client's futures come one by one, so that what is done
is kept when the rest is interrupted.
"""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pipeline.errors import PsfaceError, UserError
from pipeline.work import ROOT

if TYPE_CHECKING:
    from distributed import Client, Future

Item = TypeVar("Item")
Value = TypeVar("Value")
PATIENCE = 15.0  # seconds for a scheduler or a first worker to answer, and between looks whether any worker is left


def over_cluster(
    address: str, function: Callable[[Item], Value], items: Sequence[Item], *, label: str
) -> Iterator[Value]:
    """Yield ``function(item)`` for each item, in order, worked out by the cluster at ``address``.

    Raises
    ------
    UserError
        distributed is not installed, nothing answers at the address, or its workers cannot do this work.
    PsfaceError
        The workers were killed or lost, or see other files.
    """
    with _token() as token, _connect(address) as client:
        call = partial(_call_there, socket.gethostname(), token, function)
        waiting = client.map(call, items, pure=False)[::-1]
        while waiting:
            yield _result(client, waiting.pop(), f"{label}: the Dask cluster at {address}")


@contextmanager
def _connect(address: str) -> Iterator[Client]:
    try:
        from distributed import Client
    except ImportError:
        raise UserError(f"--jobs {address}: a Dask cluster needs Dask: pip install 'psface[dask]'") from None
    try:
        client = Client(address, timeout=PATIENCE)
    except (OSError, ValueError) as error:
        raise UserError(f"--jobs {address}: no Dask scheduler answers there ({error})") from None
    with client:
        try:
            client.wait_for_workers(1, timeout=PATIENCE)
        except TimeoutError:
            raise UserError(
                f"--jobs {address}: the scheduler has no workers: start some with `dask worker {address} --nthreads 1`"
            ) from None
        threaded = [worker for worker, threads in client.nthreads().items() if threads > 1]
        if threaded:
            raise UserError(
                f"--jobs {address}: the worker {threaded[0]} has several threads; sessions take a process each: "
                "start more workers (--nworkers) with --nthreads 1"
            )
        yield client


@contextmanager
def _token() -> Iterator[Path]:
    """A file by which a worker tells that it sees the caller's files."""
    ROOT.mkdir(exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=ROOT.absolute(), prefix="token-") as file:
        yield Path(file.name)


def _call_there(host: str, token: Path, function: Callable[[Item], Value], item: Item) -> Value:
    """On a worker."""
    if not token.exists():
        raise PsfaceError(
            f"the Dask worker on {socket.gethostname()} does not see {token.parent.parent} as {host} has it: "
            "workers need the same files under the same paths"
        )
    return function(item)


def _result(client: Client, future: Future, cluster: str) -> Any:
    from distributed import CancelledError, KilledWorker, wait

    while not future.done():
        try:
            wait([future], timeout=PATIENCE)
        except TimeoutError:
            if not client.nthreads():
                raise PsfaceError(f"{cluster} has no worker left: start some and run this again") from None
        except (CancelledError, OSError):
            raise _lost(cluster) from None
    try:
        return future.result()
    except CancelledError:
        raise _lost(cluster) from None
    except KilledWorker:
        raise PsfaceError(
            f"{cluster} lost a worker to this work, mostly for want of memory: give its workers more memory each"
        ) from None


def _lost(cluster: str) -> PsfaceError:
    return PsfaceError(f"{cluster} was lost: look at its scheduler and run this again")
