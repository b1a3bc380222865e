"""The scene that most tests look at."""

from __future__ import annotations

import pytest
from face_scene import Scene, photograph, ring


@pytest.fixture(scope="session")
def scene() -> Scene:
    """96 px, four flashes at 35 degrees, at rest."""
    return photograph(96, ring(35, 4))
