"""What a face should look like where the flashes tell little: the model of faces, laid on normals.

A matched filter finds the place: fine detail of the normals, correlated with that of the mean face over a range of
sizes. Gauss-Newton then moves, turns and sizes the model and chooses its shape c, robustly,

    sum_p w_p |n_p(T) - mean_p - C_p c|^2 / (2 SPREAD^2 ALIKE)  +  |c|^2 / 2,

with w the confidence of the normals. The lights are known here, so that all of it is about normals alone. A thing that
is no face fits badly, and nothing is expected of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from pipeline.geometry import compose, invert, resizing, similarity, turn_normals, warp_map
from stages.reconstruct.face.model import SIDE, FaceModel, face_model

SMALL = 32  # px, the grid of the search
BAND = (0.7, 4.0)  # px of it, the Gaussians whose difference is looked at
SPANS = np.geomspace(0.25, 2.2, 16)  # widths of the model looked for, in parts of the smaller side
QUIET = 1.0  # of the map's mean energy, added to that of each place: flat places say little
TRIED = 5  # places that are fitted, until one is `GOOD`
GOOD, BAD = 0.18, 0.25  # misfit of a face, and of what is none
SPREAD = 0.2  # of a face's normals about the model's
ALIKE = 4.0  # neighbouring pixels that say the same
PULL = 1.0  # weight of "the place stays", in equations of unit variance, px
STEPS, SETTLED = 8, 0.05  # at most so many, until none is of so many px
FAR = 2.0  # px of the grid that one step may move
SEEN = 0.2  # mean confidence on the model's pixels, below which there is nothing to fit


@dataclass(frozen=True, eq=False)
class Found:
    """A face in normals: similarity (2, 3) to the model's grid, shape c (K,), and the share of the normals' variance
    that the model leaves over.
    """

    matrix: np.ndarray
    shape: np.ndarray
    misfit: float


def expected(normal: np.ndarray, say: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """The face in a map of normals, as the model has it.

    Parameters
    ----------
    normal : (H, W, 3) float32 unit, 0 outside the mask, whose box they fill.
    say : (H, W) float32 in [0, 1], how far each is trusted.

    Returns
    -------
    Unit normals (H, W, 3) float32 of the model, and (H, W) float32 in [0, 1] how far it has a say at each pixel; None
    where there is no face.
    """
    model = face_model()
    found = face_in(normal, say, model)
    if found is None or found.misfit >= BAD:
        return None
    grid = np.zeros((SIDE, SIDE, 4), np.float32)
    grid[model.where, :3] = model.normal[model.where] + model.components @ found.shape
    grid[model.where, 3] = 1
    laid = cv2.warpAffine(grid, found.matrix, say.shape[::-1], flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    turned = turn_normals(laid[..., :3], invert(found.matrix))
    turned /= np.linalg.norm(turned, axis=2, keepdims=True) + 1e-6
    likely = min(1.0, (BAD - found.misfit) / (BAD - GOOD))
    return turned, likely * np.maximum(2 * laid[..., 3] - 1, 0)


def face_in(normal: np.ndarray, say: np.ndarray, model: FaceModel) -> Found | None:
    """The best fit of the likeliest places; the first that is `GOOD` is taken."""
    best = None
    for matrix in places(normal, say, model)[:TRIED]:
        found = fit(normal, say, matrix, model)
        if found is not None and (best is None or found.misfit < best.misfit):
            best = found
            if best.misfit < GOOD:
                break
    return best


def places(normal: np.ndarray, say: np.ndarray, model: FaceModel) -> list[np.ndarray]:
    """Similarities (2, 3) to the model's grid, the best of each of a range of sizes, best first."""
    known = np.where(model.where, model.weight, 0).astype(np.float32)
    detail = _band(model.normal.astype(np.float32), SIDE / SMALL)
    kernel, weight = (cv2.resize(one, (SMALL, SMALL), interpolation=cv2.INTER_AREA) for one in (detail, known))
    trusted = normal * say[..., None]
    found = []
    for span in SPANS:
        factor = SMALL / (span * min(say.shape))
        size = tuple(round(length * factor) for length in say.shape[::-1])
        score, at = _best(cv2.resize(trusted, size, interpolation=cv2.INTER_AREA), kernel, weight)
        found.append((score, compose(resizing(SIDE / SMALL), compose(similarity(shift=at), resizing(factor)))))
    return [matrix for _, matrix in sorted(found, key=lambda each: -each[0])]


def _band(image: np.ndarray, scale: float = 1.0) -> np.ndarray:
    fine, smooth = (cv2.GaussianBlur(image, (0, 0), sigma * scale) for sigma in BAND)
    return np.asarray(fine - smooth)


