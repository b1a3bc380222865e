"""What a person should look at in a data set before any time is spent on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pipeline.images import SUFFIXES
from pipeline.sessions import Session
from stages.ingest.check_inspect import Inspection
from stages.ingest.check_pixels import Look
from stages.ingest.readers import visible

GOOD_CONDITION = 5.0  # a ring of flashes 16 degrees off the axis (docs/own-data.md)
SAME = 0.1  # degrees between two directions that are one
SATURATED = 0.01  # share of the samples
DIM = 0.1  # of the scale: what the brightest pixels should exceed
HOLLOW = -0.1  # median correlation; real faces give .8 along x and .3 and more along y
MANY_RIGS = 8
LEAST_SUBJECTS = 6  # who came twice: training, validation and test take two and more
SHOWN = 4


def warnings_of(found: Inspection, *, training: bool = True) -> list[str]:
    """A line for each thing that looks wrong or will be in the way later (of training too); none where all is well."""
    people = _people(found) if training else ()
    return [*_frames(found), *_lights(found), *people, *_pixels(found)]


def _frames(found: Inspection) -> Iterator[str]:
    counts = found.frame_counts
    if len(counts) > 1:
        usual = counts.most_common(1)[0][0]
        odd = [s.id for s in found.sessions if len(s.frames) != usual]
        yield (
            f"sessions differ in their number of frames: most have {usual}, {len(odd)} do not ({_some(odd)}); "
            "`psface crop` wants one number: move the others to a data set of their own"
        )
    if len(sizes := {(k.height, k.width) for k, _ in found.kinds}) > 1:
        yield f"frames are of {len(sizes)} sizes, {_range(found)}: faces are cut to one size, small ones blur"
    unread = [f"{s.id}: {name}" for s in found.sessions if s.source == "folder" for name in _unread(s)]
    if unread:
        yield f"{_number(len(unread), 'picture')} that no row of lights.csv names, and nobody reads: {_some(unread)}"
    encoded: dict[str, int] = {}
    known = all(s.camera.transfer is not None for s in found.sessions)
    for kind, number in found.kinds:
        if kind.encoded and not known:
            encoded[kind.encoded] = encoded.get(kind.encoded, 0) + number
    for sign, number in encoded.items():
        what = "are JPEG" if sign == "JPEG" else f"carry {sign}"
        yield (
            f"{number} frames {what}: such values are rarely linear; develop the raw files without a tone curve, or "
            "name the curve by ingest.transfer: srgb"
        )


def _unread(session: Session) -> list[str]:
    """The pictures in a session's folder that are none of its frames."""
    used = {Path(name).name for name in (*session.frames, session.ambient or "")}
    beside = visible(Path(session.frames[0]).parent)
    return [path.name for path in beside if path.suffix.lower() in SUFFIXES and path.name not in used]


def _lights(found: Inspection) -> Iterator[str]:
    bad = [rig for rig in found.rigs if rig.condition > GOOD_CONDITION]
    if bad:
        worst = max(bad, key=lambda rig: rig.condition)
        yield (
            f"the lights of {_number(len(bad), 'rig')} are close to one plane or one another (condition up to "
            f"{worst.condition:.1f}, {worst.name}): noise grows by as much; move the flashes apart"
        )
    twice = [session.id for session in found.sessions if _repeated(session.lights)]
    if twice:
        yield (
            f"two flashes have one direction in {_number(len(twice), 'session')} ({_some(twice)}): a row copied and "
            "not changed, or one flash photographed twice?"
        )
    if len(found.rigs) > MANY_RIGS and len(found.rigs) > len(found.sessions) / 4:
        yield (
            f"{len(found.rigs)} sets of lights in {len(found.sessions)} sessions: give those of one rig the same "
            "lights, or name the rig in labels.csv"
        )


def _repeated(lights: np.ndarray) -> bool:
    """Whether two of the lights (k, 3) are less than `SAME` apart; unknown ones are not."""
    cosine = np.triu(lights @ lights.T, k=1)
    return bool((cosine > np.cos(np.deg2rad(SAME))).any())


def _people(found: Inspection) -> Iterator[str]:
    subjects = found.subjects
    once = sum(n == 1 for n in subjects.values())
    if len(subjects) - once < LEAST_SUBJECTS:
        yield (
            f"{_number(len(subjects) - once, 'subject')} with two sessions or more: training needs {LEAST_SUBJECTS} "
            "(two each to train on, to validate and to test); maps and faces need none"
        )
    elif once > len(subjects) / 2:
        yield f"{once} of {len(subjects)} subjects have one session: they cannot be recognised again"
    lacking = [name for name in found.told if name not in found.learnable()]
    if lacking:
        yield f"labels of {', '.join(lacking)} are of one class or missing: nothing can be learnt of them"


def _pixels(found: Inspection) -> Iterator[str]:
    looks = found.looks
    bright = [look.session for look in looks if look.saturated > SATURATED]
    if bright:
        yield f"more than {SATURATED:.0%} of the samples are saturated in {_of(bright, looks)}: expose less"
    dim = [look.session for look in looks if look.brightest < DIM]
    if dim:
        yield f"the frames stay below {DIM:.0%} of their scale in {_of(dim, looks)}: expose more, or rescale them"
    unlit = [f"{look.session}: {name}" for look in looks for name in look.unlit]
    if unlit:
        yield f"{_number(len(unlit), 'frame')} dark beside the others, as if the flash had not fired: {_some(unlit)}"
    if looks:
        for axis, value in zip("xy", np.median([look.bulge for look in looks], axis=0), strict=True):
            if value < HOLLOW:
                yield (
                    f"faces look hollow along {axis}: the lights' {axis} points the wrong way (x is the image's right, "
                    "y up), or frames and lights are in different orders"
                )


def _of(some: list[str], looks: list[Look]) -> str:
    return f"{len(some)} of {len(looks)} sessions looked at ({_some(some)})"


def _some(items: list[str]) -> str:
    return ", ".join(items[:SHOWN]) + (", ..." if len(items) > SHOWN else "")


def _number(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def _range(found: Inspection) -> str:
    sizes = sorted({(k.width * k.height, f"{k.width} x {k.height}") for k, _ in found.kinds})
    return f"from {sizes[0][1]} to {sizes[-1][1]}"
