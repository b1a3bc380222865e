"""Lights, place and shape of a face at once: Gauss-Newton on a model of faces.

The frames, looked at through the similarity T, are ``I_kp = rho_p l_k . n_p(c)`` with lights ``L = F X`` in the span F
of the factorisation and n(c) of the model. The albedo rho of each pixel is free and eliminated (variable projection, in
Kaufman's approximation: the Jacobian is projected, the projector not differentiated), so that brows, beards and lips
are nobody's business. Unknown are X (9 numbers), T (4) and c (K). What is minimised, of residuals in parts of a flash
on white:

    sum robust((I - rho L n) / rho)^2 / (2 SHADE^2 ALIKE)  +  |c|^2 / 2  +  sum_k (log |l_k| - mean)^2 / (2 STRENGTH^2)

The third term says that the flashes of a rig are about equally strong, which tells tilts apart that shape alone leaves
open. An inverse regression, of the model on pseudo-normals, would be biased: it takes the difference of this face from
the mean for an error of its predictors, and flattens the face.

Reference: L. Kaufman, A variable projection method for solving separable nonlinear least squares problems, BIT 15,
1975, doi:10.1007/BF01932995.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import cv2
import numpy as np

from pipeline.geometry import compose, invert, resizing, scale_of, warp_map
from stages.reconstruct.face.model import SIDE, FaceModel
from stages.reconstruct.uncalibrated.factorise import factorise

SHADE = 0.15  # of a flash on white: what a face differs from the model by, and Lambert's law leaves
ALIKE = 4.0  # neighbouring pixels that say the same
STRENGTH = 0.06  # standard deviation of the flashes' strengths, relative
DARK, DIM = 0.12, 0.05  # shadow: below so much of the pixel's brightest sample, or of the face's
PULL = 1.0  # weight of "the place stays", in equations of unit variance, px
FINER = 2  # pixels of the frames to one of the grid, at most; finer ones are averaged first
BOUND = 0.5  # of a light, and `FAR` px, that one step may change
FAR = 2.0
TOUCHED = 1e-3  # of what a sample is averaged from, saturated: it says nothing
STEPS = 20
SETTLED = 0.002  # relative change of X, and .05 px, where the iteration ends
SEEN = 0.4  # of the model's pixels must be inside the frames and lit by some flash
LIT = 0.05  # of them must be lit, and not saturated, in each frame


@dataclass(frozen=True, eq=False)
class Fit:
    """A face in the frames.

    Attributes
    ----------
    matrix : (2, 3) from the frames to the model's grid.
    span : (k, 3) orthonormal; mixing : (3, 3): the lights, strengths included, are ``span @ mixing`` on the grid.
    shape : (K,), c.
    misfit : mean of log(1 + (r / 2 SHADE)^2) over the samples, 0 at best; .05 to .12 for faces.
    likeness : correlation of the logarithms of the albedo and of the model's, in [-1, 1]: any smooth surface can be
        fitted, but brows, eyes and mouth are dark in faces alone.
    precision : (9, 9) of ``mixing``, whatever the place and the shape.
    samples : (k, SIDE, SIDE), the frames on the grid. weights : (k, P) in [0, 1], how far each sample counts.
    """

    matrix: np.ndarray
    span: np.ndarray
    mixing: np.ndarray
    shape: np.ndarray
    misfit: float = np.inf
    likeness: float = -1.0
    precision: np.ndarray = field(default_factory=lambda: np.zeros((9, 9)))
    samples: np.ndarray = field(default_factory=lambda: np.empty((0, SIDE, SIDE), np.float32))
    weights: np.ndarray = field(default_factory=lambda: np.empty((0, 0)))


@dataclass(frozen=True, eq=False)
class _Linear:
    """Frames and model at one point of the iteration: what a step is made from."""

    samples: np.ndarray  # (k, P)
    usable: np.ndarray  # (k, P) of 0 and 1
    weights: np.ndarray  # (k, P)
    albedo: np.ndarray  # (P,)
    shaded: np.ndarray  # (k, P), L n
    normals: np.ndarray  # (P, 3)
    residual: np.ndarray  # (k, P), in parts of a flash on white
    scale: float  # mean length of the lights


def fit(frames: np.ndarray, matrix: np.ndarray, model: FaceModel, *, saturated: np.ndarray | None = None) -> Fit:
    """The face near a place.

    Parameters
    ----------
    frames : (k, H, W) float32, linear, ambient subtracted. saturated : (k, H, W) bool, samples that say nothing.
    matrix : (2, 3) from the frames to the model's grid, to begin with.
    """
    small, shrink = _shrunk(frames, matrix)
    clipped = None if saturated is None else _shrunk(saturated.astype(np.float32), matrix)[0]
    found, weights = None, None
    place = compose(matrix, invert(shrink))
    for _ in range(STEPS):
        images = _laid(small, place)
        samples, usable = _samples(images, place, small.shape[1:], model)
        if clipped is not None:
            usable *= _laid(clipped, place)[:, model.where] < TOUCHED
        if usable.any(axis=0).mean() < SEEN or usable.mean(axis=1).min() < LIT:
            break
        if found is None:
            found = _begin(samples, usable, place, model)
        else:
            span = factorise(samples, usable, start=found.span, rounds=3)
            found = replace(found, span=span, mixing=span.T @ found.span @ found.mixing)
        at = _linear(samples, usable, usable if weights is None else weights, found, model)
        weights = at.weights
        step, precision = _step(at, images, found, model)
        moved = replace(
            _moved(found, step, at.scale), misfit=_misfit(at), likeness=_likeness(at, model),
            precision=precision, samples=images, weights=weights,
        )  # fmt: skip
        done = np.abs(step[:9]).max() < SETTLED * at.scale and np.abs(step[9:13]).max() < 0.05
        found, place = moved, moved.matrix
        if done:
            break
    if found is None:
        return Fit(matrix, np.eye(len(frames), 3), np.eye(3), np.zeros(model.components.shape[2]))
    return replace(found, matrix=compose(found.matrix, shrink))


def _shrunk(frames: np.ndarray, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Frames of at most `FINER` times the grid's resolution, and the similarity that takes them there."""
    factor = min(1.0, FINER * scale_of(matrix))
    size = tuple(max(1, round(length * factor)) for length in frames.shape[:0:-1])
    small = np.stack([cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in frames])
    return small, resizing(size[0] / frames.shape[2])


