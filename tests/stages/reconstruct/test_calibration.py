"""Gains, directions, near lights and the mirror ball against closed forms; the command on fabricated captures."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from face_scene import angles, photograph, ring

from pipeline.errors import Rejected, UserError
from pipeline.images import write_picture
from pipeline.lights import from_angles
from pipeline.params import Ingest
from pipeline.rig import Light, Rig, read_rig, write_rig
from pipeline.sessions import Session
from stages.ingest.folder import read_folder
from stages.reconstruct.calibration.calibrate import command
from stages.reconstruct.calibration.captures import captures_of, patterns_of, read_samples
from stages.reconstruct.calibration.directions import refine_directions
from stages.reconstruct.calibration.gains import Samples, estimate_gains
from stages.reconstruct.calibration.near import near_lights
from stages.reconstruct.calibration.sphere import find_light, light_of_ball

GAINS = np.array([1.2, 0.85, 1.0, 1.1])


def level(gains):
    return gains / np.exp(np.log(gains).mean())


def captured(lights, gains, *, sessions=4, noise=0.0, seed=3):
    """Samples of surfaces that differ in albedo and shape, under one rig."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(sessions):
        normal = rng.normal(size=(3, 600)) * [[0.35], [0.35], [0.1]] + [[0], [0], [1]]
        scaled = normal / np.linalg.norm(normal, axis=0) * rng.uniform(0.2, 0.55, 600)
        values = np.maximum((lights * gains[:, None]) @ scaled, 0)
        values += noise * rng.normal(size=values.shape)
        found.append(Samples(values.astype(np.float32), np.arange(len(lights))))
    return found


@pytest.mark.parametrize("count", [4, 9])
def test_gains_of_lambertian_captures_are_found_exactly(count):
    lights = np.concatenate([ring(35, 4), ring(20, count - 4)]) if count > 4 else ring(35, 4)
    gains = np.random.default_rng(1).uniform(0.8, 1.2, count)
    found = estimate_gains(captured(lights, gains), lights)
    np.testing.assert_allclose(found.gains, level(gains), rtol=1e-4)
    assert np.exp(np.log(found.gains).mean()) == pytest.approx(1)


def test_cast_shadows_and_highlights_do_not_move_the_gains(rng):
    lights = np.concatenate([ring(35, 5), ring(15, 3)])
    gains = rng.uniform(0.8, 1.2, 8)
    sessions = captured(lights, gains, noise=0.004)
    for session in sessions:
        struck = rng.random(session.values.shape)
        session.values[struck < 0.06] *= 0.1
        session.values[struck > 0.96] += 0.3
    np.testing.assert_allclose(estimate_gains(sessions, lights).gains, level(gains), rtol=0.01)


def test_standard_errors_say_how_far_off_the_gains_are(rng):
    """Over repeated draws the gains scatter as the bootstrap says, within a factor of two."""
    lights = ring(35, 5)
    runs = [estimate_gains(captured(lights, np.ones(5), sessions=8, noise=0.02, seed=s), lights) for s in range(12)]
    scatter = np.std([run.gains for run in runs], axis=0).mean()
    assert 0.5 < np.mean([run.errors for run in runs]) / scatter < 2


def test_sessions_may_hold_some_of_the_lights():
    lights, gains = ring(35, 6), np.linspace(0.8, 1.2, 6)
    whole = captured(lights, gains, sessions=6)
    parts = [np.delete(np.arange(6), i) for i in range(6)]
    sessions = [Samples(s.values[part], part) for s, part in zip(whole, parts, strict=True)]
    found = estimate_gains(sessions, lights)
    np.testing.assert_allclose(found.gains, level(gains), rtol=1e-4)
    assert found.sessions.tolist() == [5] * 6


def test_three_lights_tell_no_gains():
    with pytest.raises(ValueError, match="four lights"):
        estimate_gains(captured(ring(35, 3), np.ones(3)), ring(35, 3))


