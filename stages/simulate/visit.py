"""One session of a subject: everything that varies from visit to visit, drawn from (seed, subject, session) alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from pipeline.lights import from_angles
from pipeline.maskdesigns import TWIN, Design, draw_design
from pipeline.params import Ages, Rig, Simulate
from stages.simulate import growth
from stages.simulate.ageing import aged_looks
from stages.simulate.human import human
from stages.simulate.subject import Subject

YAW_OF_POSE = {"1": (0.0, 17.0), "2": (17.0, 30.0), "3": (30.0, 45.0), "4": (45.0, 65.0), "5": (65.0, 90.0)}
ADULT = 17.0  # nobody younger has facial hair
AGES = 2**31 + 1  # of the seeds: apart from all sessions' numbers
GOLDEN = (5**0.5 - 1) / 2
FIRST_DAY = datetime(2008, 1, 7, 8, 0, 0)  # Photoface was recorded in 2008 and 2009

SMILES = (
    {"mouthSmile": 0.8, "cheekSquint": 0.5, "eyeSquint": 0.3},
    {"mouthSmile": 0.7, "mouthUpperUp": 0.4, "jawOpen": 0.25},
)
FROWNS = (
    {"browDown": 0.8, "mouthFrown": 0.6, "eyeSquint": 0.4},
    {"noseSneer": 0.7, "browDown": 0.5, "mouthUpperUp": 0.3},
    {"mouthPress": 0.8, "browDown": 0.7},
)
OTHERS = (
    {"browInnerUp": 0.7, "browOuterUp": 0.7, "eyeWide": 0.6, "jawOpen": 0.35},
    {"mouthPucker": 0.7},
    {"mouthFunnel": 0.5, "jawOpen": 0.15},
    {"jawOpen": 0.35, "mouthLowerDown": 0.3},
    {"cheekPuff": 0.6},
    {"eyeBlink": 1.0},
    {"mouthShrugLower": 0.5, "browInnerUp": 0.5},
)
CALM = {"browDown": 0.35, "browInnerUp": 0.35, "browOuterUp": 0.25, "eyeSquint": 0.4, "eyeWide": 0.3, "mouthPress": 0.4,
        "mouthSmile": 0.25, "mouthFrown": 0.25, "mouthRollLower": 0.3, "mouthShrugLower": 0.3, "jawOpen": 0.08,
        "mouthClose": 0.1, "cheekPuff": 0.12}  # fmt: skip


@dataclass(frozen=True)
class Visit:
    """What is particular to one session.

    ``pose`` to ``occlusion`` are Photoface's labels. ``lights`` (k, 3) are the true unit directions towards the
    flashes, ``recorded`` the ones that the rig believes; ``gains`` (k,) their strengths. ``angles`` are yaw, pitch and
    roll of the head in degrees; ``drift`` (k, 2) pixels of a 256 px frame. ``texture`` seeds what is re-drawn on the
    skin. ``mask`` is what is worn over nose and mouth; ``masked`` is None in a data set without masks, whose metadata
    say nothing of them.
    """

    subject: int
    number: int
    when: datetime
    rig: str
    age: float
    gender: str
    spectacles: str
    facial_hair: str
    pose: str
    quality: str
    occlusion: str
    expression: str
    eyes_closed: bool
    actions: dict[str, float]
    angles: np.ndarray
    field: float  # mm across the frame
    place: np.ndarray  # (2,) of the face's middle in the frame, mm from its centre
    lights: np.ndarray
    recorded: np.ndarray
    gains: np.ndarray
    drift: np.ndarray
    exposure: float
    blur: float  # standard deviation in pixels of a 256 px frame
    tint: np.ndarray  # (3,) factors of skin, hair, lips
    haircut: np.ndarray  # (6,) factor of its length, shifts of the hairline's knots in mm
    loose: bool  # long hair worn loose
    cloth: float
    collar: float  # shift of the neckline upwards, mm
    stubble: float
    props: int  # seed of spectacles' style and of what occludes
    texture: int
    masked: bool | None = None
    mask: Design | None = None
    twin: bool = False  # the same visit is also photographed without its mask

    @property
    def name(self) -> str:
        """The folder's name, as Photoface's; that of a masked twin says so."""
        return self.when.strftime("%Y-%m-%d_%H-%M-%S") + (TWIN if self.twin else "")


def visit_counts(params: Simulate) -> list[int]:
    """Sessions of each subject; ``photoface`` draws the database's skew: 1 to 290, median 2."""
    if isinstance(params.sessions, int):
        return [params.sessions] * params.subjects
    rng = np.random.default_rng(np.random.SeedSequence([params.seed, 2**31]))
    return [int(n) for n in np.clip(np.floor(1 + rng.pareto(0.85, params.subjects) * 1.2), 1, 290)]


