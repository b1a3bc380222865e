"""Designs of face masks: their types, and the patterns that are printed on them.

A design is named ``type/pattern``, such as ``cloth/dots``. The types are those of MaskTheFace [1]_; half of the masks
are of one colour and half patterned, as MTArcFace [2]_ trains on. The simulator wears them as geometry, `maskpaint`
paints them on photographs.

References
----------
.. [1] A. Anwar, A. Raychowdhury, "Masked face recognition for secure authentication", 2020. arXiv:2008.11104
.. [2] D. Montero, M. Nieto, P. Leskovsky, N. Aginako, "Boosting masked face recognition with multi-task ArcFace", 2021.
   arXiv:2104.09874
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

TYPES = ("surgical", "n95", "kn95", "cloth", "gas")
PATTERNS = ("plain", "stripes", "checks", "dots", "print")
TONES = {  # albedos of the ground that masks of a type are made in, as ranges; the eye of the rig sees grey
    "surgical": ((0.40, 0.56), (0.62, 0.80), (0.05, 0.10)),
    "n95": ((0.58, 0.80),),
    "kn95": ((0.62, 0.80), (0.05, 0.10), (0.30, 0.50)),
    "cloth": ((0.05, 0.20), (0.20, 0.50), (0.50, 0.80)),
    "gas": ((0.04, 0.12), (0.15, 0.30)),
}
TWIN = "-masked"  # ends the name of a session of which there is another without the mask
CONTRAST = 0.15  # least difference of a pattern's two albedos
EDGE = 1.0  # mm over which a pattern's colours change


@dataclass(frozen=True)
class Design:
    """One mask's looks: its type, its pattern, the albedos of its ground and of its ink, and a seed for the rest."""

    type: str
    pattern: str
    ground: float
    ink: float
    seed: int

    @property
    def name(self) -> str:
        """As the metadata of a session has it, ``type/pattern``."""
        return f"{self.type}/{self.pattern}"


def expand(designs: Sequence[str]) -> list[tuple[str, str]]:
    """The (type, pattern) of names of designs; a type alone stands for all its patterns.

    Raises
    ------
    ValueError
        A name is none.
    """
    found: dict[tuple[str, str], None] = {}
    for name in designs:
        kind, _, pattern = name.partition("/")
        if kind not in TYPES or (pattern not in PATTERNS if "/" in name else False):
            raise ValueError(f"no mask `{name}`; a type ({', '.join(TYPES)}), or type/pattern ({', '.join(PATTERNS)})")
        found |= dict.fromkeys((kind, each) for each in ((pattern,) if pattern else PATTERNS))
    return list(found)


def draw_design(rng: np.random.Generator, designs: Sequence[str] = TYPES) -> Design:
    """A design of those named: types alike, half of them plain where there are plain and patterned ones."""
    known = expand(designs)
    kind = str(rng.choice(sorted({kind for kind, _ in known})))
    patterns = [pattern for each, pattern in known if each == kind]
    printed = [pattern for pattern in patterns if pattern != "plain"]
    plain = rng.random() < 0.5
    pattern = str(rng.choice(printed)) if printed and not (plain and "plain" in patterns) else "plain"
    low, high = TONES[kind][rng.integers(len(TONES[kind]))]
    ground, ink = rng.uniform(low, high), rng.uniform(0.04, 0.8)
    if abs(ink - ground) < CONTRAST:
        ink = ground - 2 * CONTRAST if ground > 0.4 else ground + 2 * CONTRAST
    return Design(kind, pattern, float(ground), float(ink), int(rng.integers(2**31)))


def figure(design: Design, across: np.ndarray, down: np.ndarray) -> np.ndarray:
    """How much of each place is inked, in [0, 1].

    Parameters
    ----------
    across, down : ndarray, of one shape
        Millimetres on the cloth, from its middle to the image's right and downwards.
    """
    rng = np.random.default_rng(design.seed)
    turn, period = rng.uniform(-0.6, 0.6), rng.uniform(9.0, 20.0)
    if design.pattern == "checks":
        turn *= 0.3
    u, v = across * np.cos(turn) + down * np.sin(turn), down * np.cos(turn) - across * np.sin(turn)
    if design.pattern == "plain":
        return np.zeros(np.shape(across))
    if design.pattern == "stripes":
        along = u if rng.random() < 0.5 else v
        return _inside(_from_line(along, period), period * rng.uniform(0.15, 0.3))
    if design.pattern == "checks":
        width = period * rng.uniform(0.15, 0.28)
        return 0.5 * _inside(_from_line(u, period), width) + 0.5 * _inside(_from_line(v, period), width)
    if design.pattern == "dots":
        v = v + period / 2 * (np.round(u / period) % 2)
        return _inside(np.hypot(_from_line(u, period), _from_line(v, period)), period * rng.uniform(0.2, 0.36))
    waves = rng.normal(size=(7, 2))
    waves *= 2 * np.pi / (1.6 * period) / np.linalg.norm(waves, axis=1, keepdims=True)
    phases = rng.uniform(0, 2 * np.pi, 7)
    heights = sum(np.sin(a * across + b * down + c) for (a, b), c in zip(waves, phases, strict=True)) / 1.9
    return _inside(-np.asarray(heights) * period / 3, 0.0)  # a print: blobs without an order


def _from_line(along: np.ndarray, period: float) -> np.ndarray:
    """Distance to the nearest multiple of a period."""
    return np.abs(along - period * np.round(along / period))


def _inside(distance: np.ndarray, reach: float) -> np.ndarray:
    """1 within a reach, 0 beyond, smooth over `EDGE`."""
    return np.asarray(np.clip((reach - distance) / EDGE + 0.5, 0, 1))
