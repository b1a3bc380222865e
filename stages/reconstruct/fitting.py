"""The pixels of a session solved, a few rows at a time where the solver allows it.

What is kept of a solution is kept by pixel; what is known of each sample (residual, weight, shadow) is summed up and
forgotten, since it takes as much memory as the frames have floats.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from pipeline.params import Reconstruct
from stages.reconstruct.solvers import Method, Solution, Surroundings, solve, split, surroundings
from stages.reconstruct.stack import Stack

SOME = 1 << 16  # pixels whose samples are kept


@dataclass(eq=False)
class Fit:
    """What the frames say about a mask's pixels, and how well.

    Attributes
    ----------
    normal : (H, W, 3) float32 unit, albedo, confidence, visibility : (H, W) float32; all zero outside the mask.
    some : (k, n) float32 samples over strength of up to `SOME` pixels, spread evenly.
    lost, power : weighted sums of squares of what Lambert's model leaves, and of the samples.
    shadowed, saturated : shares of the samples. measured : of the pixels, with three samples below saturation.
    """

    normal: np.ndarray
    albedo: np.ndarray
    confidence: np.ndarray
    visibility: np.ndarray
    some: np.ndarray = field(default_factory=lambda: np.empty((0, 0), np.float32))
    lost: float = 0.0
    power: float = 0.0
    shadowed: float = 0.0
    saturated: float = 0.0
    measured: float = 0.0

    def take(self, samples: np.ndarray, solution: Solution, share: float) -> None:
        """Count the samples (k, n) of a ``share`` of the pixels, and how they were solved."""
        weighted = solution.weights * samples
        self.power += float(np.vdot(weighted, samples))
        np.multiply(solution.weights, solution.residual, out=weighted)
        self.lost += float(np.vdot(weighted, solution.residual))
        clipped = np.count_nonzero(solution.saturated)
        self.shadowed += share * (np.count_nonzero(solution.shadowed) / samples.size)
        self.saturated += share * (clipped / samples.size)
        self.measured += share * (float(((~solution.saturated).sum(axis=0) >= 3).mean()) if clipped else 1.0)


@dataclass(frozen=True, eq=False)
class Task:
    """The frames of a session, lights (k, 3) and strengths (k,), the mask (H, W) and how its pixels are solved.

    ``lights_at`` gives the lights (k, 3, n) of the pixels of some rows, by their indices (n,) in those rows, where
    flashes are near.
    """

    stack: Stack
    lights: np.ndarray
    strengths: np.ndarray
    mask: np.ndarray
    settings: Reconstruct
    lights_at: Callable[[slice, np.ndarray], np.ndarray] | None = None

    def samples(self, rows: slice, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(k, n) float32 samples of pixels of some rows, and which are saturated."""
        shape = (len(self.stack), len(at))
        samples, saturated = np.empty(shape, np.float32), np.empty(shape, bool)
        for i in range(len(self.stack)):
            flash, top = self.stack.pair(i, rows, self.settings.saturation)
            np.take(flash, at, out=samples[i], mode="clip")
            np.take(top, at, out=saturated[i], mode="clip")
        return samples, saturated


def fitted(task: Task, method: Method) -> Fit:
    """Solve the pixels of a task.

    What `marching` must know of others is known when all are solved by `weighted`. Their normals, albedo and confidence
    are kept for it, not their residuals and weights, which take as much memory as the frames have floats: the rows at
    hand are solved by `weighted` once more.
    """
    if method != "marching":
        return _fitted(task, method, None)
    first = _fitted(task, "weighted", None)
    unit = np.ascontiguousarray(first.normal[task.mask].T)
    albedo, confidence = first.albedo[task.mask], first.confidence[task.mask]
    del first
    around = surroundings(unit, albedo, confidence, task.lights, task.mask, floor=task.settings.slope_floor)
    return _fitted(task, method, around)


def _fitted(task: Task, method: Method, around: Surroundings | None) -> Fit:
    mask, settings = task.mask, task.settings
    count = int(np.count_nonzero(mask))
    fit = Fit(np.zeros((*mask.shape, 3), np.float32), *np.zeros((3, *mask.shape), np.float32))
    every, seen, some = max(1, -(-count // SOME)), 0, []
    for rows in task.stack.strips():
        at = np.flatnonzero(mask[rows])
        if not len(at):
            continue
        samples, saturated = task.samples(rows, at)
        solution = solve(
            samples,
            task.lights if task.lights_at is None else task.lights_at(rows, at),
            task.strengths,
            method=method,
            saturated=saturated,
            shadow=settings.shadow,
            shadow_weight=settings.shadow_weight,
            around=None if around is None else around.part(slice(seen, seen + len(at))),
        )
        unit, length = split(solution.scaled)
        fit.normal[rows].reshape(-1, 3)[at] = unit.T
        for to, values in (
            (fit.albedo, length), (fit.confidence, solution.confidence), (fit.visibility, solution.visibility)
        ):  # fmt: skip
            to[rows].ravel()[at] = values
        fit.take(samples, solution, len(at) / count)
        some.append(samples[:, -seen % every :: every] / task.strengths.astype(np.float32)[:, None])
        seen += len(at)
    fit.some = np.concatenate(some, axis=1)
    return fit