def _laid(images: np.ndarray, place: np.ndarray) -> np.ndarray:
    """(k, SIDE, SIDE) images on the grid."""
    return np.stack([warp_map("frame", image, place, SIDE) for image in images])


def _samples(
    images: np.ndarray, place: np.ndarray, shape: tuple[int, ...], model: FaceModel
) -> tuple[np.ndarray, np.ndarray]:
    """Samples (k, P) of the model's pixels, and which are neither in shadow nor outside the frames."""
    inside = warp_map("frame", np.ones(shape, np.float32), place, SIDE)[model.where] > 0.99
    samples = images[:, model.where].astype(float)
    brightest = samples.max(axis=0)
    level = np.quantile(brightest[inside], 0.9) if inside.any() else 1.0
    lit = (samples > DARK * brightest) & (brightest > DIM * level) & inside
    return samples, lit.astype(float)


def _begin(samples: np.ndarray, usable: np.ndarray, place: np.ndarray, model: FaceModel) -> Fit:
    """Lights by regression of the frames on the mean face."""
    span = factorise(samples, usable)
    face = model.normal[model.where] * model.albedo[model.where][:, None]
    held = face * usable.min(axis=0)[:, None] if (usable.min(axis=0) > 0).mean() > 0.1 else face
    lights = np.linalg.solve(held.T @ face + 1e-6 * np.eye(3), held.T @ samples.T).T
    return Fit(place, span, span.T @ lights, np.zeros(model.components.shape[2]))


def _linear(samples: np.ndarray, usable: np.ndarray, weights: np.ndarray, at: Fit, model: FaceModel) -> _Linear:
    lights = at.span @ at.mixing
    scale = float(np.linalg.norm(lights, axis=1).mean())
    normals = model.normal[model.where] + model.components @ at.shape
    shaded = lights @ normals.T
    power = (weights * shaded**2).sum(axis=0) + 1e-9 * scale**2
    level = float(samples.max()) / scale
    albedo = np.maximum((weights * shaded * samples).sum(axis=0) / power, 0.01 * level + 1e-9)
    residual = (samples - albedo * shaded) / (albedo * scale)
    weights = usable / (1 + (residual / (2 * SHADE)) ** 2) ** 2
    return _Linear(samples, usable, weights, albedo, shaded, normals, residual, scale)


