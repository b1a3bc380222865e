"""`psface wear-mask`: masks painted on photographs, and on sessions before they are reconstructed."""

from __future__ import annotations

import json
import os
import sys
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import click
import numpy as np

from pipeline.errors import UserError, nearest
from pipeline.files import check_replaceable
from pipeline.images import write_picture
from pipeline.maskdesigns import Design, draw_design, expand
from pipeline.maskhead import POINTS, fit_pose
from pipeline.maskpaint import Painter
from pipeline.options import jobs_option
from pipeline.parallel import Jobs
from pipeline.params import WearMask, section
from pipeline.progress import wrote
from pipeline.sessions import read_sessions
from pipeline.tables import read_text
from pipeline.work import StageWork, key_of, source, stamps_of
from stages.crop.detect import read_picture

CODE = ("stages.crop", "models.mtcnn", "pipeline.images", "pipeline.maskdesigns", "pipeline.maskhead",
        "pipeline.maskpaint", "pipeline.maskshape")  # fmt: skip
MOST_JSON = 1 << 26  # bytes of a file of landmarks
SEED = 7
SMALLEST = 0.1  # face that is looked for in a single picture, share of its smaller side


@click.command("wear-mask")
@click.argument("images", nargs=-1, metavar="[IMAGE]...")
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path, file_okay=False),
              help="Folder of the masked pictures.")  # fmt: skip
@click.option("--design", "designs", multiple=True, help="surgical, n95, kn95, cloth, gas, or cloth/dots; may repeat.")
@click.option(
    "--seed", type=click.IntRange(0, 2**32 - 1), show_default=str(SEED), help="Draws the designs of pictures."
)
@click.option("--landmarks", type=click.Path(path_type=Path), help="JSON of points by picture, instead of looking.")
@click.option("--sessions", type=click.Path(path_type=Path), help="Mask sessions of this table, not pictures.")
@click.option("--params", default="params.yaml", show_default=True, help="With --sessions: has a section wear_mask.")
@jobs_option()
def command(
    images: tuple[str, ...], out: Path, designs: tuple[str, ...], seed: int | None, landmarks: Path | None,
    sessions: Path | None, params: str, jobs: Jobs,
) -> None:  # fmt: skip
    """Paint masks on the faces of photographs.

    The face of each IMAGE is found, or its points are read from --landmarks: {"a.png": {"left_eye": [x, y], ...}}.
    With --sessions, all frames of a session get one mask, lit as each frame is, and OUT/sessions.parquet is the table
    to reconstruct from; which sessions, and of what designs, stands in the parameters under `wear_mask`.
    """
    if (sessions is None) == (not images):
        raise UserError("give either pictures or --sessions TABLE")
    if sessions is not None:
        if designs or landmarks or seed is not None:
            raise UserError(
                "--design, --seed and --landmarks are for pictures; with --sessions, `wear_mask` in params.yaml"
            )
        mask_sessions(sessions, out, section(params, "wear_mask", WearMask), jobs=jobs)
        return
    try:
        expand(designs)
    except ValueError as error:
        raise UserError(f"--design: {error}") from error
    known = {} if landmarks is None else read_landmarks(landmarks)
    failed = 0
    for image, target in zip(images, targets_of(images, out), strict=True):
        rng = np.random.default_rng([SEED if seed is None else seed, zlib.crc32(Path(image).name.encode())])
        design = draw_design(rng, designs) if designs else draw_design(rng)
        if landmarks is not None and Path(image).name not in known:
            what = f"{landmarks} has no points of `{Path(image).name}`"
            click.echo(f"psface: {image}: {what}, so its face is looked for", err=True)
        try:
            view = mask_picture(image, target, design, known.get(Path(image).name))
        except UserError as reason:
            failed += 1
            click.echo(f"psface: {reason}", err=True)
            continue
        wrote(target, note=f"{design.name}, {view}")
    if failed:
        sys.exit(UserError.exit_code)