def test_directions_come_back_up_to_a_linear_map(rng):
    lights = np.concatenate([ring(40, 6), ring(15, 3)])
    recorded = lights + 0.03 * rng.normal(size=lights.shape)
    recorded /= np.linalg.norm(recorded, axis=1, keepdims=True)
    refined = refine_directions(captured(lights, np.ones(9), noise=0.002), recorded, np.ones(9))

    def off(found):
        mapped = found @ np.linalg.lstsq(found, lights, rcond=None)[0]
        return angles(mapped / np.linalg.norm(mapped, axis=1, keepdims=True), lights).mean()

    assert off(refined) < 0.25 * off(recorded)
    assert angles(refined, lights).mean() < angles(recorded, lights).mean()


def test_true_directions_stay_where_they_are():
    lights = np.concatenate([ring(40, 6), ring(15, 3)])
    assert angles(refine_directions(captured(lights, np.ones(9)), lights, np.ones(9)), lights).max() < 0.05


def test_near_lights_fall_off_with_the_inverse_square():
    """A flash on the axis at 400 mm, seen 3-4-5 from it: (0, -300, 400) / 500 times (400 / 500)^2."""
    found = near_lights([[0, 0, 400.0]], [1.5], [[0, 300.0, 0], [0, 0, 0], [0, 0, 200.0]])
    np.testing.assert_allclose(
        found[0].T, 1.5 * np.array([[0, -0.6 * 0.64, 0.8 * 0.64], [0, 0, 1], [0, 0, 4]]), rtol=1e-6
    )
    assert found.shape == (1, 3, 3)


def test_far_lights_are_parallel(rng):
    positions, points = 1e7 * ring(35, 4), rng.normal(size=(20, 3)) * 80
    expected = np.repeat((ring(35, 4) * GAINS[:, None])[:, :, None], 20, axis=2)
    np.testing.assert_allclose(near_lights(positions, GAINS, points), expected, atol=1e-4)


@pytest.mark.parametrize("arguments", [([[0, 0, 1]], [1, 2], [[0, 0, 0]]), ([[0, 0, 1]], [1], [[0, 0, 1]])])
def test_near_lights_refuse_what_does_not_fit(arguments):
    with pytest.raises(ValueError, match=r"expected positions|at a point"):
        near_lights(*arguments)


def ball(light, size=160, centre=(76.3, 84.7), radius=60.4, over=3):
    """A mirror ball before black, the room a dim gradient, rendered by the law of reflection (over x over samples)."""
    rows, columns = (np.mgrid[: size * over, : size * over] + 0.5) / over - 0.5
    u, v = (columns - centre[0]) / radius, -(rows - centre[1]) / radius
    normal = np.stack([u, v, np.sqrt(np.maximum(1 - u**2 - v**2, 0))], axis=-1)
    seen = 2 * normal[..., 2:] * normal - [0, 0, 1]
    image = np.where(
        u**2 + v**2 < 1, 0.06 + 0.1 * np.maximum(seen[..., 1], 0) + 5 * np.exp(3000 * (seen @ light - 1)), 0
    )
    return np.clip(image.reshape(size, over, size, over).mean(axis=(1, 3)), 0, 1).astype(np.float32)


@pytest.mark.parametrize(("zenith", "azimuth"), [(0, 0), (20, 30), (35, 135), (50, 250), (70, 10)])
def test_the_ball_gives_the_light_and_not_the_normal(zenith, azimuth):
    light = from_angles(zenith, azimuth)
    found = find_light(ball(light))
    assert angles(found.light, light) < 1
    np.testing.assert_allclose(found.centre, [76.3, 84.7], atol=0.3)
    assert found.radius == pytest.approx(60.4, abs=0.3)


def test_pictures_without_a_ball_or_a_highlight(tmp_path):
    flat = np.full((60, 60), 0.2)
    square = np.zeros((80, 80))
    square[20:60, 10:70] = 0.5
    matt = np.where(ball(np.array([0, 0, 1.0])) > 0.01, 0.4, 0.0)
    for image, words in ((flat, "no ball"), (square, "not round"), (matt, "no highlight")):
        write_picture(tmp_path / "x.png", image)
        with pytest.raises(Rejected, match=rf"x\.png: .*{words}"):
            light_of_ball(tmp_path / "x.png")


