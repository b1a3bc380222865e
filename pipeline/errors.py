"""The three ways in which work can end badly. Every message is one line: what, where, what to do."""

from __future__ import annotations

import difflib

LONGEST = 600  # characters of a message


class PsfaceError(Exception):
    """A failure of the work itself; the command exits with 1. Its text is made one printable line."""

    exit_code = 1

    def __str__(self) -> str:
        return one_line(super().__str__())


class UserError(PsfaceError):
    """A mistake in what the user gave (params.yaml, arguments, files); the command exits with 2."""

    exit_code = 2


class Rejected(PsfaceError):
    """One session cannot be used; its text is the reason. The other sessions go on."""


def one_line(text: str) -> str:
    """A text as one line that a terminal shows and a file in UTF-8 can hold, whatever names it quotes.

    >>> one_line("im0\x1b[2J.bmp:\n  empty")
    'im0\\\\x1b[2J.bmp: empty'
    """
    shown = " ".join(text.split())
    if not shown.isprintable():
        shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in shown)
    return shown if len(shown) <= LONGEST else f"{shown[: LONGEST // 2]} ... {shown[-LONGEST // 2 :]}"


def nearest(word: str, choices: list[str]) -> str:
    """What to say of an unknown word: the nearest choice, and all of them."""
    close = difflib.get_close_matches(word, choices, n=1, cutoff=0.5)
    listed = f"valid: {', '.join(choices)}" if choices else "nothing is valid here"
    return f"did you mean `{close[0]}`? ({listed})" if close else listed
