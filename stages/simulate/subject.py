"""Who is photographed: what stays the same about a person over all sessions, drawn from (seed, subject) alone."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np

from pipeline.params import Simulate
from stages.simulate import growth
from stages.simulate.human import human

# What would turn one face into a caricature of another, or into nobody's, at the strength of the other changes.
GENTLE = ("head-trans", "head-angle", "mouth-trans-out", "nose-trans-out", "neck", "measure-neck")
CLIP = 0.75
Weights = tuple[tuple[str, float], ...]
AGE_ANCHORS = ((1.0, 11.0, 25.0, 90.0), (0.0, 1 / 3, 2 / 3, 1.0))  # years and Anny's age


@dataclass(frozen=True)
class Mole:
    """A dark spot at a place (3,) of the template, mm; ``darkness`` in [0, 1]; a mole is raised, a spot of age flat."""

    place: np.ndarray
    radius: float
    darkness: float
    raised: bool = True


@dataclass(frozen=True)
class Looks:
    """The stable appearance of a subject: albedos in [0, 1], lengths in mm of the template."""

    skin: float
    lips: float  # times the skin's albedo
    freckles: float  # share of the skin that they cover where they are densest
    shine: float  # of the skin's oil
    eyeshade: float  # how dark the rings below the eyes are
    iris: float
    hair: float
    brows: np.ndarray  # (6,) height at the nose, arch, length, thickness, density, darkness
    hairline: np.ndarray  # (5,) shift of the hairline's knots upwards
    hair_length: float  # of the scalp's hair above the skin
    long_hair: bool
    bald: bool
    beard_reach: float  # shift of the beard's upper line upwards
    moles: tuple[Mole, ...]


@dataclass(frozen=True)
class Subject:
    """One person: the shape's weights, an age in years, looks; ``rates`` of ageing where sessions are years apart."""

    index: int
    gender: str
    age: float
    phenotypes: dict[str, float]
    local: dict[str, float]
    asymmetry: dict[str, float]
    looks: Looks
    rates: growth.Rates | None = None

    @property
    def name(self) -> str:
        """The folder's name, four digits as Photoface's."""
        return f"{1001 + self.index:04d}"


def draw_subject(params: Simulate, index: int) -> Subject:
    """Subject ``index`` of a data set; the same whatever else is simulated."""
    rng = np.random.default_rng(np.random.SeedSequence([params.seed, index]))
    weights = params.frequencies.gender
    female = rng.random() < weights.get("female", 0.0) / sum(weights.values())
    age = float(np.clip(18 + rng.gamma(2.2, 9.0), 18, 75))
    african, asian, caucasian = rng.dirichlet((0.6, 0.6, 0.9))
    phenotypes = {
        "gender": float(np.clip(rng.normal(0.95 if female else 0.05, 0.08), 0, 1)),
        "weight": float(np.clip(rng.normal(0.5, 0.15), 0.1, 0.9)),
        "muscle": float(np.clip(rng.normal(0.5, 0.15), 0.1, 0.9)),
        "african": float(african),
        "asian": float(asian),
        "caucasian": float(caucasian),
    }
    return Subject(
        index=index,
        gender="female" if female else "male",
        age=age,
        phenotypes=phenotypes,
        local=_local_changes(rng, params.variation.shape, params.variation.asymmetry),
        asymmetry={name: float(rng.uniform(0.1, 0.6)) for name in human().asymmetries if rng.random() < 0.12},
        looks=_looks(rng, female, float(african), float(asian)),
        rates=_rates(params.seed, index, female) if params.ages else None,
    )


def _rates(seed: int, index: int, female: bool) -> growth.Rates:
    """Drawn apart, so that whoever ages is the subject of the same number who does not."""
    return growth.draw_rates(np.random.default_rng(np.random.SeedSequence([seed, index, 2**31])), female=female)


