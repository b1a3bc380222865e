"""Flat attacks: a photograph of a simulated face, printed or on a screen, held before the simulated rig.

Four species (as ISO/IEC 30107-3 names kinds of presentation attack instruments that are made in one way):

    matt     a print on matt paper, flat up to a slight curl
    glossy   a print on glossy paper, which mirrors the flashes where it is turned towards them
    screen   a display: it glows in every frame, the flashes show its dark glass and their own mirror images
    bent     a print bent over a cylinder as wide as a head

The photograph is one of a simulated person under soft and hard light; the print has a gamma, a black and a white of its
own. The sheet is cut to a rectangle, an oval or the outline of the head; it is turned by up to 20 degrees and held at
its distance, before nothing or before another person, whose hair and shoulders then look out behind it. Lights, gains,
drift and exposure are those of a session of the printed person. Masks in three dimensions are not made.

Reference: ISO/IEC 30107-3:2023, Biometric presentation attack detection, testing and reporting.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import click
import numpy as np

from pipeline.lights import from_angles
from pipeline.options import jobs_option
from pipeline.parallel import Jobs, map_sessions
from pipeline.params import Simulate, section
from pipeline.progress import wrote
from stages.simulate import skin
from stages.simulate.bust import build_bust
from stages.simulate.camera import FINE, Camera
from stages.simulate.photoface import write_session
from stages.simulate.props import build_props
from stages.simulate.raycast import Scene
from stages.simulate.render import FACE_BELOW, Shot, develop, photograph, true_maps
from stages.simulate.scene import Points, meet, one_mesh
from stages.simulate.shader import Shader
from stages.simulate.sheets import Cut, Sheet, cut, meet_sheet, sample
from stages.simulate.subject import Subject, draw_subject
from stages.simulate.visit import Visit, draw_visit, groomed

SPECIES = ("matt", "glossy", "screen", "bent")
SHEET = skin.REGIONS.index("sheet")
MOST_TILT = 20.0  # degrees of yaw and of pitch
STUDIO = from_angles([8, 50, 50, 45], [90, 170, 10, 90])  # of the photograph: at the camera, two sides, above


@dataclass(frozen=True, eq=False)
class Attack:
    """One attack: the printed person's session, what carries its picture, and who stands behind it.

    Attributes
    ----------
    visit : lights, gains, drift and exposure of the attack, labels and appearance of the printed person.
    light : (4,) shares of the photograph's lights. gamma, black, white : the picture's value p in [0, 1] is shown as
        black + (white - black) p^gamma, an albedo in print and a radiance on a screen.
    around : the picture's value behind the head. shape : how it is cut: rectangle, oval or outline.
    window : (2,) half sides of the cut, shares of the picture. grain : relative noise of the print.
    cover : albedo of a screen's glass (0 for a print). shine, gloss : of the surface's highlight.
    behind : mm between the sheet and the person behind it, or None.
    """

    species: str
    subject: Subject
    visit: Visit
    sheet: Sheet
    light: np.ndarray
    gamma: float
    black: float
    white: float
    around: float
    shape: str
    window: np.ndarray
    grain: float
    cover: float
    shine: float
    gloss: float
    behind: float | None
    seed: int


def draw_attack(params: Simulate, subject: int, number: int, species: str) -> Attack:
    """Attack ``number`` of a species with a picture of a subject; the same whatever else is simulated."""
    who = draw_subject(params, subject)
    visit = draw_visit(params, who, number)
    key = [params.seed, subject, number, 2, SPECIES.index(species)]
    rng = np.random.default_rng(np.random.SeedSequence(key))
    tilt = np.array([*rng.uniform(-MOST_TILT, MOST_TILT, 2), rng.normal(0, 4)])
    near, flat = species == "bent", species == "screen"
    curl = np.inf if flat else float(rng.choice([-1, 1]) * 400 / rng.uniform(0.05, 1))
    straight = rng.choice([0.0, np.pi / 2], p=[0.8, 0.2]) + rng.normal(0, 0.1)
    sheet = Sheet(
        side=float(visit.field * rng.uniform(0.85, 1.15)),
        radius=float(rng.uniform(70, 95)) if near else curl,
        axis=float(straight) if near else float(rng.uniform(0, np.pi)),
        angles=tilt,
        centre=np.array([*rng.normal(0, 8, 2), rng.uniform(-120, 120)]),
    )
    white = rng.uniform(0.08, 0.5) if flat else rng.uniform(0.6, 0.9)
    shine, gloss = {
        "matt": (rng.uniform(0, 0.02), rng.uniform(5, 15)),
        "glossy": (rng.uniform(0.03, 0.15), np.exp(rng.uniform(np.log(60), np.log(600)))),
        "screen": (rng.uniform(0.02, 0.08), np.exp(rng.uniform(np.log(100), np.log(2000)))),
        "bent": (rng.uniform(0, 0.05), np.exp(rng.uniform(np.log(8), np.log(100)))),
    }[species]
    return Attack(
        species, who, replace(visit, angles=tilt), sheet,
        light=rng.dirichlet((1.5, 0.7, 0.7, 1.0)),
        gamma=float(rng.uniform(0.7, 1.3)),
        black=float(white * rng.uniform(0.03, 0.15)),
        white=float(white),
        around=float(rng.uniform(0, 1)),
        shape="rectangle" if flat else str(rng.choice(["rectangle", "oval", "outline"])),
        window=np.array([rng.uniform(0.30, 0.46), rng.uniform(0.38, 0.49)]),
        grain=0.0 if flat else float(rng.uniform(0, 0.04)),
        cover=float(rng.uniform(0.05, 0.20)) if flat else 0.0,
        shine=float(shine),
        gloss=float(gloss),
        behind=float(rng.uniform(10, 60)) if rng.random() < 0.5 else None,
        seed=int(rng.integers(2**31)),
    )  # fmt: skip


def photograph_attack(attack: Attack, params: Simulate) -> Shot:
    """Frames, truth and landmarks of one attack, as `render.photograph` gives them of a person.

    ``regions`` is `SHEET` on the sheet; the landmarks are those of the picture, where the sheet carries them.
    """
    visit, sheet, effects = attack.visit, attack.sheet, params.effects
    portrait = _portrait(attack, params)
    picture, cover = _picture(attack, portrait)
    camera = Camera(params.size * FINE, visit.field / (params.size * FINE), effects.distance)
    shape = cut(sheet, cover)
    points, uv = meet_sheet(shape, camera)
    shown = sample(picture, uv)
    glow = np.zeros(camera.width**2, np.float32)
    if attack.species == "screen":
        points.albedo[:] = attack.cover
        glow[points.index] = shown
    else:
        points.albedo[:] = shown
    points.shine[:], points.gloss[:], points.region[:] = attack.shine, attack.gloss, SHEET
    scene = Scene(shape.vertices, shape.triangles)
    if attack.behind is not None:
        points, scene = _with_person(attack, params, camera, shape, points)
    shade = Shader(scene, camera, points, None, effects)
    frames, ambient = develop(shade, shade.ambient() + glow.reshape(camera.width, -1), visit, params.size, params.seed)
    truth, regions = true_maps(points, camera, visit)
    truth.attributes["attack"] = attack.species
    landmarks = camera.project(sheet.place((portrait.landmarks + 0.5) / params.size))
    return Shot(frames, ambient, truth, regions, landmarks)


def _portrait(attack: Attack, params: Simulate) -> Shot:
    """The photograph that is shown: frontal, sharp, well exposed, under the lights of `STUDIO`."""
    own = draw_visit(params, attack.subject, attack.visit.number)
    posed = replace(
        own,
        angles=own.angles * [0.5 if own.pose in ("1", "2") else 0.1, 0.5, 1],
        lights=STUDIO, gains=np.ones(4), drift=np.zeros((4, 2)),
        quality="ok", exposure=1.0, blur=0.0, occlusion="", place=np.zeros(2),
    )  # fmt: skip
    return photograph(attack.subject, posed, params.size, params.effects, attack.seed)


def _picture(attack: Attack, portrait: Shot) -> tuple[np.ndarray, np.ndarray]:
    """(S, S) what the sheet shows, an albedo or a radiance, and (S, S) what of it is not cut away."""
    light = np.tensordot(attack.light, portrait.frames, axes=1)
    mask = portrait.truth.mask
    bright = np.percentile(light[mask], 99)
    value = np.where(mask, np.clip(light / bright, 0, 1), attack.around) ** attack.gamma
    noise = 1 + attack.grain * np.random.default_rng(attack.seed).standard_normal(value.shape)
    shown = (attack.black + (attack.white - attack.black) * value) * noise
    size = len(mask)
    rows, columns = (np.mgrid[:size, :size] + 0.5) / size - 0.5
    below = -FACE_BELOW / attack.visit.field
    off = np.stack([columns, rows - below]) / attack.window[:, None, None]
    covers = {
        "rectangle": np.abs(off).max(axis=0) < 1,
        "oval": (off**2).sum(axis=0) < 1,
        "outline": mask & (portrait.regions != skin.R_CLOTH),
    }
    return shown.astype(np.float32), covers[attack.shape].astype(np.float32)


def _with_person(attack: Attack, params: Simulate, camera: Camera, shape: Cut, front: Points) -> tuple[Points, Scene]:
    """The sheet's points and those of a person behind it, and the scene of both."""
    subject = draw_subject(params, attack.subject.index + 1)
    visit = draw_visit(params, subject, attack.visit.number)
    visit = replace(visit, angles=visit.angles * [0.2, 1, 1], occlusion="", spectacles="no")
    subject = groomed(subject, visit)
    bust = build_bust(subject, visit)
    props, _ = build_props(subject, visit, bust)
    back = front.position[:, 2].min() - attack.behind - bust.vertices[:, 2].max()
    offset = np.array([visit.place[0], visit.place[1] + FACE_BELOW, back])
    solid, numbers = one_mesh(subject, bust, props, offset)
    person = meet(Scene(solid.vertices, solid.triangles), camera, solid, numbers, props, subject, visit)
    seen = ~np.isin(person.index, front.index)
    points = Points(
        *(np.concatenate([getattr(front, name), getattr(person, name)[seen]]) for name in Points.__dataclass_fields__)
    )
    scene = Scene(
        np.concatenate([solid.vertices, shape.vertices]),
        np.concatenate([solid.triangles, shape.triangles + len(solid.vertices)]),
    )
    return points, scene


