"""`psface calibrate`: the lights of a rig from its captures, or from photographs of a mirror ball."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np

from pipeline.datasets import sessions_in
from pipeline.errors import Rejected, UserError
from pipeline.lights import check_lights, to_angles
from pipeline.progress import track, wrote
from pipeline.rig import Light, Rig, write_rig
from pipeline.sessions import Session
from stages.reconstruct.calibration.captures import Captures, captures_of, in_order, read_samples
from stages.reconstruct.calibration.directions import refine_directions
from stages.reconstruct.calibration.gains import Gains, Samples, estimate_gains
from stages.reconstruct.calibration.sphere import light_of_ball

LEAST_SESSIONS = 3


@click.command("calibrate")
@click.argument("captures", nargs=-1, required=True, metavar="CAPTURES...")
@click.option("--sphere", is_flag=True, help="CAPTURES are photographs of a mirror ball, one a flash.")
@click.option("-o", "--out", required=True, help="The rig file to write (rig.json).")
@click.option("--directions", is_flag=True, help="Refine the directions as well; it takes six lights or more.")
@click.option("--only", metavar="RIG", help="Use the sessions of this rig alone.")
@click.option("--source", type=click.Choice(("photoface", "yaleb", "folder")), help="Layout.  [default: guessed]")
def command(
    captures: tuple[str, ...], sphere: bool, out: str, directions: bool, only: str | None, source: str | None
) -> None:
    """Find the lights of a rig.

    CAPTURES is a data set as `psface check` reads it, or a table of sessions (data/sessions.parquet): many faces under
    one rig give the gain of each flash, relative, with its standard error; no target is needed. With --sphere each
    image shows a mirror ball under one flash, named as the frames of that flash are, and gives its direction.

    Use the file by `psface maps FRAME... --rig rig.json`, or lay it in a folder data set (source folder), in place of
    its lights.csv. With the directions of a ball there, calibrate the same data set once more for the gains.
    """
    if Path(out).suffix.lower() != ".json":
        raise UserError(f"{out}: a rig is written as JSON; give a name that ends in .json")
    if sphere:
        if directions or only or source:
            raise UserError("--directions, --only and --source go with captures, not with --sphere")
        rig, lines = rig_of_balls(captures)
    elif len(captures) > 1:
        raise UserError(f"{captures[1]}: one data set or table at a time; photographs of a ball need --sphere")
    else:
        rig, lines = rig_of_captures(sessions_in(captures[0], source), only=only, directions=directions)
    write_rig(out, rig)
    for line in lines:
        click.echo(line)
    wrote(out, note=rig.origin)


def rig_of_captures(sessions: list[Session], *, only: str | None, directions: bool) -> tuple[Rig, list[str]]:
    """A rig with the gains of its lights, and a line on each.

    Raises
    ------
    UserError : sessions of several rigs, too few of them, or none that tells the gains.
    """
    captures = captures_of(sessions, only)
    samples = _samples(captures)
    if directions and any(one.each is not None for one in samples):
        raise UserError("the flashes of these captures have positions, and --directions refines flashes at infinity")
    lights = captures.directions
    try:
        found = estimate_gains(samples, lights)
        if directions:
            lights = refine_directions(samples, lights, found.gains)
            found = estimate_gains(samples, lights)
    except ValueError as error:
        hint = "without --directions there are gains" if directions else "gains take four lights or more on a face"
        raise UserError(f"{len(samples)} sessions: {error}; {hint}") from error
    if captures.patterns is None and not in_order(captures):
        raise UserError("names of frames tell the lights neither apart nor in order; name them alike in all sessions")
    rig = Rig(
        name=only or (sessions[0].rig if len({s.rig for s in captures.sessions}) == 1 else ""),
        lights=_lights(captures, found, lights, captures.positions),
        camera=captures.camera,
        origin=f"gains of {len(lights)} lights from {len(samples)} sessions, "
        f"residual {np.median(found.residuals):.3f}" + (", directions refined" if directions else ""),
    )
    return rig, _table(rig, found, captures.directions)


def _lights(
    captures: Captures, found: Gains, directions: np.ndarray, positions: np.ndarray | None
) -> tuple[Light, ...]:
    """The lights as a rig has them: where the flashes are, if that is known, else in which direction."""
    places = [{"direction": v} for v in np.round(directions, 6).tolist()]
    if positions is not None:
        places = [{"position": v} for v in np.round(positions, 3).tolist()]
    patterns: Sequence[str | None] = captures.patterns or [None] * len(places)
    numbers = zip(places, patterns, np.round(found.gains, 5).tolist(), np.round(found.errors, 5).tolist(), strict=True)
    return tuple(
        Light.model_validate({**place, "frame": pattern, "strength": gain, "error": error})
        for place, pattern, gain, error in numbers
    )


def _samples(captures: Captures) -> list[Samples]:
    samples, refused = [], []
    pairs = list(zip(captures.sessions, captures.lights, strict=True))
    for session, lights in track(pairs, "calibrate", len(pairs)):
        try:
            samples.append(read_samples(session, lights))
        except Rejected as reason:
            refused.append(f"{session.id}: {reason}")
    if len(samples) < LEAST_SESSIONS:
        first = f"; {refused[0]}" if refused else ""
        raise UserError(f"{len(samples)} sessions can be used, and gains take at least {LEAST_SESSIONS}{first}")
    if refused:
        click.echo(f"note: {len(refused)} sessions were left out, such as {refused[0]}", err=True)
    return samples


def _table(rig: Rig, found: Gains, before: np.ndarray) -> list[str]:
    lines = ["  zenith  azimuth     gain  +- error  sessions  moved  frame"]
    for i, light in enumerate(rig.lights):
        zenith, azimuth = to_angles(light.vector)
        turned = np.rad2deg(np.arccos(min(1.0, float(light.vector @ before[i]) / float(np.linalg.norm(light.vector)))))
        lines.append(
            f"{zenith:8.1f} {azimuth:8.1f} {light.strength:8.4f} {found.errors[i]:9.4f} {found.sessions[i]:9d}"
            f" {turned:6.2f}  {light.frame or i}"
        )
    return lines


def rig_of_balls(images: tuple[str, ...]) -> tuple[Rig, list[str]]:
    """A rig with a light for each photograph of a mirror ball, and a line on each.

    Raises
    ------
    UserError : no ball or no highlight is found in an image, or no normals can come from the lights.
    """
    for image in images:
        if Path(image).is_dir():
            raise UserError(f"{image}: a folder; --sphere takes the photographs of the ball themselves, one a flash")
    if len(images) < 3:
        raise UserError(f"{len(images)} photographs of the ball; a rig has at least three lights, one photograph each")
    names = [Path(image).name for image in images]
    if len(set(names)) < len(names):
        raise UserError(
            f"two photographs are named {next(n for n in names if names.count(n) > 1)}; a name is a light's"
        )
    try:
        balls = [light_of_ball(image) for image in images]
    except Rejected as reason:
        raise UserError(str(reason)) from reason
    directions = check_lights(np.stack([ball.light for ball in balls]), where="the ball", error=UserError)
    rig = Rig(
        lights=tuple(
            Light(frame=f"{Path(name).stem}.*", direction=tuple(np.round(light, 6).tolist()))
            for name, light in zip(names, directions, strict=True)
        ),
        origin=f"directions of {len(balls)} lights from a mirror ball",
    )
    lines = [
        f"{name}: ball at ({b.centre[0]:.1f}, {b.centre[1]:.1f}), radius {b.radius:.1f} px; zenith "
        f"{to_angles(b.light)[0]:.1f}, azimuth {to_angles(b.light)[1]:.1f} degrees"
        for name, b in zip(names, balls, strict=True)
    ]
    return rig, lines
