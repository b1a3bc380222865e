"""Normals and albedo of pixels from samples under known flashes: one function, several methods.

`weighted`      every flash counts, the more the brighter its sample
`marching`      few flashes: shadows are marched over the depth, flares held down
`thresholding`  many flashes: what is off Lambert's law at a pixel is left out
`auto`          the one of the last two that the number of flashes calls for
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from stages.reconstruct.solvers.linear import FLOOR, Solution, least_squares, split, weighted_least_squares
from stages.reconstruct.solvers.marching import Surroundings, solve_marching, surroundings
from stages.reconstruct.solvers.thresholding import solve_thresholding
from stages.reconstruct.solvers.weighted import solve_weighted

__all__ = [
    "FLOOR",
    "MANY",
    "Method",
    "Solution",
    "Surroundings",
    "choose",
    "least_squares",
    "solve",
    "split",
    "surroundings",
    "weighted_least_squares",
]

Method = Literal["auto", "weighted", "thresholding", "marching"]
MANY = 12  # flashes from which on half of them can be left out at every pixel


def choose(count: int, *, masked: bool) -> tuple[Method, str]:
    """The method that ``auto`` takes for so many flashes, and why, in words; without a mask nothing can be marched."""
    if count >= MANY:
        return "thresholding", f"{count} flashes: enough to leave out what is off Lambert's law at each pixel"
    if count == 3:
        return "weighted", "3 flashes: nothing is left over that could tell a shadow from a dark surface"
    if masked:
        return (
            "marching",
            f"{count} flashes: too few to leave any out but those that shadows or flares are seen to spoil",
        )
    return "weighted", f"{count} flashes of pixels without a place"


def solve(
    samples: np.ndarray,
    lights: np.ndarray,
    strengths: np.ndarray,
    *,
    mask: np.ndarray | None = None,
    method: Method = "auto",
    saturated: np.ndarray | None = None,
    shadow: float = 0.1,
    shadow_weight: float = 0.6,
    floor: float = 0.05,
    around: Surroundings | None = None,
) -> Solution:
    """Scaled normals of pixels.

    Parameters
    ----------
    samples : (k, P) float32, ambient subtracted, >= 0 up to noise.
    lights : (k, 3) unit, towards the flashes; or (k, 3, P), other ones at each pixel, whose lengths count as strength.
    strengths : (k,) > 0.
    mask : (H, W) bool, where the P pixels are; `marching` needs it, or ``around``.
    saturated : (k, P) bool, samples at the top of the camera's range.
    shadow : a sample below this share of its pixel's brightest (strength divided out) is called shadowed.
    shadow_weight : factor on the weight of shadowed samples that the pixel can do without.
    floor : least n_z of the depth that shadows are marched on.
    around : for `marching`, what is around the pixels, of :func:`surroundings`; worked out where it is not given.

    Raises
    ------
    ValueError : shapes that do not fit, or a method that is not known.
    """
    _check(samples, lights, strengths, mask, method)
    saturated = np.zeros(samples.shape, bool) if saturated is None else saturated
    if method == "auto":
        method = choose(len(lights), masked=mask is not None)[0]
    if method == "thresholding":
        return solve_thresholding(samples, lights, strengths, saturated=saturated, shadow=shadow)
    first = solve_weighted(samples, lights, strengths, saturated=saturated, shadow=shadow, shadow_weight=shadow_weight)
    if method == "weighted":
        return first
    if around is None:
        if mask is None:
            raise ValueError("marching needs the mask that says where the pixels are")
        around = surroundings(*split(first.scaled), first.confidence, lights, mask, floor=floor)
    return solve_marching(samples, lights, strengths, first, around)


def _check(
    samples: np.ndarray, lights: np.ndarray, strengths: np.ndarray, mask: np.ndarray | None, method: Method
) -> None:
    if method not in get_args(Method):
        raise ValueError(f"unknown method {method!r}; there are {', '.join(get_args(Method))}")
    k = len(lights)
    if samples.ndim != 2 or samples.shape[0] != k or len(strengths) != k:
        raise ValueError(f"expected samples (k, P) for k = {k} lights and strengths, got {samples.shape}")
    if lights.shape[1:] not in ((3,), (3, samples.shape[1])):
        raise ValueError(f"expected lights (k, 3) or (k, 3, P), got {lights.shape} for {samples.shape[1]} pixels")
    if mask is not None and np.count_nonzero(mask) != samples.shape[1]:
        raise ValueError(f"the mask has {np.count_nonzero(mask)} pixels, the samples {samples.shape[1]}")
