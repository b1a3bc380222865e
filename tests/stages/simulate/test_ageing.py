"""One person from child to old: proportions, what stays, what differs, and the truth of a session at another age."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from small_rig import ALWAYS, RIGS, settings, shoot

from pipeline.errors import UserError
from pipeline.maps import read_attributes, read_maps
from pipeline.params import Simulate
from pipeline.sessions import read_sessions, truth_of
from pipeline.shading import lengths
from stages.ingest.command import command as ingest
from stages.simulate import ageing, growth
from stages.simulate.bust import topology
from stages.simulate.human import human
from stages.simulate.render import photograph
from stages.simulate.subject import Subject, draw_subject, rest_shape
from stages.simulate.truths import command as truths
from stages.simulate.visit import at_age, draw_masks, draw_visit, groomed

ALL = 8  # subjects
AGES = (5, 10, 15, 25, 40, 55, 75)


@pytest.fixture(scope="module")
def params() -> Simulate:
    return settings(subjects=ALL, ages={"youngest": 5, "oldest": 75}, frequencies=ALWAYS)


@pytest.fixture(scope="module")
def people(params: Simulate) -> list[Subject]:
    return [draw_subject(params, i) for i in range(ALL)]


@pytest.fixture(scope="module")
def points(people: list[Subject]) -> np.ndarray:
    """(subjects, ages, 11, 3) landmarks at rest, mm."""
    shape = topology()
    return np.array([[(shape.subdivision.matrix @ rest_shape(p, y))[shape.landmarks] for y in AGES] for p in people])


def distance(points: np.ndarray, one: int, other: int) -> np.ndarray:
    return np.linalg.norm(points[..., one, :] - points[..., other, :], axis=-1)


def test_a_childs_proportions_are_a_childs(points: np.ndarray) -> None:
    """Farkas: from 5 years to adulthood the lower face grows more than the upper, and the face more than the eyes."""
    eyes, nose, chin = distance(points, 0, 4), distance(points, 2, 6), distance(points, 2, 10)
    assert (chin[:, 0] / eyes[:, 0] < 0.93 * chin[:, 3] / eyes[:, 3]).all()
    assert (nose[:, 0] < 0.85 * nose[:, 3]).all()
    for length in (eyes, chin):
        assert (np.diff(length[:, :4], axis=1) > 0).all()
    assert np.allclose(eyes[:, 4:], eyes[:, 3:4], rtol=0.08)  # growth has ended


def test_the_nose_goes_on_growing_down_and_the_ears_too(people: list[Subject], points: np.ndarray) -> None:
    tip = points[:, :, 6, 1] - points[:, :, [0, 4], 1].mean(-1)
    assert (tip[:, -1] < tip[:, 3] - 2).all()
    place = human().mesh.vertices
    ear = (np.abs(place[:, 0]) > 80) & (np.abs(place[:, 2] - 47) < 20) & (np.abs(place[:, 1] - 730) < 45)
    for person in people:
        long = [np.ptp(rest_shape(person, years)[ear][:, 1]) for years in (30, 75)]
        assert long[1] > 1.03 * long[0]


def test_bones_are_their_owners_at_every_age(people: list[Subject]) -> None:
    """What sets a head apart from the mean one of its age goes through life: a child is nearest to itself grown up."""
    face = (human().mesh.vertices[:, 2] > 60) & (human().mesh.vertices[:, 1] > 620)

    def shapes(years: float) -> np.ndarray:
        rows = np.array([rest_shape(p, years)[face] for p in people])
        rows -= rows.mean(axis=1, keepdims=True)
        return (rows - rows.mean(axis=0)).reshape(len(people), -1)

    grown = shapes(25)
    for years in (5, 12, 50, 75):
        correlation = np.corrcoef(shapes(years), grown)[:ALL, ALL:]
        assert (correlation.argmax(axis=1) == np.arange(ALL)).all()
        assert np.diag(correlation).min() > 0.5


def test_marks_stay_and_spots_come(people: list[Subject]) -> None:
    for person in people:
        young, old = ageing.aged_looks(person, 6).moles, ageing.aged_looks(person, 75).moles
        own = len(person.looks.moles)
        assert [m.place.tolist() for m in young[:own]] == [m.place.tolist() for m in old[:own]]
        assert all(a.radius < b.radius for a, b in zip(young[:own], old[:own], strict=True))
        assert len(young) == own < len(old)


def test_people_age_at_their_own_pace(people: list[Subject]) -> None:
    rates = [person.rates for person in people]
    looked = [growth.apparent(60, r) for r in rates if r]
    assert np.std(looked) > 1.5
    assert len({r.grey for r in rates if r}) == ALL


def test_hair_greys_and_skin_folds_with_the_years(people: list[Subject]) -> None:
    place = human().mesh.vertices.astype(np.float32)
    for person in people:
        assert person.rates
        grey = [ageing.grey_share(years, person.rates) for years in range(5, 90, 5)]
        assert (np.diff(grey) >= 0).all()
        assert grey[0] == 0
        assert grey[-1] > 0.8
        relief = [ageing.wrinkles(place, person.rates, years).std() for years in AGES]
        assert relief[:4] == [0, 0, 0, 0]
        assert (np.diff(relief[3:]) > 0).all()
        front = [ageing.aged_looks(person, years).hairline[1] for years in AGES]
        assert (np.diff(front) >= 0).all()


def test_who_does_not_age_is_the_subject_of_before() -> None:
    """Published bytes stay: of the shape, of the looks, and of a whole session (measured before ages came)."""
    plain, aged = draw_subject(settings(), 1), draw_subject(settings(ages=[5, 70]), 1)
    assert plain.rates is None
    assert aged.rates is not None
    assert (plain.local, plain.phenotypes, plain.age) == (aged.local, aged.phenotypes, aged.age)
    assert ageing.aged_looks(plain, 70) is plain.looks
    _, visit, shot = shoot(settings(), 1, 2)
    assert visit.when.isoformat() == "2008-02-24T14:52:02"
    assert shot.frames.mean(axis=(1, 2)) == pytest.approx([0.175807, 0.127296, 0.151653, 0.162610], rel=1e-4)
    assert shot.landmarks[6] == pytest.approx([47.982, 52.346], abs=1e-2)


def test_ages_of_a_range_spread_over_it_and_come_in_pairs(params: Simulate) -> None:
    subject = draw_subject(params, 3)
    years = np.array([draw_visit(params, subject, number).age for number in range(20)])
    assert years.min() >= 5
    assert years.max() <= 75
    assert (np.abs(years[0::2] - years[1::2]) <= 1).all()
    assert (years[0::2] != years[1::2]).all()
    assert np.diff(np.sort(years[::2])).max() < 2.1 * 70 / 10
    assert draw_visit(params, draw_subject(params, 4), 0).age != years[0]
    assert draw_visit(params, subject, 7).rig == draw_visit(settings(subjects=ALL), draw_subject(settings(), 3), 7).rig


@pytest.mark.parametrize(
    ("ages", "told"),
    [
        ({"youngest": 40, "oldest": 40}, "at least a year above"),
        ({"eldest": 80}, "unknown key `simulate.ages.eldest`; .*oldest"),
        ([0], "ages.0 = 0"),
        (30, "must be a list"),
    ],
)
def test_impossible_ages_are_told(workspace: Path, ages: object, told: str) -> None:
    from pipeline.params import load

    (workspace / "params.yaml").write_text(
        f"simulate: {{seed: 7, subjects: 2, rigs: {RIGS}, ages: {ages}}}".replace("'", '"')
    )
    with pytest.raises(UserError, match=told):
        load("params.yaml")


def test_children_have_no_beard(params: Simulate) -> None:
    bearded = params.model_copy(
        update={"frequencies": params.frequencies.model_copy(update={"facial_hair": {"both": 1}})}
    )
    man = next(p for p in (draw_subject(bearded, i) for i in range(ALL)) if p.gender == "male")
    visit = at_age(draw_visit(bearded, man, 0), man, 30)
    old = next(v for v in (draw_visit(bearded, man, n) for n in range(20)) if v.age > 20)
    assert old.facial_hair == "both"
    assert at_age(old, man, 9).facial_hair == "none"
    assert groomed(man, at_age(visit, man, 9)).looks.brows[4] < groomed(man, visit).looks.brows[4]


def test_truth_differs_by_age_alone(params: Simulate) -> None:
    """At its own age it is the session, to the byte; at another the pose, lights, texture and noise are the same."""
    subject = draw_subject(params, 0)
    visit = draw_visit(params, subject, 0)
    same = at_age(visit, subject, visit.age)
    assert repr(same) == repr(visit)
    other = at_age(visit, subject, 70.0 if visit.age < 40 else 10.0)
    changed = {name for name in vars(visit) if repr(getattr(other, name)) != repr(getattr(visit, name))}
    assert changed <= {"age", "field", "facial_hair"}
    shots = [photograph(subject, v, 64, params.effects, params.seed) for v in (visit, other)]
    corner = [shot.frames[:, :8, :8] for shot in shots]  # nothing but noise is there
    assert np.array_equal(*corner)
    both = shots[0].truth.mask & shots[1].truth.mask
    turned = np.sum(shots[0].truth.normal[both] * shots[1].truth.normal[both], axis=-1)
    assert 5 < np.rad2deg(np.arccos(np.clip(turned, -1, 1))).mean() < 40
    assert np.abs(lengths(shots[1].truth.normal[both]) - 1).max() < 1e-5


def test_truths_of_the_test_split_are_sessions_that_ingest_reads(workspace: Path) -> None:
    aged = {
        "seed": 7, "subjects": 3, "sessions": 3, "size": 48, "rigs": RIGS, "ages": {"oldest": 70},
        "truths": {"ages": [8, 60]},
        "frequencies": ALWAYS,
    }  # fmt: skip
    text = f"simulate: {aged}\ningest: {{source: photoface, root: nowhere}}\n".replace("'", '"')
    (workspace / "params.yaml").write_text(text)
    params = Simulate.model_validate(aged)
    ids = [
        f"{s.name}/{draw_visit(params, s, n).name}"
        for s in (draw_subject(params, i) for i in range(3))
        for n in range(3)
    ]
    table = pd.DataFrame({"session": ids, "subject": [i[:4] for i in ids], "split": ["test"] * 3 + ["train"] * 6})
    table.to_parquet("splits.parquet")
    result = CliRunner().invoke(truths, ["--splits", "splits.parquet", "--jobs", "1"])
    assert result.exit_code == 0, result.output
    assert "2 sessions of the test split at 2 ages each" in result.output
    read = CliRunner().invoke(ingest, ["--root", "data/truths", "--out", "t.parquet", "--rejected", "r.csv"])
    assert read.exit_code == 0, read.output
    sessions = read_sessions("t.parquet")
    assert [truth_of(s.id) for s in sessions] == [(i, y) for i in (ids[0], ids[2]) for y in (8, 60)]
    assert [s.age for s in sessions] == [8, 60, 8, 60]
    assert {s.expression for s in sessions[:2]} == {sessions[0].expression}
    headers = [read_attributes(next(Path("data/truths").glob(f"{s.id}/truth.exr"))) for s in sessions[:2]]
    assert headers[0]["lights"] == headers[1]["lights"]
    assert read_maps(next(Path("data/truths").glob("*/*/truth.exr"))).mask.any()


def test_truths_of_other_parameters_are_refused(workspace: Path) -> None:
    (workspace / "params.yaml").write_text(f"simulate: {{seed: 7, subjects: 2, rigs: {RIGS}}}".replace("'", '"'))
    pd.DataFrame({"session": ["1001/x"], "subject": ["1001"], "split": ["test"]}).to_parquet("splits.parquet")
    with pytest.raises(Exception, match="ages is empty"):
        CliRunner().invoke(truths, ["--splits", "splits.parquet"], catch_exceptions=False)
    (workspace / "params.yaml").write_text(
        f"simulate: {{seed: 7, subjects: 2, ages: [9, 50], rigs: {RIGS}}}".replace("'", '"')
    )
    with pytest.raises(Exception, match="1 of 1 test sessions are not of"):
        CliRunner().invoke(truths, ["--splits", "splits.parquet"], catch_exceptions=False)


def test_truths_wear_the_masks_of_their_sessions(workspace: Path) -> None:
    """Those of masked twins were refused, as strangers; those of masked sessions were bare."""
    masked = {"seed": 7, "subjects": 2, "sessions": 2, "size": 48, "rigs": RIGS, "ages": [30], "masks": 1,
              "mask_twins": True, "truths": {"ages": [60], "sessions": 9}, "frequencies": ALWAYS}  # fmt: skip
    (workspace / "params.yaml").write_text(f"simulate: {masked}".replace("'", '"').replace("True", "true"))
    params = Simulate.model_validate(masked)
    subject = draw_subject(params, 1)
    ids = [f"1002/{v.name}" for n in range(2) for v in draw_masks(params, draw_visit(params, subject, n))]
    assert len(ids) == 4
    pd.DataFrame({"session": ids, "subject": ["1002"] * 4, "split": ["test"] * 4}).to_parquet("splits.parquet")
    result = CliRunner().invoke(truths, ["--splits", "splits.parquet", "--jobs", "1"])
    assert result.exit_code == 0, result.output
    made = {path.parent.name: path.read_text() for path in Path("data/truths").glob("*/*/metadataII.txt")}
    assert set(made) == {f"{i[5:]}_age60" for i in ids}
    assert all(("mask no" in text) == ("-masked" not in name) for name, text in made.items())
    assert all("mask " in text for text in made.values())


@pytest.mark.parametrize("out", [".", "data", "data/simulated"])
def test_truths_replace_truths_alone(workspace: Path, out: str) -> None:
    """`--out data` put them in the place of the whole folder."""
    text = f"simulate: {{seed: 7, subjects: 2, ages: [9, 50], rigs: {RIGS}}}".replace("'", '"')
    (workspace / "params.yaml").write_text(text)
    kept = workspace / "data/simulated/1001/2008-01-07_09-00-00/im0.bmp"
    kept.parent.mkdir(parents=True)
    kept.touch()
    pd.DataFrame({"session": ["1001/x"], "subject": ["1001"], "split": ["test"]}).to_parquet("data/splits.parquet")
    with pytest.raises(UserError, match="choose another --out"):
        CliRunner().invoke(truths, ["--out", out], catch_exceptions=False)
    assert kept.exists()
