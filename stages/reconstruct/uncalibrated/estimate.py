"""From frames of a face to the lights they were taken under."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.errors import Rejected
from pipeline.geometry import invert, turn_normals
from pipeline.lights import condition
from stages.reconstruct.face.model import FaceModel, face_model
from stages.reconstruct.uncalibrated.factorise import scaled_normals
from stages.reconstruct.uncalibrated.find import find
from stages.reconstruct.uncalibrated.fit import Fit, fit
from stages.reconstruct.uncalibrated.integrable import integrable

GOOD = 0.04, 0.1  # misfit and likeness from which no better place is looked for
WORST = 0.2, 0.0  # beyond which it is no face
LIKENESS = 0.2  # of a misfit, that a likeness of 1 makes up for
STEEPEST = 8.0  # condition of the lights: a ring 10 degrees off the axis; beyond, it is one light or a flat picture
TRIED = 8  # places, at most
UNEQUAL = 0.15  # spread of the strengths, from which the tilt is said to suffer
NOTE = (
    "the lights were estimated from the frames: tilt and relief of the whole face rest on a model of faces, "
    "its details on the frames (docs/uncalibrated.md)"
)


@dataclass(frozen=True, eq=False)
class Estimate:
    """Lights of the frames.

    Attributes
    ----------
    lights : (k, 3) unit, towards the flashes, camera frame. strengths : (k,), of mean 1.
    matrix : (2, 3), the similarity from the frames to the model's grid: where the face is.
    misfit : `Fit.misfit`.
    """

    lights: np.ndarray
    strengths: np.ndarray
    matrix: np.ndarray
    misfit: float

    @property
    def notes(self) -> list[str]:
        """What to know of these lights, each in one line."""
        spread = float(np.ptp(self.strengths))
        if spread <= UNEQUAL:
            return [NOTE]
        return [
            NOTE,
            f"the strengths found spread by {spread:.0%}: flashes this unlike turn the lights found by 10 degrees",
        ]


def estimate_lights(
    frames: np.ndarray, *, saturated: np.ndarray | None = None, model: FaceModel | None = None
) -> Estimate:
    """Directions and relative strengths of the flashes of one session.

    Parameters
    ----------
    frames : (k, H, W) float32 in [0, 1], linear, ambient subtracted, k >= 3, of one upright face.
    saturated : (k, H, W) bool, samples at the top of the camera's range, which are not to be believed; or none.

    Returns
    -------
    Estimate : on the simulated rig of four flashes 4 degrees off on average, mostly a tilt that all lights share.

    Raises
    ------
    Rejected : fewer than three frames, no face is found in them, or the lights found for it cannot be.
    """
    if len(frames) < 3:
        raise Rejected(f"{len(frames)} frames; without known lights it takes at least three, and better four")
    model = face_model() if model is None else model
    best = best_fit(frames, model, saturated)
    if best.misfit > WORST[0] or best.likeness < WORST[1]:
        raise Rejected(
            "no upright face that every flash lights is found in the frames, and lights are estimated from faces "
            "alone: cut the frames to the face where it is small, or give the lights by a lights.csv or a rig.json"
        )
    lights = turn_normals(best.span @ surface(best, model), invert(best.matrix)).astype(float)
    strengths = np.linalg.norm(lights, axis=1)
    lights = lights / strengths[:, None]
    _check(lights)
    turned = best_fit(frames[:, ::-1], model, None if saturated is None else saturated[:, ::-1])
    if _cost(turned) < _cost(best):
        raise Rejected(
            "a face fits the frames better upside down: lights are estimated from upright faces; turn the frames by "
            "180 degrees (or put their rows in order), or give the lights by a lights.csv or a rig.json"
        )
    return Estimate(lights, strengths / strengths.mean(), best.matrix, best.misfit)


def _check(lights: np.ndarray) -> None:
    """Refuse lights (k, 3) that cannot be."""
    if condition(lights) > STEEPEST:
        raise Rejected(
            f"the frames are too much alike for their lights to be estimated (condition {condition(lights):.3g} > "
            f"{STEEPEST:g}): a flat picture, or flashes nearly at one place; give them by a lights.csv or a rig.json"
        )
    if (lights[:, 2] <= 0).any():
        raise Rejected(
            f"the light of frame {int(np.argmin(lights[:, 2]))} seems to be behind the face: frames of one flash each, "
            "or a lights.csv, are needed"
        )


def best_fit(frames: np.ndarray, model: FaceModel, saturated: np.ndarray | None) -> Fit:
    """The best fit of the places where the filter finds a face; the first that is `GOOD` is taken."""
    best: Fit | None = None
    for place in find(frames, model)[:TRIED]:
        found = fit(frames, place.matrix, model, saturated=saturated)
        if best is None or _cost(found) < _cost(best):
            best = found
        if found.misfit < GOOD[0] and found.likeness > GOOD[1]:
            return found
    if best is None:
        raise Rejected("nothing is lit in the frames that could be a face")
    return best


def _cost(found: Fit) -> float:
    return found.misfit - LIKENESS * found.likeness


def surface(found: Fit, model: FaceModel) -> np.ndarray:
    """X of the fit after integrability has had its say."""
    pseudo, whole = np.zeros((*model.where.shape, 3)), np.zeros(model.where.shape, bool)
    pseudo[model.where] = scaled_normals(found.samples[:, model.where].astype(float), found.weights, found.span).T
    whole[model.where] = (found.weights > 0).sum(axis=0) >= min(len(found.span), 4)
    return integrable(pseudo, whole, found.mixing, found.precision)
