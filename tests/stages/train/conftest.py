"""What the tests of training share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.stages.train.small import prepare


@pytest.fixture
def ready(fabricate: Callable[..., Path]) -> Path:
    """A workspace with faces, labels and splits."""
    root = fabricate(lost=1)
    prepare()
    return root