def draw_visit(params: Simulate, subject: Subject, number: int) -> Visit:
    """Session ``number`` of a subject."""
    rng = np.random.default_rng(np.random.SeedSequence([params.seed, subject.index, number]))
    frequencies, variation, effects = params.frequencies, params.variation, params.effects
    age = age_of(params, subject, number)
    pose, expression = _pick(rng, frequencies.pose), _pick(rng, frequencies.expression)
    hair, quality = _pick(rng, frequencies.facial_hair), _pick(rng, frequencies.quality)
    rig = params.rigs[(number + subject.index) % len(params.rigs)]
    lights, recorded = _lights(rng, rig, effects.light_error)
    yaw = rng.uniform(*YAW_OF_POSE[pose]) * rng.choice([-1, 1])
    actions = _actions(rng, expression, variation.expression)
    drift = np.cumsum(rng.normal(0, effects.motion / np.sqrt(2), (len(lights), 2)), axis=0)
    return Visit(
        subject=subject.index,
        number=number,
        when=FIRST_DAY + timedelta(days=int(17 * number + rng.integers(0, 15)), seconds=int(rng.integers(0, 36_000))),
        rig=rig.name,
        age=float(age),
        gender=subject.gender,
        spectacles=_pick(rng, frequencies.spectacles),
        facial_hair=_grown(hair, age) if subject.gender == "male" else "none",
        pose=pose,
        quality=quality,
        occlusion=_pick(rng, frequencies.occlusion),
        expression=expression,
        eyes_closed=actions.get("eyeBlinkLeft", 0) > 0.7 and actions.get("eyeBlinkRight", 0) > 0.7,
        actions=actions,
        angles=np.array([yaw, rng.normal(0, variation.pitch), rng.normal(0, variation.roll)]),
        field=float(rng.uniform(268, 300)) * head_size(subject, age),
        place=rng.normal(0, 6, 2),
        lights=lights,
        recorded=recorded,
        gains=_gains(rng, rig, effects.strobe_gains),
        drift=drift - drift[0],
        exposure=float(rng.uniform(0.20, 0.36) if quality == "dark" else rng.uniform(1.0, 1.15)),
        blur=float(rng.uniform(1.6, 2.8) if quality == "blur" else 0.0),
        tint=np.exp(variation.skin * _bounded(rng, 3)),
        haircut=np.append(np.exp(4 * variation.skin * _bounded(rng, 1)), 35 * variation.skin * _bounded(rng, 5)),
        loose=bool(rng.random() < 0.6),
        cloth=float(rng.uniform(0.05, 0.7)),
        collar=float(rng.uniform(-12, 14)),
        stubble=float(rng.uniform(0.25, 1.0)),
        props=int(rng.integers(2**31)),
        texture=int(rng.integers(2**31)),
    )


def draw_masks(params: Simulate, visit: Visit) -> list[Visit]:
    """The visit as it is photographed: bare, masked, or both; nothing else of it depends on that."""
    if params.masks == 0:
        return [visit]
    rng = np.random.default_rng(np.random.SeedSequence([params.seed, visit.subject, visit.number, 2]))
    bare = replace(visit, masked=False)
    if rng.random() >= params.masks:
        return [bare]
    worn = replace(visit, masked=True, mask=draw_design(rng, params.mask_designs), twin=params.mask_twins)
    return [bare, worn] if params.mask_twins else [worn]


def age_of(params: Simulate, subject: Subject, number: int) -> float:
    """Years of a subject at a session.

    Of a range, ages follow the golden ratio, which spreads however many over it: those of each subject begin anywhere.
    """
    ages = params.ages
    if not ages:
        return subject.age
    if not isinstance(ages, Ages):
        return ages[number % len(ages)]
    turn, _ = divmod(number, ages.together)
    start = np.random.default_rng(np.random.SeedSequence([params.seed, subject.index, AGES])).random()
    later = np.random.default_rng(np.random.SeedSequence([params.seed, subject.index, AGES, number])).random()
    share = (start + turn * GOLDEN) % 1.0
    return round(ages.youngest + share * (ages.oldest - ages.youngest - 1) + later, 2)


