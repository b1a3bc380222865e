"""Where hair, brows, beard, cloth and eyes lie on the template: smooth fields of a place on the template bust.

A place is (N, 3) mm in the template's own coordinates (x right, y up, z front), which every vertex keeps through
identity, age, expression and pose. What is drawn in them sticks to the face. A field is positive inside, and about the
distance to the edge in mm.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pipeline.shading import lengths

if TYPE_CHECKING:
    from stages.simulate.subject import Looks

EYE_CENTRES = np.array([[-30.78, 728.41, 124.53], [30.78, 728.41, 124.53]])  # image left first
EYE_RADIUS = 13.8
HEAD_AXIS = 55.0  # z of the vertical axis that azimuths are taken about
HAIRLINE = np.array(  # azimuth from the front in degrees, height in mm
    [[0, 803], [35, 806], [54, 786], [65, 750], [71, 703], [77, 744], [100, 743], [112, 702], [130, 668], [180, 650]],
    float,
)
BALDNESS = np.array([60, 56, 55, 25, 0, 0, 10, 40, 45, 20], float)
LANDMARKS = {  # Photoface's eleven, in its order, as (x, y) on the front of the template
    "left_eye_outer": (-44.5, 729.0),
    "left_eye_inner": (-15.5, 726.5),
    "between_brows": (0.0, 743.0),
    "right_eye_inner": (15.5, 726.5),
    "right_eye_outer": (44.5, 729.0),
    "nose_left": (-17.0, 690.0),
    "nose_tip": (0.0, 697.0),
    "nose_right": (17.0, 690.0),
    "mouth_left": (-26.0, 661.0),
    "mouth_right": (26.0, 661.0),
    "chin": (0.0, 626.0),
}


def azimuth(place: np.ndarray) -> np.ndarray:
    """Signed angle (N,) around the head in radians: 0 in front, positive to the image's right."""
    return np.arctan2(place[:, 0], place[:, 2] - HEAD_AXIS)


def hair(place: np.ndarray, looks: Looks) -> np.ndarray:
    """The scalp's hair, (N,) mm above the hairline."""
    line = HAIRLINE[:, 1].copy()
    line[[0, 1, 2, 3, 9]] += looks.hairline
    if looks.bald:
        line += BALDNESS
    around = np.rad2deg(np.abs(azimuth(place)))
    above = place[:, 1] - np.interp(around, HAIRLINE[:, 0], line)
    # ears stand out from the head: nothing grows there
    ear = (np.abs(place[:, 0]) > 73) & (place[:, 1] < 742) & (place[:, 2] > 5) & (place[:, 2] < 80)
    return np.where(ear, -10.0, np.minimum(above, 40.0))


def brow(place: np.ndarray, looks: Looks) -> np.ndarray:
    """The brows, (N,) mm from their edge."""
    low, arch, length, thickness = looks.brows[:4]
    along = (np.abs(place[:, 0]) - 12.0) / length
    inside = np.clip(along, 0, 1)
    centre = 742.0 + low + arch * np.sin(np.pi * inside**0.8) - 3.0 * inside**3
    half = thickness * (1 - 0.65 * inside**1.5) * (0.35 + 0.65 * ramp(along, -0.02, 0.22))
    edge = np.minimum(along, 1 - along) * length
    depth = np.minimum(half - np.abs(place[:, 1] - centre), edge)
    return np.where(place[:, 2] > 90, depth, -10.0)


def moustache(place: np.ndarray) -> np.ndarray:
    """Between nose and upper lip, drooping to the corners of the mouth; (N,) mm."""
    x = np.abs(place[:, 0])
    centre = 677.0 - 0.013 * x**2
    field = np.minimum(6.5 - np.abs(place[:, 1] - centre), 31.0 - x)
    return np.where(place[:, 2] > 120, field, -10.0)


def beard(place: np.ndarray, reach: float) -> np.ndarray:
    """Chin and jaw up to the sideburns, without the moustache; (N,) mm. ``reach`` moves its upper line up."""
    x = np.abs(place[:, 0])
    top = np.interp(
        x, [0, 14, 24, 29, 45, 58, 68, 74], [646, 645, 650, 664, 668 + reach, 682 + reach, 704 + reach, 716]
    )
    bottom = np.interp(x, [0, 30, 60, 80], [597, 602, 630, 660])
    front = 0.6 * (place[:, 2] - 72.0)
    return np.minimum(np.minimum(top - place[:, 1], place[:, 1] - bottom), front)


def cloth(place: np.ndarray, collar: float) -> np.ndarray:
    """Below the neckline, (N,) mm; the line is lower in front."""
    line = 583.0 + collar - 0.16 * np.clip(place[:, 2] - 20.0, -60, 60)
    return line - place[:, 1] + 0.10 * np.maximum(np.abs(place[:, 0]) - 60, 0)


def eye_radius(place: np.ndarray) -> np.ndarray:
    """Distance (N,) in mm to the centre of the nearer eye."""
    nearer = np.where(place[:, :1] < 0, EYE_CENTRES[0], EYE_CENTRES[1])
    return lengths(place - nearer)


def ramp(field: np.ndarray, low: float, high: float) -> np.ndarray:
    """0 below ``low``, 1 above ``high``, smooth between."""
    t = np.clip((field - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)
