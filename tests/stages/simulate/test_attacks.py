"""Flat attacks: sheets that are what they say, and sessions that the reader of Photoface's layout takes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from small_rig import RIGS, settings

from pipeline.maps import read_maps
from stages.ingest.photoface import read_session
from stages.simulate.attacks import SHEET, SPECIES, attack_session, draw_attack, photograph_attack
from stages.simulate.sheets import Sheet, sample


def test_a_rolled_sheet_keeps_its_lengths_and_its_radius() -> None:
    sheet = Sheet(200.0, 80.0, 0.3, np.array([12.0, -7.0, 3.0]), np.array([5.0, 6.0, 7.0]))
    step = 1e-4
    uv = np.random.default_rng(7).uniform(0.3, 0.7, (50, 2))
    for move in ((step, 0), (0, step)):
        length = np.linalg.norm(sheet.place(uv + move) - sheet.place(uv), axis=1)
        np.testing.assert_allclose(length, 200.0 * step, rtol=1e-3)
    crest = sheet.place(np.array([[0.5, 0.5]]))[0]
    np.testing.assert_allclose(crest, sheet.centre, atol=1e-9)


def test_sampling_meets_the_centres_of_pixels() -> None:
    picture = np.random.default_rng(7).random((8, 8)).astype(np.float32)
    rows, columns = np.mgrid[:8, :8]
    uv = (np.stack([columns, rows], -1).reshape(-1, 2) + 0.5) / 8
    np.testing.assert_allclose(sample(picture, uv), picture.ravel(), atol=1e-6)


@pytest.mark.parametrize("species", SPECIES)
def test_an_attack_is_its_species(species: str) -> None:
    params = settings(rigs=RIGS[:1])
    attack = draw_attack(params, 1, 0, species)
    shot = photograph_attack(attack, params)
    normal = shot.truth.normal[shot.regions == SHEET]
    assert len(normal) > 500
    spread = np.rad2deg(np.arccos(np.clip(normal @ (normal.mean(0) / np.linalg.norm(normal.mean(0))), -1, 1)))
    assert np.median(spread) > 8 if species == "bent" else np.median(spread) < 8
    glow = shot.ambient[shot.regions == SHEET].mean()
    assert glow > 0.02 if species == "screen" else glow < 0.02
    assert np.array_equal(photograph_attack(draw_attack(params, 1, 0, species), params).frames, shot.frames)


def test_a_session_is_read_as_photofaces(tmp_path: Path) -> None:
    attack_session(settings(size=64), tmp_path, (0, 0, "matt"))
    (folder,) = tmp_path.glob("matt/1001/*")
    assert len(read_session(folder).frames) == 4
    assert read_maps(folder / "truth.exr").attributes["attack"] == "matt"