def _local_changes(rng: np.random.Generator, sd: float, asymmetry: float) -> dict[str, float]:
    changes: dict[str, float] = {}
    for label in human().local_changes:
        if label.startswith("r-"):
            value = changes["l-" + label[2:]] + rng.normal(0, asymmetry)
        else:
            value = rng.normal(0, sd * (0.25 if label.startswith(GENTLE) else 1.0))
        changes[label] = float(np.clip(value, -CLIP, CLIP))
    return changes


def _looks(rng: np.random.Generator, female: bool, african: float, asian: float) -> Looks:
    skin = float(np.clip(0.66 - 0.40 * african - 0.06 * asian + rng.normal(0, 0.05), 0.20, 0.75))
    dark_hair = african + asian > 0.5 or rng.random() < 0.45
    bald = not female and rng.random() < 0.10
    return Looks(
        skin=skin,
        lips=float(rng.uniform(0.66, 0.92)),
        freckles=float(max(0.0, rng.normal(-0.05, 0.20)) * (skin > 0.5)),
        shine=float(rng.uniform(0.5, 1.5)),
        eyeshade=float(rng.uniform(0.0, 0.22)),
        iris=float(rng.uniform(0.06, 0.14) if dark_hair else rng.uniform(0.10, 0.35)),
        hair=float(rng.uniform(0.03, 0.08) if dark_hair else rng.uniform(0.08, 0.38)),
        brows=np.array(
            [
                rng.normal(0, 1.6),
                rng.uniform(0.5, 4.0) + 1.5 * female,
                rng.uniform(30, 38),
                rng.uniform(3.6, 6.2) - 1.3 * female,
                rng.uniform(0.65, 1.0),
                rng.uniform(0.75, 1.0),
            ]
        ),
        hairline=rng.normal(0, [5, 7 - 3 * female, 5, 4, 6]) + np.array([6, 10, 3, 0, 0]) * (not female),
        hair_length=float(rng.uniform(9, 22) if female else rng.choice([rng.uniform(2.5, 7), rng.uniform(7, 18)])),
        long_hair=bool(rng.random() < (0.65 if female else 0.04)),
        bald=bald,
        beard_reach=float(rng.normal(0, 4)),
        moles=_moles(rng),
    )


def _moles(rng: np.random.Generator) -> tuple[Mole, ...]:
    mesh = human().mesh
    moles = []
    for quad in rng.choice(face_quads(), size=rng.integers(2, 14)):
        corners = mesh.vertices[mesh.quads[quad]]
        place = rng.dirichlet((1, 1, 1, 1)) @ corners
        moles.append(Mole(place, float(0.5 + rng.gamma(2.0, 0.35)), float(rng.uniform(0.25, 0.8))))
    return tuple(moles)


@cache
def face_quads() -> np.ndarray:
    """The quads of the template's face."""
    mesh = human().mesh
    middle = mesh.vertices[mesh.quads].mean(1)
    return np.flatnonzero((mesh.part == 0) & (middle[:, 2] > 85) & (middle[:, 1] > 610))


def anny_age(years: float) -> float:
    """Years on Anny's scale (0 baby, 1/3 child, 2/3 young, 1 old)."""
    return float(np.interp(years, *AGE_ANCHORS))


def rest_shape(subject: Subject, years: float) -> np.ndarray:
    """Coarse vertices (V, 3) mm of a subject at an age, without expression or pose."""
    rates = subject.rates
    phenotypes = {**subject.phenotypes, "age": growth.anny_age(years, rates) if rates else anny_age(years)}
    # a child's features are less marked
    marked = growth.marked(years, rates) if rates else float(np.clip((years - 3) / 15, 0.35, 1.0))
    local = {name: value * marked for name, value in subject.local.items()}
    shape = _shape(tuple(phenotypes.items()), tuple(local.items()), tuple(subject.asymmetry.items()))
    return shape + growth.offsets(human().mesh.vertices, years, rates) if rates else shape


@lru_cache(maxsize=1)  # a subject's sessions are made one after the other
def _shape(phenotypes: Weights, local: Weights, asymmetry: Weights) -> np.ndarray:
    shape = human().vertices(dict(phenotypes), dict(local), dict(asymmetry))
    shape.flags.writeable = False
    return shape
