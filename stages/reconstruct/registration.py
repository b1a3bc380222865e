"""Head motion between the flashes: one translation a frame, found although the light differs in every frame.

Both measures below are blind to light as far as their model holds, look at fine detail only (a band-pass of about one
to two pixels, since wrong models err smoothly), and use pixels that are lit in all frames:

A. Lambert's residual. Frames X (k, P) of an unmoved scene obey ``Q X = 0`` with ``Q = I - L L^+``, whatever the
   scene. A linear filter commutes with it, so band-passed frames obey it too. Needs k > 3, is exact, but weak where
   few redundant flashes leave a direction undetermined.
B. Relative detail. Detail divided by local brightness is mostly albedo (brows, eyes, moles), alike in all frames:
   ``(I - 1 1^T / k) X' = 0``. Works for k = 3, but a ridge lit from its side looks moved.

The translations of all frames together minimise both, B with half the weight, by Gauss-Newton from coarse to fine with
Cauchy weights, held by a weak prior (`PRIOR`) where neither knows. Translations that do not clearly pay are not used.

References: B. D. Lucas and T. Kanade, An iterative image registration technique, IJCAI 1981 (the Gauss-Newton step).
"""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np

FINEST = 400  # px: longer sides are halved until they are at most this
LEVELS = 3
STEPS = 6
BAND = (0.8, 1.5)  # px, the two Gaussians whose difference is looked at
RELATIVE_WEIGHT = 0.5  # of B beside A
PRIOR = 10.0  # weight of "all frames moved alike", in equations of unit variance
LEAST_SHIFT = 0.25  # px of the working size: below it resampling costs more than the motion
LEAST_GAIN = {True: 0.01, False: 0.05}  # share of the misfit that must go: with A (k > 3), and with B alone


def register(frames: Iterable[np.ndarray], lights: np.ndarray, *, largest: float) -> np.ndarray:
    """Translations of the frames.

    Parameters
    ----------
    frames : k of (H, W) float32 in [0, 1], ambient subtracted, strengths divided out; each is looked at once.
    lights : (k, 3) unit.
    largest : px; a frame that seems to have moved further has not been understood, and nothing is moved.

    Returns
    -------
    (k, 2) float64 shifts (dx, dy) in pixels from the first frame, which stays: what is at p in a registered frame is at
    p + shift in the frame as taken. All zero where nothing clearly moved.
    """
    k = len(lights)
    none = np.zeros((k, 2))
    halvings, smaller = 0, []
    for frame in frames:
        halvings = _halvings(frame.shape)
        smaller.append(_smaller(frame, halvings))
    small = np.stack(smaller)
    shifts = none
    for level in reversed(range(LEVELS)):
        scale = 2 ** (halvings + level)
        refined = _refine(_shrunk(small, level), lights, shifts / scale)
        if refined is None:
            return none
        shifts = refined * scale
    shifts = shifts - shifts[0]
    if np.abs(shifts).max() > largest or np.abs(shifts).max() < LEAST_SHIFT * 2**halvings:
        return none
    before, after = (_misfit(small, lights, s / 2**halvings) for s in (none, shifts))
    return shifts if after < (1 - LEAST_GAIN[k > 3]) * before else none


def shifted(image: np.ndarray, shift: np.ndarray, *, height: int | None = None) -> np.ndarray:
    """(H, W) image sampled at p + shift, bicubic, its border replicated; another number of rows with ``height``."""
    matrix = np.array([[1, 0, shift[0]], [0, 1, shift[1]]], np.float64)
    size = (image.shape[1], image.shape[0] if height is None else height)
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(image, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)


def _halvings(shape: tuple[int, ...]) -> int:
    """How often frames of a shape (H, W) are halved before they are looked at."""
    return max(0, int(np.ceil(np.log2(max(shape) / FINEST))))


def _shrunk(frames: np.ndarray, halvings: int) -> np.ndarray:
    return np.stack([_smaller(frame, halvings) for frame in frames]) if halvings else frames


def _smaller(frame: np.ndarray, halvings: int) -> np.ndarray:
    if halvings == 0:
        return frame
    width, height = (max(8, side >> halvings) for side in frame.shape[::-1])
    return cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)


