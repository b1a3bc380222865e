"""A data set looked over: what ingest would keep of it, under which lights, with which labels, and what looks wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.attributes import ATTRIBUTES, told
from pipeline.errors import Rejected, UserError
from pipeline.images import SUFFIXES
from pipeline.lights import condition, to_angles
from pipeline.params import Ingest
from pipeline.progress import track
from pipeline.rig import RIG
from pipeline.sessions import Session
from stages.ingest.check_files import Kind, kind_of
from stages.ingest.check_pixels import Look, look_or_reason, spread
from stages.ingest.command import ingest
from stages.ingest.folder import LIGHTS
from stages.ingest.readers import ESTIMATE, Refusal, folders, visible
from stages.ingest.yaleb import FLASH

LEAST_FRAMES = 3  # of a session
LOOKED_AT = 12  # sessions whose pixels are read where reading all would take long; rows of the contact sheet
ALL_PIXELS = 5e8  # so many are read within half a minute, and then of every session


@dataclass(frozen=True)
class Rig:
    """A set of lights: its number of sessions, their worst condition, and zenith and azimuth (degrees) and strength of
    each light in the first of them."""

    name: str
    sessions: int
    condition: float
    zenith: tuple[float, ...]
    azimuth: tuple[float, ...]
    strength: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class Inspection:
    """What was found.

    Attributes
    ----------
    root : Path
        The data set.
    source : str
        Its reader.
    guess : str
        Why this reader was taken, "" where it was given.
    uncalibrated : bool
        Whether sessions of unknown lights count as usable.
    sessions : list of Session
        Those that can be used, by id.
    refusals : list of Refusal
        The others, by id.
    notes : list of str
        What the reader has to say.
    kinds : list of (Kind, int)
        How many frames are of each kind, the commonest first.
    rigs : list of Rig
        The most used first.
    looks : list of Look
        What the pixels of sessions show.
    sound : int
        How many sessions are sound by their files' headers.
    read : int
        Of how many of these the pixels were read; some may be refused for what was found there.
    """

    root: Path
    source: str
    guess: str
    uncalibrated: bool
    sessions: list[Session]
    refusals: list[Refusal]
    notes: list[str]
    kinds: list[tuple[Kind, int]]
    rigs: list[Rig]
    looks: list[Look]
    sound: int
    read: int

    @property
    def drawn(self) -> list[Look]:
        """The looks of which the contact sheet is drawn."""
        return [look for look in self.looks if look.small is not None]

    @property
    def subjects(self) -> Counter[str]:
        """How many usable sessions each subject has."""
        return Counter(s.subject for s in self.sessions)

    @property
    def unlit(self) -> list[str]:
        """Sessions of unknown lights, by id, among the usable ones or among those that are refused for it."""
        refused = (r.id for r in self.refusals if r.reason.endswith(ESTIMATE))
        return sorted([*refused, *(s.id for s in self.sessions if s.known_lights is None)])

    @property
    def frame_counts(self) -> Counter[int]:
        """How many sessions have how many frames."""
        return Counter(len(s.frames) for s in self.sessions)

    def label_counts(self, name: str) -> dict[str, int]:
        """Sessions by class of an attribute, in its vocabulary's order, and those without a label as ``missing``."""
        codes = Counter(int(getattr(s, name)) for s in self.sessions)
        named = {word: codes[code] for code, word in enumerate(ATTRIBUTES[name].classes)}
        return {**named, "missing": codes[-1]}

    @property
    def told(self) -> list[str]:
        """The attributes to speak of."""
        return told({name: np.array([getattr(s, name) for s in self.sessions], int) for name in ATTRIBUTES})

    def learnable(self) -> tuple[str, ...]:
        """The attributes of which the labels have both binary classes."""
        return tuple(
            name
            for name, attribute in ATTRIBUTES.items()
            if {0, 1} <= set(attribute.to_binary(np.array([getattr(s, name) for s in self.sessions], int)).tolist())
        )


