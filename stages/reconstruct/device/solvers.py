"""The solvers of :mod:`stages.reconstruct.solvers` on tensors; methods, constants and sources are theirs.

Samples (k, P), rows (k, 3) or (k, 3, P) that are lights times strengths, strengths (k,): float32, on one device.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from stages.reconstruct.solvers.linear import FLOOR, MISFIT, STEEPEST
from stages.reconstruct.solvers.marching import (
    AGREED,
    DARK,
    FACE,
    FLARE,
    GLINT,
    GRAZING,
    HOLD,
    MOST,
    REST,
    TRACE,
    UNLIKE,
)
from stages.reconstruct.solvers.thresholding import DARK as SHADOW
from stages.reconstruct.solvers.thresholding import FURTHER, HIGH, LOW, SCALES
from stages.reconstruct.solvers.thresholding import TRACE as LEFT_OUT
from stages.reconstruct.solvers.weighted import IMPLAUSIBLE, SUBSET_CONDITION

Equations = tuple[Tensor, Tensor]  # of each pixel: symmetric matrix (6, P): xx, xy, xz, yy, yz, zz; right side (3, P)


class Pixels(NamedTuple):
    """What is known of P pixels: samples and saturated (k, P), rows, strengths, and directions (k, 3) of the lights."""

    samples: Tensor
    saturated: Tensor
    rows: Tensor
    strengths: Tensor
    directions: Tensor

    @property
    def relative(self) -> Tensor:
        """(k, P) samples over strength."""
        return self.samples / self.strengths[:, None]


class Solved(NamedTuple):
    """As :class:`stages.reconstruct.solvers.Solution`: scaled (3, P), confidence (P,), the rest (k, P)."""

    scaled: Tensor
    residual: Tensor
    weights: Tensor
    shadowed: Tensor
    lit: Tensor
    confidence: Tensor


def weighted(pixels: Pixels, *, shadow: float, shadow_weight: float) -> Solved:
    """Twin of :func:`stages.reconstruct.solvers.weighted.solve_weighted`."""
    samples, saturated, rows = pixels.samples, pixels.saturated, pixels.rows
    relative = pixels.relative
    shadowed = relative < shadow * relative.masked_fill(saturated, 0).amax(0)
    weights = samples.clamp(min=0) + FLOOR
    if len(samples) > 3:
        spared = _spared(shadowed | saturated, pixels.directions) & shadowed
        weights = torch.where(spared, shadow_weight * weights, weights)
        aside = _spared(saturated, pixels.directions)
        without = weights.masked_fill(aside, 0)
        lower = shading(rows, _minimum(*_equations(samples, rows, without))) < samples
        weights = torch.where(lower, weights, without)
    scaled = _bounded(samples, rows, weights, relative.amax(0))
    residual = samples - shading(rows, scaled)
    lit = (~shadowed).float()
    return Solved(scaled, residual, weights, shadowed, lit, _confidence(pixels, residual, weights, lit))


def thresholding(pixels: Pixels, *, shadow: float) -> Solved:
    """Twin of :func:`stages.reconstruct.solvers.thresholding.solve_thresholding`."""
    saturated, rows, relative = pixels.saturated, pixels.rows, pixels.relative
    lit = relative >= shadow * relative.masked_fill(saturated, 0).amax(0)
    mean = relative.mean(0).clamp(min=1e-6)
    samples, relative = pixels.samples / mean, relative / mean
    usable = ((relative > SHADOW) & ~saturated).float().clamp(min=LEFT_OUT)
    weights = ((relative >= LOW) & (relative <= HIGH) & ~saturated).float().clamp(min=LEFT_OUT)
    before = scaled = _minimum(*_equations(samples, rows, weights))
    for scale in SCALES:
        residual = samples - shading(rows, scaled + FURTHER * (scaled - before))
        weights = usable / (residual.square() + scale**2)
        before, scaled = scaled, _minimum(*_equations(samples, rows, weights))
    weights = weights * SCALES[-1] ** 2
    scaled = scaled * mean
    residual = pixels.samples - shading(rows, scaled)
    return Solved(scaled, residual, weights, ~lit, lit.float(), _confidence(pixels, residual, weights, lit.float()))


class Around(NamedTuple):
    """As :class:`stages.reconstruct.solvers.Surroundings`: lit (k, P), normal, face (3, P) unit, tone, likely (P,)."""

    lit: Tensor
    normal: Tensor
    tone: Tensor
    face: Tensor
    likely: Tensor


def marching(pixels: Pixels, first: Solved, around: Around) -> Solved:
    """Twin of :func:`stages.reconstruct.solvers.marching.solve_marching`."""
    samples, rows, (seen, normal, level, model, likely) = pixels.samples, pixels.rows, around
    white = torch.maximum(shading(rows, normal), GRAZING * pixels.strengths[:, None])
    asked = samples / (white * level)
    lit = seen * (TRACE + (1 - TRACE) * step(asked, *DARK))
    fair = 1 - (1 - GLINT) * step(asked, *FLARE)
    plain = torch.minimum(samples.clamp(min=0), MOST * level * white) + FLOOR
    plain = plain.masked_fill(first.weights <= 0, 0)
    lost, power = _sums(first.weights, first.residual, samples)
    doubt, unlike = (lost / (lost + share**2 * power + 1e-12) for share in (AGREED, UNLIKE))
    weights = plain * (1 - doubt * (1 - lit.clamp(min=TRACE) * fair))
    whole = plain.sum(0) + FLOOR
    spare = whole / max(len(samples) - 3, 1)
    hold = HOLD * spare * doubt * (REST - weights.sum(0) / whole).clamp(0, 1)
    face = FACE * spare * unlike * likely
    target = level * (hold * normal + face * model) / (hold + face + 1e-12)
    scaled = _held(_equations(samples, rows, weights), target, hold + face)
    residual = samples - shading(rows, scaled)
    return Solved(scaled, residual, weights, first.shadowed, lit, _confidence(pixels, residual, weights, lit * fair))


def split(scaled: Tensor) -> tuple[Tensor, Tensor]:
    """Unit normals (3, P) that face the camera and albedo (P,), as :func:`stages.reconstruct.solvers.split`."""
    albedo = scaled.square().sum(0).sqrt()
    x, y, z = scaled / albedo.clamp(min=1e-6)
    dark, away = albedo <= 1e-6, z < STEEPEST
    normal = torch.stack([x.masked_fill(dark, 0), y.masked_fill(dark, 0), z.clamp(min=STEEPEST).masked_fill(dark, 1)])
    return torch.where(away, normal / normal.square().sum(0).sqrt(), normal), albedo


def shading(rows: Tensor, scaled: Tensor) -> Tensor:
    """(k, P) what rows predict of scaled normals (3, P)."""
    if rows.ndim == 2:
        return rows @ scaled
    return rows[:, 0] * scaled[0] + rows[:, 1] * scaled[1] + rows[:, 2] * scaled[2]


def step(values: Tensor, low: float, high: float) -> Tensor:
    """0 below ``low``, 1 above ``high``, smooth between them."""
    t = ((values - low) / (high - low)).clamp(0, 1)
    return t * t * (3 - 2 * t)


def _equations(samples: Tensor, rows: Tensor, weights: Tensor) -> Equations:
    pairs = _pairs(rows)
    asked = weights * samples
    if rows.ndim == 2:
        return pairs @ weights, rows.T @ asked
    return torch.stack([(weights * one).sum(0) for one in pairs]), torch.stack(
        [(axis * asked).sum(0) for axis in rows.unbind(1)]
    )


def _pairs(rows: Tensor) -> Tensor:
    """(6, k) or (6, k, P), the products of the axes."""
    x, y, z = rows.unbind(1)
    return torch.stack([x * x, x * y, x * z, y * y, y * z, z * z])


def _minimum(matrix: Tensor, right: Tensor) -> Tensor:
    """(3, P) solutions by the adjugate; zero where there is none."""
    a, b, c, d, e, f = matrix
    u, v, w = right
    m0, m1, m2, m3, m4, m5 = d * f - e * e, c * e - b * f, b * e - c * d, a * f - c * c, b * c - a * e, a * d - b * b
    determinant = a * m0 + b * m1 + c * m2
    top = torch.stack([m0 * u + m1 * v + m2 * w, m1 * u + m3 * v + m4 * w, m2 * u + m4 * v + m5 * w])
    return torch.where(determinant > 0, top / determinant, 0)


def _held(equations: Equations, target: Tensor, hold: Tensor) -> Tensor:
    """The solutions with ``hold_p |b_p - target_p|^2`` added to each pixel's sum."""
    (xx, xy, xz, yy, yz, zz), right = equations
    return _minimum(torch.stack([xx + hold, xy, xz, yy + hold, yz, zz + hold]), right + hold * target)


