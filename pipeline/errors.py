"""The three ways in which work can end badly. Every message is one line: what, where, what to do."""

from __future__ import annotations

import difflib


class PsfaceError(Exception):
    """A failure of the work itself; the command exits with 1."""

    exit_code = 1


class UserError(PsfaceError):
    """A mistake in what the user gave (params.yaml, arguments, files); the command exits with 2."""

    exit_code = 2


class Rejected(PsfaceError):
    """One session cannot be used; its text is the reason. The other sessions go on."""


def nearest(word: str, choices: list[str]) -> str:
    """What to say of an unknown word: the nearest choice, and all of them."""
    close = difflib.get_close_matches(word, choices, n=1, cutoff=0.5)
    listed = f"valid: {', '.join(choices)}" if choices else "nothing is valid here"
    return f"did you mean `{close[0]}`? ({listed})" if close else listed