def inspect(root: str | Path, source: str | None = None, *, uncalibrated: bool = False) -> Inspection:
    """Look a data set over; nothing is written.

    Parameters
    ----------
    root : path
        The data set.
    source : str, optional
        Its reader; guessed from what lies in it where it is not given.
    uncalibrated : bool
        Take sessions of unknown lights, as `ingest.uncalibrated` does.

    Raises
    ------
    UserError
        There is no such folder, no reader fits it, or the reader refuses it as a whole.
    """
    root = Path(root)
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; give the data set's")
    source, guess = guess_source(root) if source is None else (source, "")
    params = Ingest.model_validate({"source": source, "root": root.as_posix(), "uncalibrated": uncalibrated})
    sessions, refusals, notes = ingest(params, jobs=1)
    kinds = Counter(kind_of(path) for s in track(sessions, "check: frames", len(sessions)) for path in s.frames)
    pixels = sum(kind.height * kind.width * number for kind, number in kinds.items())
    few = spread(sessions, LOOKED_AT)
    drawn = {s.id for s in few}
    chosen = sessions if pixels <= ALL_PIXELS else few
    looks = [look_or_reason(s, draw=s.id in drawn) for s in track(chosen, "check: pixels", len(chosen))]
    failed = [Refusal(s.id, str(x)) for s, x in zip(chosen, looks, strict=True) if isinstance(x, Rejected)]
    return Inspection(
        root=root,
        source=source,
        guess=guess,
        uncalibrated=uncalibrated,
        sessions=[s for s in sessions if s.id not in {r.id for r in failed}],
        refusals=sorted([*refusals, *failed]),
        notes=notes,
        kinds=kinds.most_common(),
        rigs=rigs_of(sessions),
        looks=[look for look in looks if isinstance(look, Look)],
        sound=len(sessions),
        read=len(chosen),
    )


def guess_source(root: Path) -> tuple[str, str]:
    """The reader that fits a data set, and what speaks for it.

    Raises
    ------
    UserError
        None does.
    """
    files = {path.name for path in visible(root) if path.is_file()}
    beside = (RIG, LIGHTS)
    if lit := next((name for name in beside if name in files), None):
        return "folder", f"it holds {lit}"
    dark = ""
    for subject in folders(root):
        inside = visible(subject)
        for path in inside:
            if FLASH.fullmatch(path.name):
                return "yaleb", f"{subject.name} holds {path.name}"
            if path.name in beside:
                return "folder", f"{subject.name} holds {path.name}"
        for session in inside:
            names = [path.name for path in visible(session)] if session.is_dir() else []
            for name in names:
                if name in beside:
                    return "folder", f"{subject.name}/{session.name} holds {name}"
                if name.lower() == "lightsource.m":
                    return "photoface", f"{subject.name}/{session.name} holds {name}"
            if sum(name.lower().endswith(SUFFIXES) for name in names) >= LEAST_FRAMES:
                dark = dark or f"{subject.name}/{session.name} holds pictures, and no file of lights"
    if dark:
        return "folder", dark
    raise UserError(
        f"{root}: neither {LIGHTS} or {RIG} (source folder) nor <subject>/<session>/LightSource.m (photoface) nor "
        "yaleB01/yaleB01_P00A+000E+00.pgm and its like (yaleb) in it; give --source, or write a lights.csv"
    )


def rigs_of(sessions: Sequence[Session]) -> list[Rig]:
    """The sets of known lights of some sessions, most used first."""
    groups: dict[tuple[str, int], list[Session]] = {}
    for session in (s for s in sessions if s.known_lights is not None):
        groups.setdefault((session.rig, len(session.lights)), []).append(session)
    rigs = []
    for (name, _), group in sorted(groups.items(), key=lambda item: (-len(item[1]), item[0])):
        zenith, azimuth = to_angles(group[0].lights)
        rigs.append(
            Rig(
                name=name,
                sessions=len(group),
                condition=max(condition(s.lights) for s in group),
                zenith=tuple(zenith.round(1).tolist()),
                azimuth=tuple(azimuth.round(1).tolist()),
                strength=tuple(group[0].strengths.round(3).tolist()),
            )
        )
    return rigs