def _misfit(at: _Linear) -> float:
    return float((at.usable * np.log1p((at.residual / (2 * SHADE)) ** 2)).sum() / max(at.usable.sum(), 1))


def _likeness(at: _Linear, model: FaceModel) -> float:
    seen = at.weights.sum(axis=0) > 1
    tones = np.log(at.albedo[seen]), np.log(model.albedo[model.where][seen])
    spread = [tone.std() for tone in tones] if seen.sum() > 1 else [0.0]
    return float(np.corrcoef(*tones)[0, 1]) if min(spread) > 1e-6 else 0.0


def _step(at: _Linear, images: np.ndarray, now: Fit, model: FaceModel) -> tuple[np.ndarray, np.ndarray]:
    """Gauss-Newton step (9 + 4 + K,) of X, T and c, and the precision (9, 9) of X."""
    root = np.sqrt(at.weights).T / (SHADE * np.sqrt(ALIKE))  # (P, k)
    jacobian = _jacobian(at, images, now, model) * root[..., None]
    along = np.sqrt(at.weights).T * at.shaded.T
    along /= np.sqrt((along**2).sum(axis=1, keepdims=True)) + 1e-9
    jacobian -= along[..., None] * np.matmul(along[:, None], jacobian)
    jacobian = jacobian.reshape(-1, jacobian.shape[2])
    hessian = jacobian.T @ jacobian
    slope = jacobian.T @ (root * at.residual.T).ravel()
    hessian[13:, 13:] += np.eye(len(now.shape))
    slope[13:] -= now.shape
    hessian[range(9, 13), range(9, 13)] += PULL
    unequal, change = _strengths(now)
    hessian[:9, :9] += change.T @ change
    slope[:9] -= change.T @ unequal
    hessian[range(9), range(9)] += 1e-6 * np.trace(hessian[:9, :9])
    rest = np.linalg.solve(hessian[9:, 9:], hessian[9:, :9])
    return np.linalg.solve(hessian, slope), hessian[:9, :9] - hessian[:9, 9:] @ rest


def _jacobian(at: _Linear, images: np.ndarray, now: Fit, model: FaceModel) -> np.ndarray:
    """(P, k, 9 + 4 + K): how the prediction changes with X and c, and the frames, negated, with T."""
    pixels, k = len(at.normals), len(images)
    lights = now.span @ now.mixing
    mixing = (now.span[:, :, None] * at.normals[:, None, None]).reshape(pixels, k, 9) / at.scale
    shape = np.matmul(lights / at.scale, model.components)
    across, down = (
        np.stack([cv2.Sobel(image, cv2.CV_32F, *axis, ksize=3)[model.where] / 8 for image in images]).T
        for axis in ((1, 0), (0, 1))
    )
    y, x = ((np.argwhere(model.where) - (SIDE - 1) / 2) / (SIDE / 2)).T[..., None]
    moving = np.stack([across, down, across * x + down * y, down * x - across * y], axis=-1)
    return np.concatenate([mixing, -moving / (at.albedo * at.scale)[:, None, None], shape], axis=2)


def _strengths(now: Fit) -> tuple[np.ndarray, np.ndarray]:
    """How far the logarithm of each strength is from their mean (k,), in standard deviations; its Jacobian (k, 9)."""
    lights = now.span @ now.mixing
    squared = (lights**2).sum(axis=1)
    change = np.einsum("km,kj->kmj", now.span, lights / squared[:, None]).reshape(len(lights), 9)
    logarithm = 0.5 * np.log(squared)
    return (logarithm - logarithm.mean()) / STRENGTH, (change - change.mean(axis=0)) / STRENGTH


def _moved(now: Fit, step: np.ndarray, scale: float) -> Fit:
    change = step[:9].reshape(3, 3)
    size = np.abs(now.span @ change).max() / (BOUND * scale)
    step = step / max(1.0, float(size), float(np.abs(step[9:13]).max()) / FAR)
    tx, ty, growth, turn = step[9:13] / np.array([1, 1, SIDE / 2, SIDE / 2])
    linear = np.array([[1 + growth, -turn], [turn, 1 + growth]])
    middle = np.full(2, (SIDE - 1) / 2)
    seen = np.column_stack([linear, np.array([tx, ty]) + middle - linear @ middle])
    return replace(
        now,
        matrix=compose(invert(seen), now.matrix),
        mixing=now.mixing + step[:9].reshape(3, 3),
        shape=now.shape + step[13:],
    )
