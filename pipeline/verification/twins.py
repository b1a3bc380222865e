"""Twins: one visit with and without its mask, as the simulator and the painter make them. They are no genuine pair.

What two sessions of one visit share is more than the person: the light, the expression, often the very noise. Whoever
counted them would measure how well a picture is known again. Their similarity is therefore no number, and nothing that
is counted from a matrix of similarities looks at it, as nothing looks at its diagonal.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.maskdesigns import TWIN


def twins(sessions: Sequence[str] | np.ndarray) -> np.ndarray:
    """(2, T) rows of the bare and the masked session of each visit that has both, among ids (N,)."""
    rows = {str(session): row for row, session in enumerate(sessions)}
    found = [(rows[name.removesuffix(TWIN)], row) for name, row in rows.items()
             if name.endswith(TWIN) and name.removesuffix(TWIN) in rows]  # fmt: skip
    return np.array(found, dtype=np.intp).reshape(-1, 2).T


def without_twins(similarity: np.ndarray, sessions: Sequence[str] | np.ndarray) -> np.ndarray:
    """A matrix (N, N) of similarities of sessions (N,), NaN where two of them are one visit."""
    bare, masked = twins(sessions)
    if not len(bare):
        return similarity
    apart = similarity.copy()
    apart[bare, masked] = apart[masked, bare] = np.nan
    return apart