def attack_session(params: Simulate, folder: Path, item: tuple[int, int, str]) -> None:
    """Make ``(subject, number, species)`` as ``folder/<species>/<subject>/<date>``; one that is there is left alone."""
    attack = draw_attack(params, *item)
    target = folder / attack.species / attack.subject.name / attack.visit.name
    if target.exists():
        return
    shot = photograph_attack(attack, params)
    beside = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    write_session(beside, attack.visit, shot, quantise=params.effects.quantise, seed=params.seed)
    beside.rename(target)


@click.command("attacks")
@click.option("--out", type=click.Path(path_type=Path), default=Path("data/attacks"), show_default=True)
@click.option("--params", "path", type=click.Path(path_type=Path), default=Path("params.yaml"), show_default=True)
@click.option("--each", type=click.IntRange(1), default=150, show_default=True, help="Sessions of each species.")
@jobs_option()
def command(out: Path, path: Path, each: int, jobs: Jobs) -> None:
    """Photograph flat attacks: matt and glossy prints, screens, bent prints.

    Shows pictures of simulated faces to the rig of the section `simulate`. Writes a folder a session in the layout of
    the Photoface database, a root for each species (OUT/matt, OUT/glossy, OUT/screen, OUT/bent) that `psface ingest`
    reads. Sessions that are there already are left alone.
    """
    params = section(path, "simulate", Simulate)
    items = [(i % params.subjects, i // params.subjects, species) for species in SPECIES for i in range(each)]
    map_sessions(partial(attack_session, params, out), items, jobs=jobs, label="attacks")
    wrote(out, note=f"{each} sessions of each of {len(SPECIES)} species: {', '.join(SPECIES)}")