def _best(normal: np.ndarray, kernel: np.ndarray, weight: np.ndarray) -> tuple[float, tuple[int, int]]:
    """The best correlation at one size, and the shift (x, y) to the grid of the search."""
    half = SMALL // 2
    detail = np.pad(_band(normal), ((half, half), (half, half), (0, 0)))

    def correlated(image: np.ndarray, with_: np.ndarray) -> np.ndarray:
        return cv2.filter2D(np.ascontiguousarray(image), cv2.CV_32F, with_, borderType=cv2.BORDER_CONSTANT)

    power = (detail**2).sum(axis=2)
    cross = np.sum([correlated(detail[..., i], kernel[..., i] * weight) for i in range(3)], axis=0)
    floor = QUIET * float(power.sum()) / normal[..., 0].size * float(weight.sum())
    score = cross / np.sqrt(np.maximum(correlated(power, weight), 0) + floor + 1e-12)
    y, x = np.unravel_index(int(score.argmax()), score.shape)
    return float(score[y, x]), (int(2 * half - x), int(2 * half - y))


def fit(normal: np.ndarray, say: np.ndarray, matrix: np.ndarray, model: FaceModel) -> Found | None:
    """The face near a place; None where too little is known of it there."""
    trusted, shape = normal * say[..., None], np.zeros(model.components.shape[2])
    for _ in range(STEPS):
        laid = _laid(trusted, say, matrix, model)
        if laid is None:
            return None
        step = _step(*laid, shape, model)
        matrix, shape = compose(invert(_motion(step[:4])), matrix), shape + step[4:]
        if np.abs(step[:4]).max() < SETTLED:
            break
    laid = _laid(trusted, say, matrix, model)
    return None if laid is None else Found(matrix, shape, _misfit(*laid, shape, model))


def _laid(
    trusted: np.ndarray, say: np.ndarray, matrix: np.ndarray, model: FaceModel
) -> tuple[np.ndarray, np.ndarray] | None:
    """Normals (SIDE, SIDE, 3) on the model's grid and how far each is trusted; None where that is too little."""
    sure = warp_map("frame", say, matrix, SIDE)
    if sure[model.where].mean() < SEEN:
        return None
    return turn_normals(warp_map("frame", trusted, matrix, SIDE) / (sure[..., None] + 1e-6), matrix), sure


def _residual(laid: np.ndarray, shape: np.ndarray, model: FaceModel) -> np.ndarray:
    out: np.ndarray = laid[model.where] - model.normal[model.where] - model.components @ shape
    return out


def _misfit(laid: np.ndarray, sure: np.ndarray, shape: np.ndarray, model: FaceModel) -> float:
    """The share of the normals' variance that the model leaves over."""
    seen, weight = laid[model.where], sure[model.where]
    off = (_residual(laid, shape, model) ** 2).sum(axis=1)
    spread = ((seen - np.average(seen, axis=0, weights=weight)) ** 2).sum(axis=1)
    return float((weight * np.minimum(off, 1)).sum() / ((weight * spread).sum() + 1e-6))


def _moving(laid: np.ndarray, where: np.ndarray) -> np.ndarray:
    """(P, 3, 4): how the normals (SIDE, SIDE, 3) change with a shift, a growth and a turn of the grid, as `_motion`."""
    across, down = (cv2.Sobel(laid, cv2.CV_32F, *axis, ksize=3)[where] / 8 for axis in ((1, 0), (0, 1)))
    y, x = ((np.argwhere(where) - (SIDE - 1) / 2) / (SIDE / 2)).T[..., None]
    normal = laid[where]
    own = np.stack([-normal[:, 1], normal[:, 0], np.zeros(len(normal))], axis=1) / (SIDE / 2)  # they turn as well
    return np.stack([across, down, across * x + down * y, down * x - across * y + own], axis=-1)


def _step(laid: np.ndarray, sure: np.ndarray, shape: np.ndarray, model: FaceModel) -> np.ndarray:
    """Gauss-Newton step (4 + K,) of place and shape; the place moves by `FAR` at most."""
    residual = _residual(laid, shape, model)
    weight = sure[model.where] / (1 + (residual**2).sum(axis=1) / (4 * SPREAD**2)) ** 2 / (ALIKE * SPREAD**2)
    jacobian = np.concatenate([-_moving(laid, model.where), model.components], axis=2)
    rows = (jacobian * np.sqrt(weight)[:, None, None]).reshape(-1, jacobian.shape[2])
    hessian = rows.T @ rows
    slope = rows.T @ (residual * np.sqrt(weight)[:, None]).ravel()
    hessian[range(len(slope)), range(len(slope))] += np.r_[np.full(4, PULL), np.ones(len(shape))]
    slope[4:] -= shape
    step = np.linalg.solve(hessian, slope)
    return step / max(1.0, float(np.abs(step[:4]).max()) / FAR)


def _motion(step: np.ndarray) -> np.ndarray:
    """The similarity (2, 3) of a step: shift, growth and turn about the grid's middle, all in px at its edge."""
    tx, ty, growth, turn = step / np.array([1, 1, SIDE / 2, SIDE / 2])
    linear = np.array([[1 + growth, -turn], [turn, 1 + growth]])
    middle = np.full(2, (SIDE - 1) / 2)
    return np.column_stack([linear, np.array([tx, ty]) + middle - linear @ middle])
