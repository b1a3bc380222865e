"""Masks that the simulator wears: where they lie, what they hide, and that nothing else of a session changes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from scipy import ndimage
from scipy.spatial import cKDTree
from small_rig import ALWAYS, settings

from pipeline.maps import read_maps
from pipeline.maskdesigns import PATTERNS, TYPES, Design
from pipeline.maskhead import MeanHead
from pipeline.maskshape import lay
from stages.simulate import skin
from stages.simulate.bust import build_bust, topology
from stages.simulate.command import command
from stages.simulate.masks import wear
from stages.simulate.render import Shot, photograph
from stages.simulate.subject import draw_subject
from stages.simulate.visit import draw_masks, draw_visit

MASK = skin.REGIONS.index("mask")
PARAMS = """
simulate:
  seed: 7
  subjects: 2
  sessions: 2
  size: 48
  masks: {masks}
  mask_twins: {twins}
  rigs:
    - {{name: near, lights: [{{zenith: 35, azimuth: 45}}, {{zenith: 35, azimuth: 165}}, {{zenith: 35, azimuth: 285}}]}}
"""


@pytest.fixture(scope="module", params=TYPES)
def twins(request: pytest.FixtureRequest) -> tuple[str, Shot, Shot]:
    """A type, the session without it and with it, without motion."""
    params = settings(size=128, masks=1, mask_designs=[request.param], mask_twins=True, frequencies=ALWAYS,
                      effects={"motion": 0})  # fmt: skip
    subject = draw_subject(params, 1)
    bare, worn = (
        photograph(subject, visit, params.size, params.effects, params.seed)
        for visit in draw_masks(params, draw_visit(params, subject, 0))
    )
    return request.param, bare, worn


def test_it_lies_in_front_of_the_face_and_covers_nose_and_mouth(twins: tuple[str, Shot, Shot]) -> None:
    _, bare, worn = twins
    covered = (worn.regions == MASK) & (bare.regions == skin.R_SKIN)
    # depths are from the mean of each session's mask: compare them by what neither shows of the mask
    same = (worn.regions == bare.regions) & (bare.regions == skin.R_SKIN)
    ahead = worn.truth.depth - bare.truth.depth
    ahead = ahead[covered] - np.median(ahead[same])
    assert ahead.min() > -0.5  # pixels, of about 2 mm, and of a mixed pixel at an edge
    assert np.median(ahead) > 0.3
    points = np.rint(worn.landmarks).astype(int)
    regions = worn.regions[points[:, 1], points[:, 0]]
    assert (regions[[5, 6, 7, 8, 9, 10]] == MASK).all()  # nose, mouth, chin
    assert (regions[:5] != MASK).all()  # eyes, between the brows


def test_it_is_seen_by_the_normals_and_faces_the_camera(twins: tuple[str, Shot, Shot]) -> None:
    _, bare, worn = twins
    on = ndimage.binary_erosion(worn.regions == MASK, iterations=2)
    assert on.sum() > 300
    cosine = np.sum(bare.truth.normal * worn.truth.normal, axis=-1)[on]
    assert np.rad2deg(np.median(np.arccos(np.clip(cosine, -1, 1)))) > 3
    assert np.mean(worn.truth.normal[on][:, 2] > 0) > 0.99


def test_what_is_bare_and_unshadowed_is_the_twins_to_the_bit(twins: tuple[str, Shot, Shot]) -> None:
    _, bare, worn = twins
    near = ndimage.binary_dilation(worn.regions == MASK, iterations=3)
    upper = np.zeros_like(near)
    upper[: int(worn.landmarks[2, 1])] = True  # above the brows no shadow falls from below the eyes here
    same = np.all(bare.frames == worn.frames, axis=0)
    assert same[upper & ~near & bare.truth.mask].mean() > 0.95
    differing = np.any(np.abs(bare.frames - worn.frames) > 0.02, axis=0) & ~near
    assert differing.mean() < 0.1  # the mask's shadow
    assert np.array_equal(bare.landmarks, worn.landmarks)


def test_it_turns_with_the_skin_below_it_as_the_throat_does_which_does_not_follow_the_head() -> None:
    """Else a beard comes through below the chin of a head that looks up."""
    params = settings(frequencies=ALWAYS)
    subject = draw_subject(params, 0)
    visit = replace(draw_visit(params, subject, 0), facial_hair="both", angles=np.array([0.0, -20.0, 0.0]))
    bust = build_bust(subject, visit)
    worn = wear(Design("surgical", "plain", 0.5, 0.5, 3), bust)
    skin_at = np.flatnonzero(topology().skin)
    nearest = skin_at[cKDTree(bust.rest[skin_at]).query(worn.vertices)[1]]
    at_rest = np.linalg.norm(worn.vertices - bust.rest[nearest], axis=1)
    posed = np.linalg.norm(bust.pose(worn.vertices, worn.turns) - bust.vertices[nearest], axis=1)
    assert (worn.turns < 0.95).any()
    assert np.abs(posed - at_rest).max() < 1.0  # mm; 7 where the whole of it followed the head


def test_a_surgical_mask_gapes_at_the_cheeks_and_an_n95_does_not() -> None:
    """By what lies beside the middle of its side edges, mm from the face."""
    head, gaps = MeanHead(), {}
    for kind in ("surgical", "n95"):
        cloth = lay(Design(kind, "plain", 0.5, 0.1, 2), head)[0][0].places[30:43, [0, -1]] - head.axis
        skin = head.radius(np.arctan2(cloth[..., 0], cloth[..., 2]), cloth[..., 1])
        gaps[kind] = (np.hypot(cloth[..., 0], cloth[..., 2]) - skin).min(axis=0)
    assert (gaps["surgical"] > 3).all()
    assert (np.abs(gaps["n95"]) < 2).all()


@pytest.mark.parametrize("pattern", PATTERNS)
def test_patterns_are_in_the_albedo(pattern: str) -> None:
    params = settings(size=96, frequencies=ALWAYS)
    subject = draw_subject(params, 0)
    design = Design("cloth", pattern, 0.2, 0.7, 3)
    visit = replace(draw_visit(params, subject, 0), masked=True, mask=design, exposure=1.0)
    shot = photograph(subject, visit, params.size, params.effects, params.seed)
    on = ndimage.binary_erosion(shot.regions == MASK, iterations=2)
    albedo = shot.truth.albedo[on]
    if pattern == "plain":
        assert albedo.std() < 0.03
        assert albedo.mean() == pytest.approx(0.2, abs=0.03)
    else:
        assert np.ptp(albedo) > 0.2


def test_masks_are_drawn_at_their_share_and_change_nothing_else() -> None:
    plain, masked = settings(subjects=40), settings(subjects=40, masks=0.4, mask_designs=["cloth/dots", "gas"])
    names, worn, mixed = set(), 0, 0
    for index in range(40):
        subject = draw_subject(plain, index)
        mine = []
        for number in range(4):
            before = draw_visit(plain, subject, number)
            (visit,) = draw_masks(masked, draw_visit(masked, subject, number))
            assert draw_masks(plain, before) == [before]
            assert (before.masked, before.mask) == (None, None)
            assert (visit.name, visit.props, visit.exposure) == (before.name, before.props, before.exposure)
            names |= {visit.mask.name} if visit.mask else set()
            mine.append(visit.mask is not None)
        worn += sum(mine)
        mixed += 0 < sum(mine) < 4
    assert mixed > 25  # each session draws for itself
    assert worn / 160 == pytest.approx(0.4, abs=0.1)
    assert "cloth/dots" in names
    assert "gas/plain" in names
    assert all(name == "cloth/dots" or name.startswith("gas/") for name in names)


def test_command_writes_twins_with_their_labels(workspace: Path) -> None:
    (workspace / "params.yaml").write_text(PARAMS.format(masks=1, twins="true"))
    result = CliRunner().invoke(command, ["--jobs", "1"])
    assert result.exit_code == 0, result.output
    assert "wrote data/simulated (8 sessions of 2 subjects)" in result.output
    folders = sorted((workspace / "data/simulated").glob("*/*"))
    assert len(folders) == 8
    for bare, worn in zip(folders[::2], folders[1::2], strict=True):
        assert worn.name == f"{bare.name}-masked"
        labels = [(f / "metadataII.txt").read_text().strip().split(", ") for f in (bare, worn)]
        assert labels[0][:8] == labels[1][:8]
        assert labels[0][8] == "mask no"
        kind, pattern = labels[1][8].removeprefix("mask ").split("/")
        assert kind in TYPES
        assert pattern in PATTERNS
        assert (bare / "LightSource.m").read_bytes() == (worn / "LightSource.m").read_bytes()
        header = [read_maps(f / "truth.exr").attributes for f in (bare, worn)]
        assert header[0] == header[1]


def test_without_masks_the_metadata_says_nothing_of_them(workspace: Path) -> None:
    (workspace / "params.yaml").write_text(PARAMS.format(masks=0, twins="false"))
    assert CliRunner().invoke(command, ["--jobs", "1"]).exit_code == 0
    texts = [path.read_text() for path in (workspace / "data/simulated").glob("*/*/metadataII.txt")]
    assert [len(text.split(",")) for text in texts] == [8] * 4


def test_an_unknown_design_is_refused_by_name(workspace: Path) -> None:
    text = PARAMS.format(masks=1, twins="false").replace("mask_twins", "mask_designs: [silk]\n  mask_twins")
    (workspace / "params.yaml").write_text(text)
    result = CliRunner().invoke(command, ["--jobs", "1"])
    assert "no mask `silk`; a type (surgical, n95, kn95, cloth, gas), or type/pattern" in str(result.exception)
