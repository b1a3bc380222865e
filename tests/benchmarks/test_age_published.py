"""MTLFace at its published size: one batch of each task runs forward and backward, with the published counts."""

from __future__ import annotations

import pytest

from benchmarks import age_published


def test_one_batch_of_each_at_published_size(capsys: pytest.CaptureFixture[str]) -> None:
    """IR-50 and the generator, on two faces: ten seconds. Counts and shapes as the papers' code has."""
    age_published.main(["--batch", "2"])
    said = capsys.readouterr().out
    assert "age head 12.899 M" in said
    assert "generator, shared 0.1 (code): 54.042 M, 819 filters; discriminator 6.974 M" in said
    assert "generator, shared 1/8 (paper): 51.807 M, 800 filters; discriminator 6.974 M" in said
    assert "maps [(64, 56, 56), (128, 28, 28), (256, 14, 14)], X_id and X_age (512, 7, 7), (512, 7, 7)" in said
    assert said.count(" s for 2 faces forward and backward") == 3
