"""Frames in colour: their grey is the grey frame, skin is reddish, grey hair has no colour, and files hold RGB."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from small_rig import ALWAYS, settings

from pipeline.images import read_colour, read_frame
from stages.simulate.render import Shot, photograph
from stages.simulate.sessions import simulate_session
from stages.simulate.skin import R_CLOTH, R_HAIR, R_SKIN
from stages.simulate.subject import draw_subject
from stages.simulate.visit import at_age, draw_visit

LUMINANCE = np.array([0.2126, 0.7152, 0.0722])
QUIET = settings(effects={"noise": 0}, frequencies=ALWAYS, ages=[30])


def shot(years: float, *, colour: bool) -> Shot:
    subject = draw_subject(QUIET, 1)
    visit = at_age(draw_visit(QUIET, subject, 0), subject, years)
    return photograph(subject, visit, QUIET.size, QUIET.effects, QUIET.seed, colour=colour)


def hue(frames: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Mean red, green, blue over the grey, (3,)."""
    mean = frames[:, where].mean(axis=(0, 1))
    return np.asarray(mean / (mean @ LUMINANCE))


def test_the_grey_of_colour_is_grey_and_the_truth_the_same() -> None:
    grey, colour = shot(30, colour=False), shot(30, colour=True)
    assert colour.frames.shape == (*grey.frames.shape, 3)
    assert colour.ambient.shape == (*grey.ambient.shape, 3)
    np.testing.assert_allclose(colour.frames @ LUMINANCE, grey.frames, atol=2e-4)
    np.testing.assert_allclose(colour.ambient @ LUMINANCE, grey.ambient, atol=2e-4)
    assert np.array_equal(colour.truth.albedo, grey.truth.albedo)


def test_skin_is_reddish_and_grey_hair_has_no_colour() -> None:
    young, old = shot(30, colour=True), shot(80, colour=True)
    red, green, blue = hue(young.frames, young.regions == R_SKIN)
    assert red > 1.15 * green > 1.25 * blue
    spread = [np.ptp(hue(s.frames, s.regions == R_HAIR)) for s in (young, old)]
    assert spread[1] < 0.4 * spread[0]
    assert np.ptp(hue(young.frames, young.regions == R_CLOTH)) > 0.1


@pytest.mark.parametrize(("quantise", "suffix"), [(True, "bmp"), (False, "exr")])
def test_files_of_a_session_hold_three_colours(workspace: Path, quantise: bool, suffix: str) -> None:
    for name in ("grey", "colour"):
        params = settings(colour=name == "colour", effects={"quantise": quantise, "noise": 0}, size=64)
        simulate_session(params, Path(name), (0, 0))
    (path,) = Path("colour").glob(f"*/*/im0.{suffix}")
    colours = read_colour(path)
    assert np.abs(colours[..., 0] - colours[..., 2]).max() > 0.05
    grey = read_frame(Path("grey") / path.relative_to("colour"))
    np.testing.assert_allclose(read_frame(path), np.clip(grey, 0, None), atol=0.02)
