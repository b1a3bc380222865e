"""Multi-task ArcFace at its published size: one batch forward and backward, with the counts of its layers."""

from __future__ import annotations

import pytest

from benchmarks import masks_published


def test_one_batch_at_published_size(capsys: pytest.CaptureFixture[str]) -> None:
    masks_published.main(["--batch", "2"])
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith(
        "plain ArcFace: 43,586,112 parameters, of them heads 0.000 M; features (512, 7, 7), embedding (512,)"
    )
    mask = 512 * 7 * 7 * 2 + 2
    assert said[2].startswith(f"multi-task ArcFace: {43_586_112 + mask:,} parameters, of them heads 0.050 M;")
    assert "embedding (512,), logits {'mask': (2,)}; ArcFace's classes 43.900 M" in said[2]
    assert sum(" s for 2 faces forward and backward" in line for line in said) == 2
