"""Three to eleven flashes on a face: shadows marched over the depth, samples held against what is near them.

With few flashes no sample can be dropped for its rank alone, and one that fails pulls the normal with it: a cast shadow
beside the nose, a flare on a cheek, a glint in an eye. Two things tell them from skin. The depth: the normals are
integrated, each flash is marched over the surface, and samples in shadow lose their weight. And the neighbours: normal
and albedo are averaged over a few pixels, the more of each the more confident it is, and with that normal each sample
asks for an albedo ``q_i = x_i / (s_i l_i . n)``; one far below the albedo around is in shadow, one far above a flare.
Then each pixel is solved again,

    sum_i w_i v_i (x_i - s_i l_i . b)^2 + h |b - rho n|^2 + f |b - rho m|^2,

with v the visibility (1 wherever Lambert's law leaves no residual to explain) and the hold h the stronger the more of
the pixel's light was set aside, so that a pixel that one flash alone reaches takes the shape of its surroundings, and
the weaker the more flashes there are. The weight w of a sample is its intensity, but no more than a pixel of the albedo
around would have: a glint in a dark eye would outweigh all else. Where the session shows a face, m is what a model of
faces expects there (`stages.reconstruct.face.prior`) and f the stronger the more Lambert's law leaves over.

References: R. J. Woodham 1980, doi:10.1117/12.7972479 (the equations).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from stages.reconstruct.face.prior import expected
from stages.reconstruct.integration import integrate
from stages.reconstruct.masking import box_of
from stages.reconstruct.shadows import extent, raised, visible
from stages.reconstruct.solvers.linear import (
    FLOOR,
    Solution,
    confidence_of,
    held_least_squares,
    rows_of,
    shading,
)

SHAPE, TONE = 0.0064, 0.0213  # of the face's extent: Gaussians over which normals and albedo are smoothed
LEAST_SAY = 0.02  # in that smoothing, of a pixel without any confidence
DARK = (0.1, 0.5)  # of the albedo around: a sample that asks for less is in shadow, for more is lit
FLARE = (1.56, 2.6)  # of the albedo around: a sample that asks for less is skin, for more a flare
MOST = 1.5  # of the intensity that a pixel of the albedo around would have: what a sample weighs at most
HOLD, REST = 0.3, 1.2  # of the equations: weight of the surroundings; less REST - 1 of it where nothing is set aside
TRACE = 0.02  # what a sample in shadow still weighs
GLINT = 0.001  # what a flare still weighs
AGREED = 0.01  # relative residual at which half of a doubt is left
NARROW = 0.2  # of the longer side of the mask's box: narrower things are no faces
WORKING = 400  # px of the longer side: the model of faces, 48 px, needs no more
FACE, UNLIKE = 0.25, 0.1  # of the equations: weight of the model of faces; half of it at this relative residual
GRAZING = 0.1  # least cosine that an albedo is asked at


@dataclass(frozen=True, eq=False)
class Surroundings:
    """What pixels must know of others: lit (k, P) by the depth in [0, 1], normal (3, P) unit and tone (P,) smoothed.

    Of a face also what the model of faces expects, (3, P) unit, and how far it has a say, (P,) in [0, 1]; else both 0.
    """

    lit: np.ndarray
    normal: np.ndarray
    tone: np.ndarray
    face: np.ndarray
    likely: np.ndarray

    def part(self, here: slice) -> Surroundings:
        """Those of some of the pixels."""
        return Surroundings(
            self.lit[:, here], self.normal[:, here], self.tone[here], self.face[:, here], self.likely[here]
        )


def surroundings(
    unit: np.ndarray, albedo: np.ndarray, confidence: np.ndarray, lights: np.ndarray, mask: np.ndarray, *, floor: float
) -> Surroundings:
    """Of the mask's pixels by their (weighted) unit normals (3, P), albedo (P,) and confidence (P,) in [0, 1]."""
    lit = cast(unit, lights, mask, floor=floor)
    size = extent(mask)
    say = confidence + np.float32(LEAST_SAY)
    normal = smoothed(unit, say, mask, SHAPE * size)
    normal /= np.linalg.norm(normal, axis=0) + 1e-9
    tone = np.maximum(smoothed(albedo[None], say, mask, TONE * size)[0], np.float32(1e-6))
    return Surroundings(lit, normal, tone, *likeness(unit, confidence, mask))


