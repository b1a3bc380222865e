"""Sessions rendered once for all tests."""

from __future__ import annotations

import pytest
from small_rig import ALWAYS, PLAIN, settings, shoot

from stages.simulate.render import Shot
from stages.simulate.visit import Visit


@pytest.fixture(scope="session")
def plain_shot() -> tuple[Visit, Shot]:
    """An orthographic Lambertian session without any effect, 128 px."""
    _, visit, shot = shoot(settings(size=128, effects=PLAIN, frequencies=ALWAYS))
    return visit, shot