def write_captures(root, *, sessions=3):
    """A folder data set of one scene at several brightnesses, its flashes off by GAINS."""
    scene = photograph(64, ring(35, 4))
    for number in range(sessions):
        folder = root / f"s{number}" / "one"
        folder.mkdir(parents=True)
        for i, frame in enumerate(scene.frames):
            write_picture(folder / f"{'abcd'[i]}.png", frame * GAINS[i] * (0.7 + 0.1 * number))
    rows = [f"{n}.png,{x:.6f},{y:.6f},{z:.6f}" for n, (x, y, z) in zip("abcd", scene.lights, strict=True)]
    (root / "lights.csv").write_text("\n".join(["frame,x,y,z", *rows]))
    return scene


def test_calibrate_then_maps_with_the_rig(workspace):
    scene = write_captures(workspace / "own")
    done = CliRunner().invoke(command, ["own", "-o", "rig.json"], catch_exceptions=False)
    assert done.exit_code == 0
    assert "gains of 4 lights from 3 sessions" in done.output
    rig = read_rig("rig.json")
    np.testing.assert_allclose([light.strength for light in rig.lights], level(GAINS), rtol=0.01)
    assert [light.frame for light in rig.lights] == ["a.png", "b.png", "c.png", "d.png"]
    from stages.reconstruct.maps import command as maps_command

    frames = [f"own/s0/one/{n}.png" for n in "dbca"]
    done = CliRunner().invoke(maps_command, [*frames, "--rig", "rig.json", "-o", "s.exr"], catch_exceptions=False)
    assert done.exit_code == 0
    from pipeline.maps import read_maps

    maps = read_maps("s.exr")
    assert np.median(angles(maps.normal, scene.normal)[maps.mask]) < 1.0


def test_a_rig_beside_the_frames_goes_before_a_table_and_leaves_the_ambient_out(workspace):
    scene = write_captures(workspace / "own")
    lights = [
        Light(frame=f"{n}.*", direction=tuple(d), strength=g)
        for n, d, g in zip("abcd", scene.lights, GAINS, strict=True)
    ]
    write_rig("own/rig.json", Rig(name="dome", lights=tuple(lights)))
    write_picture("own/s0/one/ambient.png", np.zeros((64, 64)))
    write_picture("own/s1/one/e.png", np.zeros((64, 64)))
    found = {item.id: item for item in read_folder(Path("own"), Ingest(source="folder", root="own"))}
    lit = found["s0/one"]
    assert lit.ambient == "own/s0/one/ambient.png"
    assert (lit.rig, lit.strengths.tolist(), len(lit.frames)) == ("dome", GAINS.tolist(), 4)
    np.testing.assert_allclose(lit.lights, scene.lights, atol=1e-6)
    assert "no light for frame e.png" in found["s1/one"].reason


def test_mistakes_of_calibrate(workspace):
    write_captures(workspace / "few", sessions=2)
    for arguments, words in [
        (["few", "-o", "rig.json"], "2 sessions can be used"),
        (["few", "-o", "rig.txt"], "ends in .json"),
        (["few", "few", "-o", "rig.json"], "one data set"),
        (["nowhere", "-o", "rig.json"], "no such folder"),
        (["few", "-o", "rig.json", "--only", "x"], "no session is of the rig x"),
        (["a.png", "b.png", "--sphere", "-o", "rig.json"], "at least three"),
    ]:
        with pytest.raises(UserError, match=words):
            CliRunner().invoke(command, arguments, catch_exceptions=False)


def test_a_rig_from_photographs_of_a_ball(workspace):
    lights = ring(35, 3)
    for i, light in enumerate(lights):
        write_picture(f"im{i}.png", ball(light))
    names = [f"im{i}.png" for i in range(3)]
    CliRunner().invoke(command, [*names, "--sphere", "-o", "rig.json"], catch_exceptions=False)
    found = read_rig("rig.json").lights_for(["im2.bmp", "im0.bmp", "im1.bmp"])
    assert angles(found.directions, lights[[2, 0, 1]]).max() < 1
    assert read_rig("rig.json").origin == "directions of 3 lights from a mirror ball"


