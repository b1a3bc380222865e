"""What age does to somebody's looks: hair, brows, moles; wrinkles and the skin's tone, drawn where rays meet the skin.

Where somebody's wrinkles and spots lie is drawn once for life, from the subject's rates of ageing; with the years they
deepen and show one after the other. Wrinkles are heights in mm, which turn the normals and lower the depth together.

References: I. Pitanguy et al., Plastic and Reconstructive Surgery 102(1), 1998 (folds and their order). G. Lemperle et
al., "A classification of facial wrinkles", Plastic and Reconstructive Surgery 108(6), 2001 (the lines drawn here).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from stages.simulate import fields, growth, noise
from stages.simulate.human import human
from stages.simulate.subject import Looks, Mole, Subject, face_quads

GREY = 0.52  # albedo of grey hair
CORNER = np.array([43.0, 729.0])  # of an eye, on the side where |x| is large


def aged_looks(subject: Subject, years: float) -> Looks:
    """The stable looks of a subject at an age; they are those drawn where it does not age."""
    looks, rates = subject.looks, subject.rates
    if rates is None:
        return looks
    young, old = growth.childhood(years, rates), min(growth.decline(years, rates), 1.4)
    grey = grey_share(years, rates)
    brows = looks.brows.copy()
    brows[3] *= 1 - 0.30 * young
    brows[4] *= 1 - 0.40 * young - (0.20 * old if subject.gender == "female" else 0.0)
    brows[5] *= 1 - 0.30 * young - 0.25 * grey
    back = rates.recede * float(fields.ramp(np.array(years), 22, 80))
    return replace(
        looks,
        lips=looks.lips + (0.95 - looks.lips) * 0.5 * min(old, 1.0),
        freckles=looks.freckles * (1 - 0.5 * min(old, 1.0)),
        shine=looks.shine * (1 - 0.3 * young) * (1 - 0.45 * min(old, 1.0)),
        eyeshade=looks.eyeshade * (1 - 0.6 * young) + 0.10 * old,
        hair=looks.hair * (1 + 0.35 * young) * (1 - grey) + GREY * grey,
        brows=brows,
        hairline=looks.hairline + back * np.array([1.0, 1.5, 0.9, 0.2, 0.0]),
        bald=looks.bald and years >= 45,
        hair_length=looks.hair_length * (1 - 0.2 * min(old, 1.0)),
        moles=(*(replace(mole, radius=mole.radius * (1 - 0.5 * young)) for mole in looks.moles), *_spots(rates, years)),
    )


def grey_share(years: float, rates: growth.Rates) -> float:
    """Of the hair: half at the age ``rates.grey``, most ten years later."""
    return float(0.95 / (1 + np.exp(-(years - rates.grey) / 5.5)) * fields.ramp(np.array(years), 28, 40))


def _spots(rates: growth.Rates, years: float) -> tuple[Mole, ...]:
    """Spots of age (solar lentigines): flat, pale, more of them each decade."""
    rng = np.random.default_rng(rates.seed)
    mesh, face = human().mesh, face_quads()
    spots = []
    for quad in rng.choice(face, size=rates.spots):
        place = rng.dirichlet((1, 1, 1, 1)) @ mesh.vertices[mesh.quads[quad]]
        radius, darkness, since = rng.uniform(1.2, 3.4), rng.uniform(0.08, 0.26), rng.uniform(38, 80)
        if (shown := float(fields.ramp(np.array(growth.apparent(years, rates)), since, since + 12))) > 0:
            spots.append(Mole(place, radius, darkness * shown, raised=False))
    return tuple(spots)


def wrinkles(place: np.ndarray, rates: growth.Rates, years: float) -> np.ndarray:
    """Heights (N,) mm of all lines at places (N, 3) of the template: negative in a furrow."""
    old = growth.decline(years, rates)
    height = np.zeros(len(place), np.float32)
    if old == 0:
        return height
    front = np.flatnonzero(place[:, 2] > 60)
    at = np.take(place.T, front, axis=1).T
    rng = np.random.default_rng(rates.seed + 1)
    depth = rates.fold * min(old, 1.5)
    lines = _forehead(at, rng) + _crows_feet(at, rng) + _frown(at, rng) + _folds(at, rng) + _mouth(at, rng)
    height[front] = depth * (lines - 0.045 * _crepe(at, rng) * fields.ramp(at[:, 2], 70, 100))
    return height


def _forehead(place: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Three to five lines across, wavy, each of its own length."""
    x, y = place[:, 0], place[:, 1]
    height = np.zeros(len(place))
    for level in np.arange(757, 757 + 9.0 * rng.integers(3, 6), 9.0) + rng.normal(0, 1.2):
        line = level + rng.normal(0, 1.0) + 2.2 * np.sin(x / rng.uniform(14, 22) + rng.uniform(0, 6)) - 0.002 * x**2
        ends = fields.ramp(-np.abs(x - rng.normal(0, 5)), -rng.uniform(34, 52), -20)
        height -= rng.uniform(0.25, 0.5) * _groove(y - line, rng.uniform(0.9, 1.5)) * ends
    return height * fields.ramp(place[:, 2], 90, 110)