def targets_of(images: Sequence[str], out: Path) -> list[Path]:
    """Where each picture goes that is masked.

    Raises
    ------
    UserError
        Two would be one file, or one of those given.
    """
    targets = [out / f"{Path(image).stem}.png" for image in images]
    twice = next((target for target in targets if targets.count(target) > 1), None)
    if twice:
        raise UserError(f"two pictures would both be {twice}: mask them into folders of their own")
    given = {os.path.realpath(image) for image in images}
    over = next((target for target in targets if os.path.realpath(target) in given), None)
    if over:
        raise UserError(f"{over} is a picture to be masked, and would be written over: choose another --out")
    return targets


def mask_picture(image: str, target: Path, design: Design, points: Mapping[str, np.ndarray] | None) -> str:
    """Write a picture masked; the side that its face is turned to.

    Raises
    ------
    UserError
        It cannot be read, has no face, or the points that are given are not of one in it.
    """
    picture = read_picture(image).astype(np.float32) / 255
    grey = picture if picture.ndim == 2 else picture.mean(axis=-1)
    found: np.ndarray | Mapping[str, np.ndarray]
    if points is None:
        from stages.crop.looks import find_faces  # and torch with it

        sighting = find_faces([grey], border=0.3, min_face=SMALLEST, confidence=0.9)[0]
        if sighting.landmarks is None:
            raise UserError(f"{image}: {sighting.reason}; give the points of its face by --landmarks")
        found = sighting.landmarks
    else:
        found = points_inside(image, points, grey.shape)
    try:
        pose = fit_pose(found)
    except ValueError as error:
        raise UserError(f"{image}: {error}") from error
    painter = Painter.of(design, pose, (grey.shape[0], grey.shape[1]))
    masked = painter.paint(picture[None])[0] if picture.ndim == 2 else painter.paint_colour(picture)
    write_picture(target, masked)
    return pose.view


def points_inside(image: str, points: Mapping[str, np.ndarray], shape: tuple[int, ...]) -> Mapping[str, np.ndarray]:
    """The points of a face, which a picture of a shape (H, W) shows for the most part.

    Raises
    ------
    UserError
        Most of them lie outside of it, or one by more than its size.
    """
    side = np.array(shape[1::-1])
    beyond = [np.maximum(-xy, xy - side + 1).max() for xy in points.values()]
    if np.median(beyond or 0) > 0 or max(beyond, default=0) > side.max():
        raise UserError(f"{image}: the points of its face lie outside of it ({side[0]} x {side[1]} px)")
    return points


def read_landmarks(path: Path) -> dict[str, dict[str, np.ndarray]]:
    """Points by picture and name, from JSON.

    Raises
    ------
    UserError
        It is not that.
    """
    try:
        values = json.loads(read_text(path, most=MOST_JSON))
        found = {
            str(image): {str(name): np.array(xy, float).reshape(2) for name, xy in points.items()}
            for image, points in values.items()
        }
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error}); give a file of landmarks") from error
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise UserError(f'{path}: expected JSON like {{"a.png": {{"left_eye": [31, 40], ...}}}}') from error
    for image, points in found.items():
        unknown = next((name for name in points if name not in POINTS), None)
        if unknown:
            raise UserError(f"{path}: {image}: no landmark `{unknown}`; {nearest(unknown, list(POINTS))}")
        if not all(np.isfinite(xy).all() for xy in points.values()):
            raise UserError(f"{path}: {image}: landmarks must be finite numbers")
    return found


def mask_sessions(sessions: Path, out: Path, params: WearMask, *, jobs: Jobs) -> None:
    """Mask sessions of a table into a folder, with the table of all of them."""
    from stages.crop.masked import is_masked_folder, mask_all  # and torch with it

    table = read_sessions(sessions)
    names = [name for session in table for name in (*session.frames, session.ambient) if name]
    own, sources = is_masked_folder(out), [str(sessions), *names]
    check_replaceable(out, option="--out", what="folder of masked sessions", is_own=own, made_from=sources)
    frames = stamps_of(names)
    with StageWork("wear-mask", key=key_of(params, sessions, str(out), frames, *source(*CODE))) as work:
        worn, reasons = mask_all(table, work.dir, out, params, jobs=jobs)
        work.publish(work.dir, out)
    why = f"; {len(reasons)} stay bare, such as {reasons[0]}" if reasons else ""
    wrote(out, note=f"{worn} of {len(table)} sessions masked{why}")
