"""Each effect can be switched off alone, and does what it says."""

from __future__ import annotations

import numpy as np
import pytest
from small_rig import ALWAYS, PLAIN, settings, shoot

from stages.simulate import skin


def frames(frequencies: dict | None = None, session: int = 0, **effects: float) -> np.ndarray:
    params = settings(effects=PLAIN | {"attached_shadows": True} | effects, frequencies=ALWAYS | (frequencies or {}))
    return shoot(params, session=session)[2].frames


@pytest.fixture(scope="module")
def plain() -> np.ndarray:
    return frames()


def test_cast_shadows_only_take_light_away(plain: np.ndarray) -> None:
    shadowed = frames(cast_shadows=True)
    assert np.all(shadowed <= plain + 1e-6)
    assert np.mean(shadowed < 0.5 * plain - 0.01) > 0.002


def test_highlights_only_add_light(plain: np.ndarray) -> None:
    shiny = frames(specular=1.0)
    assert np.all(shiny >= plain - 1e-6)
    assert (shiny - plain).max() > 0.05


def test_ambient_light_is_even_over_the_flashes(plain: np.ndarray) -> None:
    difference = frames(ambient=0.05) - plain
    assert difference.max() > 0.005
    assert np.abs(difference - difference[0]).max() < 1e-5


def test_strobe_gains_scale_whole_frames(plain: np.ndarray) -> None:
    ratio = [np.median(a[b > 0.1] / b[b > 0.1]) for a, b in zip(frames(strobe_gains=0.1), plain, strict=True)]
    assert 0.01 < np.std(ratio) < 0.3


def test_near_flashes_fall_off_with_distance(plain: np.ndarray) -> None:
    """The nose is nearer to the flashes than the ears are: it gains against them."""
    near = frames(falloff=400.0)
    ratio = near.mean(0) / np.maximum(plain.mean(0), 1e-3)
    _, _, shot = shoot(settings(effects=PLAIN, frequencies=ALWAYS))
    lit = plain.mean(0) > 0.1
    depth = shot.truth.depth
    assert np.corrcoef(depth[lit], ratio[lit])[0, 1] > 0.3


def test_motion_moves_later_flashes_only(plain: np.ndarray) -> None:
    moved = frames(motion=1.5)
    assert np.abs(moved[0] - plain[0]).max() < 1e-6
    assert np.abs(moved[2] - plain[2]).max() > 0.01


def test_noise_is_of_the_sensors_size(plain: np.ndarray) -> None:
    dark = (plain == 0).all(0)
    noise = frames(noise=1.0) - plain
    assert noise[:, dark].std() == pytest.approx(0.0025, rel=0.1)
    bright = plain > 0.3
    assert noise[bright].std() > 2 * noise[:, dark].std()


def test_recorded_lights_are_off_by_what_is_asked() -> None:
    from stages.simulate.subject import draw_subject
    from stages.simulate.visit import draw_visit

    params = settings(effects={"light_error": 2.0})
    subject = draw_subject(params, 0)
    angle = []
    for session in range(100):
        visit = draw_visit(params, subject, session)
        angle.append(np.arccos(np.sum(visit.lights * visit.recorded, axis=1)))
    assert np.rad2deg(np.sqrt(np.mean(np.square(angle)))) == pytest.approx(2.0, rel=0.1)
    assert np.linalg.norm(visit.lights, axis=1) == pytest.approx(np.ones(4))


def test_perspective_makes_near_things_larger() -> None:
    far, near = (shoot(settings(effects=PLAIN | {"distance": d}, frequencies=ALWAYS))[2] for d in (0, 600))
    spread = [
        np.linalg.norm(s.landmarks[7] - s.landmarks[5]) / np.linalg.norm(s.landmarks[4] - s.landmarks[0])
        for s in (far, near)
    ]
    assert spread[1] > 1.005 * spread[0]  # the nose is nearer than the corners of the eyes


@pytest.mark.parametrize(
    ("frequencies", "region"),
    [
        ({"spectacles": {"yes": 1}}, "spectacles"),
        ({"occlusion": {"-hand": 1}}, "hand"),
        ({"occlusion": {"-mobile": 1}}, "telephone"),
        ({"occlusion": {"-hair": 1}}, "strands"),
        ({"occlusion": {"-other": 1}}, "scarf"),
    ],
)
def test_what_is_worn_is_geometry_that_is_seen(frequencies: dict, region: str) -> None:
    shot = shoot(settings(frequencies=ALWAYS | frequencies))[2]
    share = np.mean(shot.regions == skin.REGIONS.index(region))
    assert share > 0.002


def test_a_beard_darkens_and_stands_out() -> None:
    bare, bearded = (
        shoot(
            settings(size=128, effects=PLAIN, frequencies=ALWAYS | {"gender": {"male": 1}, "facial_hair": {kind: 1}})
        )[2]
        for kind in ("none", "both")
    )
    chin = np.rint(bare.landmarks[10]).astype(int)
    around = np.s_[chin[1] - 5 : chin[1] + 2, chin[0] - 6 : chin[0] + 7]
    assert bearded.truth.albedo[around].mean() < 0.8 * bare.truth.albedo[around].mean()


def test_blurred_and_dark_sessions_are_so() -> None:
    ok, blur, dark = (
        shoot(settings(frequencies=ALWAYS | {"quality": {q: 1}}))[2].frames for q in ("ok", "blur", "dark")
    )
    assert dark.mean() < 0.45 * ok.mean()
    sharpness = [np.abs(np.diff(f, 2, axis=1)).max() for f in (ok, blur)]
    assert sharpness[1] < 0.5 * sharpness[0]
