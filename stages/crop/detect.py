"""`psface detect`: faces and their landmarks in any pictures."""

from __future__ import annotations

import json
from typing import Any

import click
import cv2
import numpy as np

from pipeline.errors import UserError
from pipeline.geometry import LANDMARKS
from pipeline.images import write_picture
from pipeline.progress import wrote
from stages.crop.detector import Detector, Face


@click.command("detect")
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.option("-o", "--out", help="Draw the faces of one image as this picture.")
@click.option("--min-face", default=20, show_default=True, type=click.IntRange(min=12), help="Smallest face, pixels.")
@click.option("--device", default="cpu", show_default=True, help="Where the networks run, as torch names it.")
def command(images: tuple[str, ...], as_json: bool, out: str | None, min_face: int, device: str) -> None:
    """Find faces and their landmarks in images.

    Boxes are x, y, width, height; left is the image's left.
    """
    if out and len(images) > 1:
        raise UserError(f"--out draws one image, {len(images)} were given")
    pictures = [read_picture(path) for path in images]
    found = Detector(device, min_face=min_face).detect(pictures)
    report = [
        {"image": name, "faces": [described(f) for f in faces]} for name, faces in zip(images, found, strict=True)
    ]
    if as_json:
        click.echo(json.dumps(report, ensure_ascii=False))
    else:
        for line in table(report):
            click.echo(line)
    if out:
        write_picture(out, drawn(pictures[0], found[0]))
        if not as_json:
            wrote(out)


def read_picture(path: str) -> np.ndarray:
    """(H, W, 3) uint8 RGB of any picture that OpenCV reads; 16-bit ones are brought to 8 bits.

    Raises
    ------
    UserError
        It cannot be read; the message names the file.
    """
    try:
        image = cv2.imdecode(np.fromfile(path, dtype=np.uint8), cv2.IMREAD_COLOR)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or 'cannot be read'}") from error
    except cv2.error:
        image = None
    if image is None:
        raise UserError(f"{path}: not an image that can be read")
    return np.ascontiguousarray(image[..., ::-1])


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


def table(report: list[dict[str, Any]]) -> list[str]:
    """Lines for people."""
    lines = []
    for entry in report:
        count = len(entry["faces"])
        lines.append(f"{entry['image']}: {count or 'no'} face{'' if count == 1 else 's'}")
        for face in entry["faces"]:
            x, y, width, height = face["box"]
            points = "  ".join(f"{name} {x:.1f},{y:.1f}" for name, (x, y) in face["landmarks"].items())
            lines.append(f"  {width:.0f} x {height:.0f} px at {x:.0f},{y:.0f}, confidence {face['confidence']:.3f}")
            lines.append(f"    {points}")
    return lines


def drawn(picture: np.ndarray, faces: list[Face]) -> np.ndarray:
    """The picture with a box and five dots a face."""
    canvas = picture.copy()
    thick = max(1, round(min(picture.shape[:2]) / 250))
    for face in faces:
        x1, y1, x2, y2 = (round(float(v)) for v in face.box)
        cv2.rectangle(canvas, (x1, y1), (x2, y2), (255, 210, 0), thick)
        for x, y in face.landmarks:
            cv2.circle(canvas, (round(float(x)), round(float(y))), 2 * thick, (0, 220, 120), -1)
    return canvas
