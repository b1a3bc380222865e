"""Silence while a decoder works: what it prints is for its makers, and a message here names the file."""

from __future__ import annotations

import ctypes
import io
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress

_c = ctypes.CDLL(None)
_only_one = threading.Lock()  # two threads that silence at once would leave the process silent


@contextmanager
def silenced() -> Iterator[None]:
    """Nothing that libpng, libjpeg, OpenCV or OpenEXR print reaches the user; what Python prints meanwhile is lost."""
    with _only_one:
        _flush()
        kept = []
        for number in (1, 2):
            with suppress(OSError):
                kept.append((number, os.dup(number)))
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            for number, _ in kept:
                os.dup2(nowhere, number)
            with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):  # a notebook's are not the two
                yield
        finally:
            _flush()
            for number, copy in kept:
                os.dup2(copy, number)
                os.close(copy)
            os.close(nowhere)


def _flush() -> None:
    """Hand on what Python and the C library have not yet written: the latter holds lines back wherever no one looks."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):  # one that is closed, or was never there
            stream.flush()
    _c.fflush(None)
