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
from pathlib import Path

import numpy as np

from pipeline.errors import UserError
from pipeline.lights import to_angles
from pipeline.params import Deal, Ingest
from pipeline.sessions import Session
from stages.ingest.dealing import deal
from stages.ingest.readers import Found, Refusal, folders, reader, rig_name, visible

FLASH = re.compile(r"(?P<shot>.*_(?P<pose>P\d\d))A(?P<azimuth>[+-]\d{3})E(?P<elevation>[+-]\d{2})\.pgm", re.IGNORECASE)


@reader("yaleb")
def read_yaleb(root: Path, params: Ingest) -> Iterator[Found]:
    """Yield the sessions that the flashes of each subject and pose are dealt into."""
    found = False
    dealt: dict[tuple[str, ...], np.ndarray] = {}
    for subject in folders(root):
        shots: dict[str, list[Path]] = {}
        for path in visible(subject):
            if match := FLASH.fullmatch(path.name):
                shots.setdefault(match["shot"], []).append(path)
        for shot, paths in shots.items():
            found = True
            yield from deal_sessions(subject, shot, paths, params.deal, dealt)
    if not found:
        raise UserError(f"{root}: no Extended Yale B in it; expected yaleB01/yaleB01_P00A+000E+00.pgm and its like")


def deal_sessions(
    folder: Path, shot: str, paths: list[Path], params: Deal, known: dict[tuple[str, ...], np.ndarray]
) -> Iterator[Session | Refusal]:
    """Yield the sessions of one subject in one pose.

    ``shot`` is what the names of its flashes begin with; ``known`` keeps the deals of other subjects' flashes, since
    most have the same.
    """
    pose = shot.rpartition("_")[2]
    lights = np.stack([light_of(path.name) for path in paths])
    near = to_angles(lights)[0] <= params.cap + 1e-6
    paths, lights = [path for path, keep in zip(paths, near, strict=True) if keep], lights[near]
    flashes = tuple(path.name.removeprefix(shot) for path in paths)
    if flashes not in known:
        known[flashes] = deal(lights, params.flashes, max_condition=params.max_condition, seed=params.seed)
    dealt = known[flashes]
    if not len(dealt):
        yield Refusal(
            f"{folder.name}/{pose}-set1",
            f"{len(paths)} flashes within {params.cap:g} degrees give no {params.flashes} with a condition of at most "
            f"{params.max_condition:g}",
        )
    ambient = folder / f"{shot}_Ambient.pgm"
    for number, chosen in enumerate(dealt, start=1):
        session = f"{pose}-set{number}"
        yield Session(
            id=f"{folder.name}/{session}",
            subject=folder.name,
            session=session,
            rig=rig_name(lights[chosen]),
            frames=tuple(paths[i].as_posix() for i in chosen),
            ambient=ambient.as_posix() if ambient.is_file() else None,
            lights=lights[chosen],
            strengths=np.ones(len(chosen)),
            source="yaleb",
        )


def light_of(name: str) -> np.ndarray:
    """The direction (3,) towards the flash, from a file's name."""
    match = FLASH.fullmatch(name)
    assert match, name
    azimuth, elevation = np.deg2rad([float(match["azimuth"]), float(match["elevation"])])
    across = np.cos(elevation)
    return np.array([-np.sin(azimuth) * across, np.sin(elevation), np.cos(azimuth) * across])
