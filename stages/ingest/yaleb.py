"""Reader of the Extended Yale Face Database B as published: about 64 flashes a subject, the light in the file's name.

    <root>/<subject>/<subject>_P00A+035E+40.pgm    pose 0, flash at azimuth +35, elevation +40 degrees
                     <subject>_P00_Ambient.pgm     no flash

Azimuth is positive towards the image's LEFT, so the light is (-sin A cos E, sin E, cos A cos E) with x right, y up and
z to the camera (with the other sign faces come out hollow). The flashes of a subject are dealt into disjoint sessions,
so that a gallery and its probes are never under the same light. `*.bad` files are corrupt, as published.

Source: A. Georghiades, P. Belhumeur, D. Kriegman, "From few to many", IEEE TPAMI 23(6), 2001, doi:10.1109/34.927464;
K.-C. Lee, J. Ho, D. Kriegman, "Acquiring linear subspaces for face recognition under variable lighting", IEEE TPAMI
27(5), 2005, doi:10.1109/TPAMI.2005.92.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pipeline.errors import UserError
from pipeline.lights import to_angles
from pipeline.params import Deal, Ingest
from pipeline.sessions import Session
from stages.ingest.dealing import deal
from stages.ingest.readers import Found, Refusal, folders, reader, rig_name, visible

FLASH = re.compile(r"(?P<shot>.*_(?P<pose>P\d\d))(?P<flash>A(?P<azimuth>[+-]\d{3})E(?P<elevation>[+-]\d{2}))\.pgm")
MOSTLY = 0.9  # of all flashes: subjects who have fewer do not narrow down what the others share


@dataclass
class Shots:
    """The flashes of one subject in one pose: ``prefix`` begins the names of its files, ``paths`` are by flash."""

    folder: Path
    prefix: str
    pose: str
    paths: dict[str, Path] = field(default_factory=dict)


@reader("yaleb")
def read_yaleb(root: Path, params: Ingest) -> Iterator[Found]:
    """Yield the sessions that the flashes of each subject and pose are dealt into.

    Subjects are dealt the flashes that they have in common, so that all come under the same rigs; one who lacks some of
    those is dealt his own.
    """
    shots = list(find_shots(root, params.deal.cap))
    if not shots:
        raise UserError(f"{root}: no Extended Yale B in it; expected yaleB01/yaleB01_P00A+000E+00.pgm and its like")
    dealt: dict[tuple[str, ...], np.ndarray] = {}
    for pose in sorted({shot.pose for shot in shots}):
        posed = [shot for shot in shots if shot.pose == pose]
        common = common_flashes([set(shot.paths) for shot in posed])
        for shot in posed:
            flashes = tuple(sorted(common if common <= set(shot.paths) else shot.paths))
            if flashes not in dealt:
                lights = np.array([light_of(flash) for flash in flashes]).reshape(-1, 3)
                dealt[flashes] = deal(
                    lights, params.deal.flashes, max_condition=params.deal.max_condition, seed=params.deal.seed
                )
            yield from sessions_of(shot, [[flashes[i] for i in chosen] for chosen in dealt[flashes]], params.deal)


def find_shots(root: Path, cap: float) -> Iterator[Shots]:
    """Yield each subject's poses with the flashes within ``cap`` degrees of the axis."""
    for folder in folders(root):
        shots: dict[str, Shots] = {}
        for path in visible(folder):
            if match := FLASH.fullmatch(path.name):
                shot = shots.setdefault(match["shot"], Shots(folder, match["shot"], match["pose"]))
                if to_angles(light_of(match["flash"]))[0] <= cap + 1e-6:
                    shot.paths[match["flash"]] = path
        yield from shots.values()


def common_flashes(sets: list[set[str]]) -> set[str]:
    """The flashes that all subjects have; those who have few (below `MOSTLY` of all flashes) are not asked."""
    everything = set().union(*sets)
    return everything.intersection(*(s for s in sets if len(s) >= MOSTLY * len(everything)))


def sessions_of(shot: Shots, dealt: list[list[str]], params: Deal) -> Iterator[Session | Refusal]:
    """Yield a session for each hand of flashes."""
    subject = shot.folder.name
    if not dealt:
        yield Refusal(
            f"{subject}/{shot.pose}-set1",
            f"{len(shot.paths)} flashes within {params.cap:g} degrees give no {params.flashes} with a condition of at "
            f"most {params.max_condition:g}",
        )
    ambient = shot.folder / f"{shot.prefix}_Ambient.pgm"
    for number, flashes in enumerate(dealt, start=1):
        session = f"{shot.pose}-set{number}"
        lights = np.stack([light_of(flash) for flash in flashes])
        yield Session(
            id=f"{subject}/{session}",
            subject=subject,
            session=session,
            rig=rig_name(lights),
            frames=tuple(shot.paths[flash].as_posix() for flash in flashes),
            ambient=ambient.as_posix() if ambient.is_file() else None,
            lights=lights,
            strengths=np.ones(len(flashes)),
            source="yaleb",
        )


def light_of(flash: str) -> np.ndarray:
    """The direction (3,) towards a flash, from its name.

    >>> light_of("A+090E+00").round(3).tolist()  # to the image's left
    [-1.0, 0.0, 0.0]
    """
    azimuth, elevation = np.deg2rad([float(flash[1:5]), float(flash[6:9])])
    across = np.cos(elevation)
    return np.array([-np.sin(azimuth) * across, np.sin(elevation), np.cos(azimuth) * across])