def solve_marching(
    samples: np.ndarray, lights: np.ndarray, strengths: np.ndarray, first: Solution, around: Surroundings
) -> Solution:
    """Scaled normals of pixels, from the ``first`` (weighted) ones and what is around them.

    The parameters are those of :func:`stages.reconstruct.solvers.solve`.
    """
    rows = rows_of(lights, strengths)
    normal, level = around.normal, around.tone
    white = np.maximum(shading(rows, normal), GRAZING * np.asarray(strengths, np.float32)[:, None])
    asked = samples / (white * level)
    lit = around.lit * (TRACE + (1 - TRACE) * step(asked, *DARK))
    fair = 1 - (1 - GLINT) * step(asked, *FLARE)
    plain = np.minimum(np.maximum(samples, 0), MOST * level * white) + np.float32(FLOOR)
    plain[first.weights <= 0] = 0
    doubt, unlike = doubted(first, samples)
    weights = (plain * (1 - doubt * (1 - np.maximum(lit, TRACE) * fair))).astype(np.float32)
    whole = plain.sum(axis=0) + np.float32(FLOOR)
    spare = whole / max(len(lights) - 3, 1)
    hold = HOLD * spare * doubt * np.clip(REST - weights.sum(axis=0) / whole, 0, 1)
    face = FACE * spare * unlike * around.likely
    target = level * (hold * normal + face * around.face) / (hold + face + np.float32(1e-12))
    scaled = held_least_squares(samples, rows, weights, target, hold + face)
    residual = samples - shading(rows, scaled)
    confidence = confidence_of(samples, residual, weights, lit * fair, first.saturated)
    return replace(
        first,
        scaled=scaled.astype(np.float32), residual=residual, weights=weights, lit=lit.astype(np.float32),
        confidence=confidence,
    )  # fmt: skip


def doubted(first: Solution, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(P,) each in [0, 1]: 0 where Lambert's law explains a pixel, 1/2 where it leaves `AGREED`, and `UNLIKE`."""
    lost = np.einsum("kp,kp,kp->p", first.weights, first.residual, first.residual)
    power = np.einsum("kp,kp,kp->p", first.weights, samples, samples)
    doubt, unlike = (lost / (lost + level**2 * power + 1e-12) for level in (AGREED, UNLIKE))
    return doubt, unlike


def likeness(unit: np.ndarray, confidence: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What the model of faces expects (3, P) of unit normals (3, P) of confidence (P,); how far it has a say (P,)."""
    mask = mask[box_of(mask)]  # a face is looked for by the size of what is there, not of the frame
    if min(mask.shape) < NARROW * max(mask.shape):
        return np.zeros_like(unit), np.zeros_like(confidence)
    size = tuple(round(side * min(1, WORKING / max(mask.shape))) for side in mask.shape[::-1])
    *normal, say = (_laid(values, mask, size) for values in (*unit, confidence))
    found = expected(np.stack(normal, axis=-1), say)
    if found is None:
        return np.zeros_like(unit), np.zeros_like(confidence)
    face, likely = np.empty_like(unit), cv2.resize(found[1], mask.shape[::-1])[mask]
    for to, values in zip(face, np.moveaxis(found[0], -1, 0), strict=True):
        to[:] = cv2.resize(np.ascontiguousarray(values), mask.shape[::-1])[mask]
    return face, likely


def _laid(values: np.ndarray, mask: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Values (P,) of the mask's pixels as an image, 0 outside, made ``size`` (width, height) px large."""
    image = np.zeros(mask.shape, np.float32)
    image[mask] = values
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def cast(unit: np.ndarray, lights: np.ndarray, mask: np.ndarray, *, floor: float) -> np.ndarray:
    """(k, P) in [0, 1]: how far each flash reaches the mask's pixels over the depth of unit normals (3, P)."""
    normal = np.zeros((*mask.shape, 3), np.float32)
    normal[mask] = unit.T
    depth = raised(integrate(normal, mask, floor=floor), mask)
    directions = lights if lights.ndim == 2 else lights.mean(axis=2)
    size = extent(mask)
    lit = np.empty((len(directions), unit.shape[1]), np.float32)
    for one, light in zip(lit, directions, strict=True):
        one[:] = visible(depth, light, size)[mask]
    return lit


def smoothed(values: np.ndarray, say: np.ndarray, mask: np.ndarray, size: float) -> np.ndarray:
    """(c, P) means of values (c, P) of the mask's pixels under a Gaussian of ``size`` px, weighted by ``say`` (P,)."""
    image = np.zeros(mask.shape, np.float32)
    image[mask] = say
    weight = cv2.GaussianBlur(image, (0, 0), size)[mask]
    out = np.empty(values.shape, np.float32)
    for channel, one in zip(out, values, strict=True):
        image[mask] = one * say
        channel[:] = cv2.GaussianBlur(image, (0, 0), size)[mask] / weight
    return out


def step(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """0 below ``low``, 1 above ``high``, smooth between them."""
    t = np.clip((values - low) / (high - low), 0, 1)
    out: np.ndarray = t * t * (3 - 2 * t)
    return out