def test_from_a_ball_to_gains(workspace):
    """As docs/calibration.md has it: the ball's directions laid in the data set, then the data set's own gains."""
    scene = write_captures(workspace / "own")
    Path("own/lights.csv").unlink()
    Path("ball").mkdir()
    for name, light in zip("abcd", scene.lights, strict=True):
        write_picture(f"ball/{name}.png", ball(light))
    balls = [f"ball/{name}.png" for name in "abcd"]
    CliRunner().invoke(command, [*balls, "--sphere", "-o", "own/rig.json"], catch_exceptions=False)
    CliRunner().invoke(command, ["own", "-o", "own/rig.json"], catch_exceptions=False)
    rig = read_rig("own/rig.json")
    np.testing.assert_allclose([light.strength for light in rig.lights], level(GAINS), rtol=0.02)
    assert angles(rig.lights_for(["a.png", "b.png", "c.png", "d.png"]).directions, scene.lights).max() < 1


def test_patterns_tell_lights_apart_by_what_their_names_share():
    from stages.ingest.yaleb import light_of

    class Named:
        def __init__(self, who):
            self.frames = tuple(f"{who}_P00{flash}.pgm" for flash in ("A+000E+00", "A+035E+40", "A-035E+40"))
            self.lights = np.stack([light_of(f[-13:-4]) for f in self.frames])

    lights = [np.arange(3)] * 2
    patterns = patterns_of([Named("yaleB01"), Named("yaleB12")], lights, 3)
    assert patterns == ["yaleB*_P00A+000E+00.pgm", "yaleB*_P00A+035E+40.pgm", "yaleB*_P00A-035E+40.pgm"]


def test_a_rig_keeps_what_its_captures_know_of_camera_and_positions(workspace):
    """It wrote directions alone, so that a rig of near flashes laid beside its frames lost them."""
    scene = write_captures(workspace / "own")
    places = np.round(600 * scene.lights, 3)
    (workspace / "own" / "lights.csv").unlink()
    lights = [{"frame": f"{n}.*", "position": p.tolist()} for n, p in zip("abcd", places, strict=True)]
    (workspace / "own" / "rig.json").write_text(json.dumps({"lights": lights, "camera": {"pitch": 0.7}}))
    CliRunner().invoke(command, ["own", "-o", "new.json"], catch_exceptions=False)
    rig = read_rig("new.json")
    np.testing.assert_allclose([light.position for light in rig.lights], places)
    np.testing.assert_allclose([light.strength for light in rig.lights], level(GAINS), rtol=0.01)
    assert rig.camera.pitch == 0.7
    with pytest.raises(UserError, match="refines flashes at infinity"):
        CliRunner().invoke(command, ["own", "-o", "new.json", "--directions"], catch_exceptions=False)


def test_a_clipped_colour_tells_no_gain(workspace):
    """Red at the top with a grey of .66 counted as a good sample."""
    scene = photograph(64, ring(35, 4))
    colour = np.minimum(1.9 * scene.frames[..., None] * [1.0, 0.6, 0.4], 1)
    for i, picture in enumerate(colour):
        write_picture(f"{i}.png", picture)
    session = Session("a/1", "a", "1", "rig", tuple(f"{i}.png" for i in range(4)), scene.lights, np.ones(4))
    values = read_samples(session, np.arange(4)).values
    assert (values > 0.9).mean() > 0.05
    assert not ((values > 0.685) & (values < 0.9)).any()


def test_captures_of_unknown_lights_are_refused(workspace):
    from pipeline.sessions import write_sessions

    write_captures(workspace / "own")
    (workspace / "own" / "lights.csv").unlink()
    sessions = list(read_folder(Path("own"), Ingest(source="folder", root="own", uncalibrated=True)))
    write_sessions("sessions.parquet", sessions)
    with pytest.raises(UserError, match="no session has known lights"):
        CliRunner().invoke(command, ["sessions.parquet", "-o", "rig.json"], catch_exceptions=False)


def test_sessions_of_unknown_lights_say_nothing_of_gains():
    """Their missing directions compare with nothing, and counted as the rig's lights in the order of their frames."""
    frames = tuple(f"{i}.png" for i in range(4))
    known = Session("a/1", "a", "1", "rig", frames, lights=ring(35, 4), strengths=np.ones(4))
    unknown = replace(known, id="b/1", subject="b", lights=np.full((4, 3), np.nan))
    assert captures_of([known, unknown]).sessions == [known]