def _crows_feet(place: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Rays from the outer corners of the eyes, and arcs below the lids."""
    height = np.zeros(len(place))
    for side in (-1, 1):
        x, y = side * place[:, 0] - CORNER[0], place[:, 1] - CORNER[1]
        away, angle = np.hypot(x, y), np.arctan2(y, np.maximum(x, -3) + 4.0)
        for ray in np.linspace(-0.85, 0.75, rng.integers(3, 6)) + rng.normal(0, 0.08):
            reach = rng.uniform(14, 24)
            along = fields.ramp(away, 3, 7) * fields.ramp(-away, -reach, -0.6 * reach) * (x > -2)
            height -= rng.uniform(0.3, 0.5) * along * _groove((angle - ray) * np.maximum(away, 4), 0.9)
        bag_x, bag_y = side * place[:, 0] - 29.0, place[:, 1] - 728.4
        away = np.hypot(bag_x, 1.15 * bag_y)
        below = fields.ramp(-bag_y, 4, 9) * fields.ramp(-np.abs(bag_x), -17, -9)
        height -= 0.45 * below * _groove(away - rng.uniform(20, 22), 1.3)
        height += 0.7 * below * np.exp(-(((away - 16.5) / 3.0) ** 2))
    return height


def _frown(place: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Two lines between the brows."""
    x, y = place[:, 0], place[:, 1]
    ends = fields.ramp(y, 737, 745) * fields.ramp(-y, -766, -756)
    lines = (_groove(x - side * rng.uniform(4, 7) - 0.06 * side * (y - 748), 1.0) for side in (-1, 1))
    return np.asarray(-rng.uniform(0.2, 0.6) * ends * sum(lines))


def _folds(place: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """From the wings of the nose to the corners of the mouth and on to the jaw."""
    y = place[:, 1]
    height = np.zeros(len(place))
    out = rng.uniform(-2, 2)
    for side in (-1, 1):
        x = side * place[:, 0]
        fold = np.interp(y, [636, 648, 661, 676, 690, 697], [32 + out, 30 + out, 33 + out, 27 + out / 2, 21, 19])
        nasolabial = fields.ramp(y, 656, 664) * fields.ramp(-y, -700, -694)
        jaw = fields.ramp(y, 632, 641) * fields.ramp(-y, -663, -656)
        height -= (0.9 * nasolabial + 0.7 * jaw) * _groove(x - fold, 1.7)
        height += 0.7 * nasolabial * np.exp(-(((x - fold - 6) / 4.0) ** 2))
    return height * fields.ramp(place[:, 2], 95, 115)


def _mouth(place: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Short upright lines above the lips, and a furrow above the chin."""
    x, y = place[:, 0], place[:, 1]
    lip = fields.ramp(y, 668, 672) * fields.ramp(-y, -684, -677) * fields.ramp(-np.abs(x), -24, -18)
    teeth = np.cos(2 * np.pi * (x + 1.5 * np.sin(x / 5 + rng.uniform(0, 6))) / rng.uniform(4.5, 6))
    chin = fields.ramp(-np.abs(x), -16, -8) * _groove(y - 645 + 0.01 * x**2, 1.6)
    return np.asarray((-0.16 * lip * np.maximum(0, teeth) ** 2 - 0.4 * chin) * (place[:, 2] > 120))


def _crepe(place: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Fine creases everywhere, of zero mean, where they lie drawn for life."""
    shift = rng.uniform(0, noise.SIZE, 2)
    across = fields.azimuth(place) * 300.0
    texels = noise.Texels(across + shift[0], 4.0 * (place[:, 1] - 0.7 * place[:, 2]) + shift[1])
    return texels.of(noise.band(9.0)) + 0.8 * texels.of(noise.band(16.0))


def _groove(distance: np.ndarray, width: float) -> np.ndarray:
    """1 in the middle of a line, 0 beyond a few ``width`` mm."""
    return np.asarray(np.exp(-((distance / width) ** 2)))


def complexion(place: np.ndarray, rates: growth.Rates, years: float) -> np.ndarray:
    """Factor (N,) of the skin's albedo: even in youth, ruddy cheeks of a child, blotched in age."""
    young, old = growth.childhood(years, rates), min(growth.decline(years, rates), 1.3)
    factor = np.ones(len(place), np.float32) * (1 - 0.05 * old)
    if young > 0:
        cheeks = np.exp(-((np.abs(place[:, 0]) - 40) ** 2 + (place[:, 1] - 690) ** 2) / (2 * 13**2))
        factor *= 1 - 0.05 * young * cheeks * fields.ramp(place[:, 2], 70, 110)
    if old > 0:
        shift = np.random.default_rng(rates.seed + 2).uniform(0, noise.SIZE, 2)
        across, down = fields.azimuth(place) * 300.0, 4.0 * (place[:, 1] - 0.7 * place[:, 2])
        texels = noise.Texels(across + shift[0], down + shift[1])
        blotches = texels.of(noise.band(60.0)) + 0.6 * texels.of(noise.band(24.0))
        factor *= np.exp(-0.05 * rates.mottle * old * blotches)
    return factor
