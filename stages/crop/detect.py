"""`psface detect`: faces and their landmarks in any pictures."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import click
import cv2
import numpy as np

from pipeline.errors import Rejected, UserError
from pipeline.geometry import LANDMARKS
from pipeline.images import decode, read_frame, write_picture
from pipeline.progress import wrote
from stages.crop.detector import Detector, Face

BATCH, BATCH_VALUES = 16, 1 << 24  # pictures, or values of their pixels, that are read together


@click.command("detect")
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.option("-o", "--out", help="Draw the faces of one image as this picture.")
@click.option("--min-face", default=20, show_default=True, type=click.IntRange(min=12), help="Smallest face, pixels.")
@click.option("--device", default="cpu", show_default=True, help="Where the networks run, as torch names it.")
def command(images: tuple[str, ...], as_json: bool, out: str | None, min_face: int, device: str) -> None:
    """Find faces and their landmarks in images.

    Boxes are x, y, width, height; left is the image's left. What cannot be read is named, and the others go on; the
    exit status is then 2.
    """
    if out and len(images) > 1:
        raise UserError(f"--out draws one image, {len(images)} were given")
    detector = Detector(device, min_face=min_face)
    report, failed = [], 0
    for names, pictures, reasons in in_batches(images):
        failed += len(reasons)
        for reason in reasons:
            click.echo(f"psface: {reason}", err=True)
        for name, picture, faces in zip(names, pictures, detector.detect(pictures), strict=True):
            entry = {"image": name, "faces": [described(f) for f in faces]}
            if as_json:
                report.append(entry)
            else:
                click.echo("\n".join(table(entry)))
            if out:
                write_picture(out, drawn(picture, faces))
                if not as_json:
                    wrote(out)
    if as_json:
        click.echo(json.dumps(report, ensure_ascii=False))
    if failed:
        sys.exit(UserError.exit_code)


def in_batches(paths: Sequence[str]) -> Iterator[tuple[list[str], list[np.ndarray], list[str]]]:
    """Pictures a few at a time, so that memory does not grow with their number.

    Yields the names of those that can be read, their pixels, and why the others between them cannot.
    """
    names: list[str] = []
    pictures: list[np.ndarray] = []
    reasons: list[str] = []
    for path in paths:
        try:
            pictures.append(read_picture(path))
            names.append(path)
        except UserError as error:
            reasons.append(str(error))
        if len(pictures) + len(reasons) >= BATCH or sum(p.size for p in pictures) >= BATCH_VALUES:
            yield names, pictures, reasons
            names, pictures, reasons = [], [], []
    if pictures or reasons:
        yield names, pictures, reasons


def read_picture(path: str) -> np.ndarray:
    """(H, W) or (H, W, 3) RGB of a picture, in 8-bit levels: uint8; float32 where the file has more bits than that.

    Transparency is left out. Floating-point files hold 0 for black and 1 for white.

    Raises
    ------
    UserError
        It cannot be read; the message names the file.
    """
    try:
        if path.lower().endswith(".exr"):
            return 255 * read_frame(path).clip(0, 1)
        image = decode(path, cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH)
    except Rejected as reason:
        raise UserError(str(reason)) from reason
    image = np.ascontiguousarray(image[..., ::-1]) if image.ndim == 3 else image
    if image.dtype == np.uint8:
        return image
    if image.dtype == np.uint16:
        return image.astype(np.float32) / 257
    if not np.isfinite(image).all():
        raise UserError(f"{path}: holds NaN or infinite values")
    return 255 * image.clip(0, 1).astype(np.float32)


def described(face: Face) -> dict[str, Any]:
    """A face as plain values, rounded to hundredths of a pixel."""
    x1, y1, x2, y2 = (float(v) for v in face.box)
    return {
        "box": [round(v, 2) for v in (x1, y1, x2 - x1, y2 - y1)],
        "confidence": round(face.confidence, 4),
        "landmarks": {
            name: [round(float(v), 2) for v in point] for name, point in zip(LANDMARKS, face.landmarks, strict=True)
        },
    }


def table(entry: dict[str, Any]) -> list[str]:
    """The faces of an image in lines for people."""
    count = len(entry["faces"])
    lines = [f"{entry['image']}: {count or 'no'} face{'' if count == 1 else 's'}"]
    for face in entry["faces"]:
        x, y, width, height = face["box"]
        points = "  ".join(f"{name} {x:.1f},{y:.1f}" for name, (x, y) in face["landmarks"].items())
        lines.append(f"  {width:.0f} x {height:.0f} px at {x:.0f},{y:.0f}, confidence {face['confidence']:.3f}")
        lines.append(f"    {points}")
    return lines


def drawn(picture: np.ndarray, faces: list[Face]) -> np.ndarray:
    """The picture with a box and five dots a face."""
    canvas = np.rint(picture if picture.ndim == 3 else np.dstack([picture] * 3)).astype(np.uint8)
    thick = max(1, round(min(picture.shape[:2]) / 250))
    for face in faces:
        x1, y1, x2, y2 = (round(float(v)) for v in face.box)
        cv2.rectangle(canvas, (x1, y1), (x2, y2), (255, 210, 0), thick)
        for x, y in face.landmarks:
            cv2.circle(canvas, (round(float(x)), round(float(y))), 2 * thick, (0, 220, 120), -1)
    return canvas