def at_age(visit: Visit, subject: Subject, years: float) -> Visit:
    """The same session, had the subject another age: nothing else is drawn anew, but children have no beard, and their
    heads fill the frame as adults' do.
    """
    zoom = head_size(subject, years) / head_size(subject, visit.age)
    return replace(visit, age=years, field=visit.field * zoom, facial_hair=_grown(visit.facial_hair, years))


def head_size(subject: Subject, years: float) -> float:
    """Size of a head as a share of the adult's; 1 for subjects who do not age."""
    return growth.head_size(years, subject.rates) if subject.rates else 1.0


def _grown(hair: str, years: float) -> str:
    return hair if years >= ADULT else "none"


def groomed(subject: Subject, visit: Visit) -> Subject:
    """The subject as it looks at a session: at its age, with its haircut."""
    looks = aged_looks(subject, visit.age)
    return replace(
        subject,
        looks=replace(
            looks,
            hair_length=float(np.clip(looks.hair_length * visit.haircut[0], 2.0, 26.0)),
            hairline=looks.hairline + visit.haircut[1:],
            long_hair=looks.long_hair and visit.loose,
        ),
    )


def _bounded(rng: np.random.Generator, count: int) -> np.ndarray:
    """Normal deviates (count,) within 2.5 standard deviations."""
    return np.clip(rng.normal(size=count), -2.5, 2.5)


def _pick(rng: np.random.Generator, weights: Mapping[Any, float]) -> str:
    """One name, drawn by weight, whatever the order in which the names were written."""
    names = sorted(weights)
    shares = np.cumsum([weights[name] for name in names])
    return names[min(int(np.searchsorted(shares, rng.random() * shares[-1], side="right")), len(names) - 1)]


def _lights(rng: np.random.Generator, rig: Rig, error: float) -> tuple[np.ndarray, np.ndarray]:
    """True and recorded directions (k, 3): the recorded ones are the rig's own, the true ones lie beside them."""
    recorded = from_angles([x.zenith for x in rig.lights], [x.azimuth for x in rig.lights])
    step = np.deg2rad(error / np.sqrt(2)) * rng.normal(size=recorded.shape)
    true = recorded + step - np.sum(step * recorded, axis=1, keepdims=True) * recorded
    return true / np.linalg.norm(true, axis=1, keepdims=True), recorded


def _gains(rng: np.random.Generator, rig: Rig, spread: float) -> np.ndarray:
    """True strengths (k,) of a rig's flashes, which no two sessions have alike."""
    strengths = np.array([light.strength for light in rig.lights])
    return np.asarray(strengths * (1 + spread * np.clip(rng.normal(size=len(strengths)), -3, 3)))


def _actions(rng: np.random.Generator, expression: str, scale: float) -> dict[str, float]:
    """Weights of facial actions in [0, 1]; even a blank stare is never the same twice."""
    sided = {name: rng.uniform(0, high) for name, high in CALM.items() if rng.random() < 0.5}
    presets = {"positive": SMILES, "negative": FROWNS, "emoOther": OTHERS}.get(expression)
    if presets:
        chosen = presets[rng.integers(len(presets))]
        strength = rng.uniform(0.6, 1.0)
        sided |= {name: high * (1.0 if name == "eyeBlink" else strength) for name, high in chosen.items()}
    weights: dict[str, float] = {}
    for name, value in sided.items():
        if name in human().actions:
            weights[name] = value
        for side in ("Left", "Right"):
            if name + side in human().actions:
                weights[name + side] = value * rng.uniform(0.75, 1.1)
    weights |= _gaze(*rng.normal(0, 0.22, 2))
    return {name: float(np.clip(scale * value, 0, 1)) for name, value in weights.items()}


def _gaze(across: float, up: float) -> dict[str, float]:
    """Both eyes looking to the subject's left (``across`` > 0) and up."""
    sides = ("Out", "In") if across > 0 else ("In", "Out")
    vertical = "Up" if up > 0 else "Down"
    return {
        f"eyeLook{sides[0]}Left": abs(across),
        f"eyeLook{sides[1]}Right": abs(across),
        f"eyeLook{vertical}Left": abs(up),
        f"eyeLook{vertical}Right": abs(up),
    }