def _detail(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Band-passed frames, and the same relative to local brightness."""
    smooth = np.stack([cv2.GaussianBlur(frame, (0, 0), BAND[1]) for frame in frames])
    fine = np.stack([cv2.GaussianBlur(frame, (0, 0), BAND[0]) for frame in frames])
    fine -= smooth
    return fine, fine / (np.maximum(smooth, 0) + 0.03)


def _lit(frames: np.ndarray, shifts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(H, W) pixels clearly lit and not saturated in all frames, and the brightest of each pixel's samples."""
    moved = np.stack([shifted(frame, shift) for frame, shift in zip(frames, shifts, strict=True)])
    brightest, darkest = moved.max(axis=0), moved.min(axis=0)
    lit = (darkest > 0.02) & (brightest < 0.97) & (darkest > 0.1 * brightest)
    return cv2.erode(lit.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0, brightest


def _projectors(lights: np.ndarray) -> list[np.ndarray]:
    """The projector of each measure (A only where there are more than three lights, then B)."""
    k = len(lights)
    relative = np.eye(k) - 1 / k
    return [np.eye(k) - lights @ np.linalg.pinv(lights), relative] if k > 3 else [relative]


def _refine(frames: np.ndarray, lights: np.ndarray, shifts: np.ndarray) -> np.ndarray | None:
    """Gauss-Newton at one scale; None where too little is lit in all frames."""
    k = len(lights)
    fine, relative = _detail(frames)
    for step in range(STEPS):
        if step in (0, STEPS // 2):
            lit, brightest = _lit(frames, shifts)
            if np.count_nonzero(lit) < 64:
                return None
            scale = (1 / (brightest[lit] + 0.05)).astype(np.float32)
        hessian = PRIOR * np.eye(2 * k)
        slope = PRIOR * (shifts - shifts.mean(axis=0)).T.ravel()
        measures = [(fine, scale, 1.0)] * (k > 3) + [(relative, np.float32(1), RELATIVE_WEIGHT if k > 3 else 1.0)]
        for projector, (images, factor, weight) in zip(_projectors(lights), measures, strict=True):
            h, g = _normal_equations(images, shifts, projector.astype(np.float32), lit, factor)
            hessian += weight * h
            slope += weight * g
        change = -np.linalg.solve(hessian, slope).reshape(2, k).T
        change -= change.mean(axis=0)
        shifts = shifts + change
        if np.abs(change).max() < 0.01:
            break
    return shifts


def _normal_equations(
    images: np.ndarray, shifts: np.ndarray, projector: np.ndarray, lit: np.ndarray, factor: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Hessian (2k, 2k) and slope (2k,) of half the robust squared residual over its variance; dx of all, then dy."""
    k = len(images)
    moved = [shifted(image, shift) for image, shift in zip(images, shifts, strict=True)]
    gradients = [cv2.Scharr(image, cv2.CV_32F, *axis)[lit] for axis in ((1, 0), (0, 1)) for image in moved]
    slopes = np.stack(gradients) * (factor / 32)
    residual = projector @ (np.stack([image[lit] for image in moved]) * factor)
    size = np.einsum("kp,kp->p", residual, residual)
    variance = 1.4826**2 * float(np.median(size)) + 1e-12
    weighted = slopes / (1 + size / (4 * variance))
    # dR/dt_i = Q[:, i] dX_i, and Q^T Q = Q.
    hessian = np.tile(projector, (2, 2)) * (weighted @ slopes.T)
    products = weighted @ residual.T
    slope = np.concatenate([np.diag(products[:k]), np.diag(products[k:])])
    return hessian.astype(float) / variance, slope.astype(float) / variance


def _misfit(frames: np.ndarray, lights: np.ndarray, shifts: np.ndarray) -> float:
    """Mean robust residual of the first measure that the lights allow; smaller is better registered."""
    fine, relative = _detail(frames)
    lit, brightest = _lit(frames, shifts)
    images, factor = (fine, 1 / (brightest[lit] + 0.05)) if len(lights) > 3 else (relative, 1.0)
    moved = np.stack([shifted(image, shift)[lit] for image, shift in zip(images, shifts, strict=True)])
    residual = _projectors(lights)[0] @ (moved * factor)
    return float(np.mean(np.sqrt(np.einsum("kp,kp->p", residual, residual)))) if lit.any() else np.inf
