"""How far the maps of a session can be trusted: a score in degrees, and one word why.

The score predicts the mean angular error of the normals from what a session shows without ground truth: a linear model
of the logarithm, fitted on simulated sessions with one trouble each (``python benchmarks/quality.py --fit``). It ranks;
its degrees are those of the simulated rig. Four findings stand beside it, since no error of normals expresses them: a
comb of interlaced fields, a hollow face, a flat picture instead of a face, a face tilted further than heads nod.

    misfit    log of the share of the light that Lambert's model leaves (lights, gains, highlights, motion)
    curl      log of what the slopes miss around four pixels (noise, motion, seams)
    condition log ratio of the lights' singular values
    few       1 / number of lights: what a misfit can be seen by
    dark      -log of the median albedo in units of the frames
    shadowed  share of the samples in shadow
    motion    px of the largest shift, of 100 px of width
    blur      px at the edges of the albedo, of 100 px of width

Misfit and shadowed are the numbers that the reconstruction left in the maps
(:class:`stages.reconstruct.quality.Quality`).
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass

import numpy as np

from pipeline.lights import condition
from pipeline.maps import Maps
from stages.reconstruct.defects import blur, comb
from stages.reconstruct.flatness import FLAT_ABOVE, flatness
from stages.reconstruct.quality import curl, lean, orientation

NAMES = ("misfit", "curl", "condition", "few", "dark", "shadowed", "motion", "blur")
TYPICAL = np.array(
    [-3.3, -2.13, 0.7, 0.25, 0.72, 0.17, 0.44, 0.46]
)  # medians of the fit's sessions: what stands in for a number that is not known
SLOPES = np.array([0.761, 0.241, 0.683, 0.417, -0.075, 1.967, -0.039, 0.649])
OFFSET = 1.845  # of the logarithm of the error in degrees, where all numbers are typical
COMBED = 15.0  # of `defects.comb`: faces reach 9 by brows and lips
TILTED = 0.48  # of `quality.lean`: 26 degrees, up or down
TELLING = 0.15  # of the logarithm of the error: less is no reason


@dataclass(frozen=True)
class Trust:
    """What `psface quality` says of one session.

    Attributes
    ----------
    error : degrees, the predicted mean angular error.
    why : one word: the finding, or the number that raises the error most, or ``good``.
    flat : the planarity score, NaN where there is too little to see.
    numbers : by the names of `NAMES`; NaN where not known.
    findings : words that put a session first whatever its error: comb, hollow, flat, tilt.
    """

    error: float
    why: str
    flat: float
    numbers: dict[str, float]
    findings: tuple[str, ...]


def judge(maps: Maps, frames: np.ndarray | None = None) -> Trust:
    """The score of maps; a comb is looked for in their frames (k, H, W) too, where those are at hand."""
    numbers = evidence(maps)
    parts = _parts(numbers)
    flat = flatness(maps)
    found = []
    if max(comb(image) for image in (maps.albedo, *([] if frames is None else frames))) > COMBED:
        found.append("comb")
    if orientation(maps.normal, maps.mask):
        found.append("hollow")
    if flat > FLAT_ABOVE:
        found.append("flat")
    if abs(lean(maps.depth, maps.mask)) > TILTED:
        found.append("tilt")
    largest = int(np.argmax(parts))
    why = found[0] if found else NAMES[largest] if parts[largest] > TELLING else "good"
    return Trust(predicted_error(numbers), why, flat, numbers, tuple(found))


def predicted_error(numbers: dict[str, float]) -> float:
    """Degrees, from the numbers of `evidence`; one that is not known counts as typical."""
    return float(np.exp(OFFSET + _parts(numbers).sum()))


def _parts(numbers: dict[str, float]) -> np.ndarray:
    """What each number adds to the logarithm of the error, (8,)."""
    return np.nan_to_num(SLOPES * (np.array([numbers[name] for name in NAMES]) - TYPICAL))


def evidence(maps: Maps) -> dict[str, float]:
    """The numbers of the score, by name; see the module."""
    inside, size = maps.mask, max(maps.shape)
    lights = _table(maps, "lights")
    known = {name: float(value) for name, value in _quality(maps).items() if isinstance(value, int | float)}
    shifts = _table(maps, "shifts")
    residual, k = known.get("residual", math.nan), 0 if lights is None else len(lights)
    few = k == 3 or (k == 0 and residual == 0)
    return {
        "misfit": math.nan if few else math.log(residual + 1e-3),
        "curl": math.log(curl(maps.normal, inside) + 1e-4),
        "condition": math.nan if lights is None else math.log(condition(lights)),
        "few": math.nan if not k else 1 / k,
        "dark": -math.log(float(np.median(maps.albedo[inside])) + 1e-3) if inside.any() else math.nan,
        "shadowed": known.get("shadowed", math.nan),
        "motion": math.nan if shifts is None else 100 * float(np.linalg.norm(shifts, axis=1).max()) / size,
        "blur": 100 * blur(np.where(inside, maps.albedo, 0)) / size,
    }


def _table(maps: Maps, name: str) -> np.ndarray | None:
    """A list of numbers among the attributes, or none."""
    text = maps.attributes.get(name)
    return None if text is None else np.asarray(json.loads(text), float)


def _quality(maps: Maps) -> dict[str, object]:
    """The row of quality numbers that the maps carry, if they do."""
    row = json.loads(maps.attributes.get("quality", "{}"))
    return row if isinstance(row, dict) else {}