def _bounded(samples: Tensor, rows: Tensor, weights: Tensor, brightest: Tensor) -> Tensor:
    """Solutions (3, P), those whose albedo no flash supports held to a surface that faces the camera."""
    equations = _equations(samples, rows, weights)
    free = _minimum(*equations)
    length, most = free.square().sum(0).sqrt(), IMPLAUSIBLE * brightest
    facing = samples.sum(0) / rows[:, 2].sum(0)
    hold = 0.1 * (length / most.clamp(min=1e-6) - 1).clamp(0, 1) * weights.amax(0)
    upright = torch.stack([torch.zeros_like(facing), torch.zeros_like(facing), facing])
    return torch.where(length > most, _held(equations, upright, hold), free)


def _spared(flags: Tensor, directions: Tensor) -> Tensor:
    """Which flagged samples (k, P) can be set aside: where the others' lights are well conditioned.

    The singular values of some of the lights are the roots of the eigenvalues of their sum of l l^T, whose closed form
    (O. K. Smith, Eigenvalues of a symmetric 3 x 3 matrix, CACM 4(4), 1961, doi:10.1145/355578.366316) is taken.
    """
    a, b, c, d, e, f = _pairs(directions) @ (~flags).float()
    middle = (a + d + f) / 3
    a, d, f = a - middle, d - middle, f - middle
    spread = ((a * a + d * d + f * f + 2 * (b * b + c * c + e * e)) / 6).sqrt().clamp(min=1e-12)
    turn = (a * (d * f - e * e) + b * (c * e - b * f) + c * (b * e - c * d)) / (2 * spread**3)
    angle = torch.acos(turn.clamp(-1, 1)) / 3
    largest, smallest = (middle + 2 * spread * torch.cos(angle + at) for at in (0, 2 * math.pi / 3))
    return flags & (largest < SUBSET_CONDITION**2 * smallest)


def _sums(weights: Tensor, residual: Tensor, samples: Tensor) -> tuple[Tensor, Tensor]:
    """(P,) weighted sums of squares of residuals and samples."""
    return (weights * residual.square()).sum(0), (weights * samples.square()).sum(0)


def _confidence(pixels: Pixels, residual: Tensor, weights: Tensor, lit: Tensor) -> Tensor:
    """(P,) in [0, 1], as :func:`stages.reconstruct.solvers.linear.confidence_of`."""
    reached = ((lit.masked_fill(pixels.saturated, 0).sum(0) - 1) / 2).clamp(0, 1)
    lost, power = _sums(weights, residual, pixels.samples)
    return reached * (MISFIT**2 * power / (MISFIT**2 * power + lost + 1e-12))
