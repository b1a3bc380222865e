"""An inspection for a person, as text, and for a machine, as plain values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from stages.ingest.check_inspect import Inspection, Rig
from stages.ingest.check_warnings import warnings_of
from stages.ingest.command import kind_of_reason

RIGS, REFUSALS, KINDS = 6, 5, 6  # shown, of many


def as_text(found: Inspection) -> str:
    """Some twenty lines."""
    lines = [f"{found.root}: source {found.source}" + (f" (guessed: {found.guess})" if found.guess else "")]
    blocks = {
        "sessions": _sessions(found),
        "frames": _frames(found),
        "lights": _lights(found),
        "labels": _labels(found),
        "exposure": _exposure(found),
        "rejected": _rejected(found),
        "notes": iter(found.notes),
        "look at": iter(warnings_of(found)),
    }
    for title, block in blocks.items():
        for i, line in enumerate(block):
            lines.append(f"{title if i == 0 else '':<10}{line}")
    return "\n".join(lines)


def as_values(found: Inspection) -> dict[str, Any]:
    """What `psface check --json` prints."""
    return {
        "root": found.root.as_posix(),
        "source": found.source,
        "guessed": bool(found.guess),
        "sessions": len(found.sessions),
        "subjects": len(found.subjects),
        "sessions_by_subject": dict(sorted(found.subjects.items())),
        "frames_by_session": {str(k): n for k, n in sorted(found.frame_counts.items())},
        "ambient": sum(s.ambient is not None for s in found.sessions),
        "images": [{**asdict(kind), "frames": number} for kind, number in found.kinds],
        "no_lights": found.unlit,
        "rigs": [asdict(rig) for rig in found.rigs],
        "labels": {name: found.label_counts(name) for name in found.told},
        "pixels_read": {"sessions": found.read, "of": found.sound},
        "looked_at": [
            {
                "session": look.session,
                "saturated": round(look.saturated, 5),
                "brightest": round(look.brightest, 4),
                "unlit": list(look.unlit),
                "bulge": [round(value, 3) for value in look.bulge],
            }
            for look in found.looks
        ],
        "rejected": [{"session": r.id, "reason": r.reason} for r in found.refusals],
        "notes": found.notes,
        "warnings": warnings_of(found),
    }


def _sessions(found: Inspection) -> Iterator[str]:
    usable, all_of_them = len(found.sessions), len(found.sessions) + len(found.refusals)
    subjects = found.subjects
    each = f", {_span(list(subjects.values()))} each" if subjects else ""
    yield f"{usable} usable of {all_of_them}, of {len(subjects)} subjects{each}"


def _frames(found: Inspection) -> Iterator[str]:
    if not found.sessions:
        return
    ambient = sum(s.ambient is not None for s in found.sessions)
    with_ambient = f"an ambient frame in {ambient} of {len(found.sessions)} sessions" if ambient else "no ambient frame"
    yield f"{_span(list(found.frame_counts))} a session, {with_ambient}"
    for kind, number in found.kinds[:KINDS]:
        yield f"{number} of {kind.width} x {kind.height}, {kind}"
    if len(found.kinds) > KINDS:
        yield f"and {len(found.kinds) - KINDS} kinds more"
    yield _read(found)


def _read(found: Inspection) -> str:
    """How closely the frames were looked at."""
    if found.read == found.sound:
        return "pixels of all of them read"
    return (
        f"headers of all of them read, pixels of {found.read} of {found.sound} sessions: what is damaged inside the "
        "others `psface reconstruct` sets aside"
    )


def _lights(found: Inspection) -> Iterator[str]:
    if found.unlit:
        yield (
            f"no lights known: {len(found.unlit)} sessions; "
            f"{'' if found.uncalibrated else 'with ingest.uncalibrated: true '}they are estimated from the frames"
        )
    for rig in found.rigs[:RIGS]:
        strengths = f", strengths {_span(rig.strength)}" if len(set(rig.strength)) > 1 else ""
        yield f"{rig.name}: {rig.sessions} sessions, condition {rig.condition:.2f}{strengths}"
        yield from _angles(rig)
    if len(found.rigs) > RIGS:
        rest = found.rigs[RIGS:]
        yield f"and {len(rest)} rigs more, condition {_span([round(rig.condition, 2) for rig in rest])}"


def _angles(rig: Rig) -> Iterator[str]:
    for name, values in (("zenith", rig.zenith), ("azimuth", rig.azimuth)):
        yield f"  {name:<8}" + " ".join(f"{value:7.1f}" for value in values)


def _labels(found: Inspection) -> Iterator[str]:
    if not found.sessions:
        return
    for name in found.told:
        counts = found.label_counts(name)
        known = ", ".join(f"{word} {n}" for word, n in counts.items() if n and word != "missing")
        missing = f"{counts['missing']} missing" if counts["missing"] else ""
        yield f"{name:<12}" + "; ".join(filter(None, (known, missing)))
    ages = [s.age for s in found.sessions if s.age >= 0]
    if ages:
        yield f"{'age':<12}{_span([round(age) for age in ages])}; {len(found.sessions) - len(ages)} missing"


def _exposure(found: Inspection) -> Iterator[str]:
    if found.looks:
        saturated = np.mean([look.saturated for look in found.looks])
        brightest = _span([round(look.brightest, 2) for look in found.looks])
        yield f"of {len(found.looks)} sessions looked at: brightest {brightest} of the scale, {saturated:.2%} saturated"


def _rejected(found: Inspection) -> Iterator[str]:
    if not found.refusals:
        return
    kinds = Counter(kind_of_reason(r.reason) for r in found.refusals)
    yield f"{len(found.refusals)}: {', '.join(f'{kind} ({n})' for kind, n in kinds.most_common())}"
    for refusal in found.refusals[:REFUSALS]:
        yield f"  {refusal.id}: {refusal.reason}"
    if len(found.refusals) > REFUSALS:
        yield f"  and {len(found.refusals) - REFUSALS} more (--json lists all)"


def _span(values: Sequence[float]) -> str:
    low, high = min(values), max(values)
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"
