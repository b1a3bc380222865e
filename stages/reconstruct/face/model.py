"""A model of faces: the mean and the principal components of normals, and a mean albedo, on a small grid.

The grid is ArcFace's template of 112 px with 4 px more on either side and 8 below, `SIDE` px wide. A face is
``n(c) = mean + components c`` with c of independent standard deviates, not of unit length; the albedo is that of skin,
1 in the median. The turns of the head that the simulated subjects have (poses 1 to 3) are part of the components.
`benchmarks/face_model.py` makes the file from simulated subjects that no benchmark or test uses.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from pipeline.geometry import arcface_template

SIDE = 48
FILE = Path(__file__).with_name("model.npz")
COVERED = 0.7  # of the subjects show skin at a pixel that the model has


@dataclass(frozen=True, eq=False)
class FaceModel:
    """What is known of faces.

    Attributes
    ----------
    normal : (SIDE, SIDE, 3), mean, camera frame; albedo : (SIDE, SIDE), relative. Both 0 where no subject shows skin.
    weight : (SIDE, SIDE) in [0, 1], the share of subjects that show skin there.
    components : (P, 3, K), of the P pixels ``where`` weight exceeds `COVERED`, each times its standard deviation.
    """

    normal: np.ndarray
    albedo: np.ndarray
    weight: np.ndarray
    components: np.ndarray

    @property
    def where(self) -> np.ndarray:
        """(SIDE, SIDE) bool, the P pixels of the model."""
        return np.asarray(self.weight > COVERED)


@cache
def face_model() -> FaceModel:
    """The model that comes with the package."""
    with np.load(FILE, allow_pickle=False) as stored:
        return FaceModel(**{name: stored[name].astype(float) for name in ("normal", "albedo", "weight", "components")})


def landmarks() -> np.ndarray:
    """(5, 2) where the five landmarks lie on the grid, px."""
    return (arcface_template(112) + np.array([4.5, 0.5])) * (SIDE / 120) - 0.5
