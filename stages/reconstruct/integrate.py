"""`psface integrate`: depth of any normal map, without a pipeline."""

from __future__ import annotations

from pathlib import Path

import click
import cv2
import numpy as np

from pipeline.errors import Rejected, UserError
from pipeline.images import decode, read_frame, write_picture
from pipeline.maps import read_maps
from pipeline.progress import wrote
from pipeline.tables import read_text, write_atomic
from stages.reconstruct.integration import METHODS, integrate
from stages.reconstruct.view import relief

MOST_CAMERA = 10_000  # bytes of nine numbers
UNIT = 0.2  # how far the length of a normal may be from 1 where no mask is given


@click.command("integrate")
@click.argument("normals", metavar="NORMALS")
@click.option("--mask", "mask_path", help="A picture that is white where the surface is.")
@click.option("--intrinsics", "camera_path", help="A text of the 3x3 camera matrix in pixels: perspective.")
@click.option("--method", type=click.Choice(list(METHODS)), default="smooth", show_default=True)
@click.option("--y-down", is_flag=True, help="The green channel of a picture grows downwards (DirectX).")
@click.option("--pitch", type=float, help="Width of a pixel on the surface in mm: depth in mm (orthographic).")
@click.option("--distance", type=float, help="Mean distance of the surface in mm: depth in mm (with --intrinsics).")
@click.option("-o", "--out", required=True, help="The .npy to write: (H, W) float32, towards the camera.")
@click.option("--preview", help="A picture of the depth to write as well (.png).")
def command(
    normals: str,
    mask_path: str | None,
    camera_path: str | None,
    method: str,
    y_down: bool,
    pitch: float | None,
    distance: float | None,
    out: str,
    preview: str | None,
) -> None:
    """Turn a normal map into depth.

    NORMALS is a picture of 8 or 16 bits whose red, green and blue are x (right), y (up) and z (to the camera) as
    0.5 + 0.5 n, or an .exr of psface. Without --mask, depth is found where a picture holds unit vectors, or inside the
    mask of the .exr. `smooth` is masked least squares, for faces; `bilateral` lets the surface break, for objects that
    hide parts of themselves. Depth grows towards the camera, in pixels unless a scale is given; each part has
    zero mean.
    """
    if Path(out).suffix.lower() != ".npy":
        raise UserError(f"{out}: depth is written as NumPy's .npy; give a name that ends so")
    try:
        normal, mask = read_normals(normals, y_down=y_down)
        mask = mask if mask_path is None else read_frame(mask_path) > 0.5
    except Rejected as reason:
        raise UserError(str(reason)) from reason
    if not mask.any():
        raise UserError(f"{mask_path or normals}: the mask is empty, there is nothing to integrate")
    camera = None if camera_path is None else read_camera(camera_path)
    try:
        depth = integrate(
            normal, mask, method=method, intrinsics=camera, pitch=1.0 if pitch is None else pitch, distance=distance
        )
    except ValueError as error:
        raise UserError(f"{normals}: {error}") from error
    write_atomic(out, lambda beside: np.save(beside, depth))
    if preview is not None:
        pixels = depth if distance is None or camera is None else depth * (camera[0, 0] / distance)
        write_picture(preview, np.where(mask[..., None], relief(pixels / (pitch or 1.0), mask), 0.0))
    unit = "px" if pitch is None and distance is None else "mm"
    parts = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)[0] - 1
    note = (
        f"{mask.sum()} pixels in {parts} part{'s' * (parts > 1)}, depth over {np.ptp(depth[mask]):.4g} {unit}, {method}"
    )
    wrote(*filter(None, (out, preview)), note=f"{note}, {'orthographic' if camera is None else 'perspective'}")


def read_normals(path: str, *, y_down: bool) -> tuple[np.ndarray, np.ndarray]:
    """(H, W, 3) float32 unit normals, and the mask (H, W) where there are any.

    Raises
    ------
    Rejected : no picture, one without three channels, or an .exr that is not ours.
    """
    if Path(path).suffix.lower() == ".exr":
        maps = read_maps(path)
        return maps.normal, maps.mask
    picture = decode(path, cv2.IMREAD_UNCHANGED)
    if picture.dtype not in (np.uint8, np.uint16) or picture.ndim != 3 or picture.shape[2] < 3:
        raise Rejected(f"{path}: not a normal map: red, green and blue of 8 or 16 bits are needed")
    normal = picture[..., 2::-1].astype(np.float32) * (2 / np.iinfo(picture.dtype).max) - 1
    if y_down:
        normal[..., 1] *= -1
    length = np.linalg.norm(normal, axis=-1, keepdims=True)
    mask = (np.abs(length[..., 0] - 1) < UNIT) & (normal[..., 2] > 0)
    return normal / np.maximum(length, 1e-6), mask


def read_camera(path: str) -> np.ndarray:
    """The camera matrix (3, 3) of a text of nine numbers.

    Raises
    ------
    UserError : it cannot be read, or is not three lines of three numbers.
    """
    wrong = UserError(f"{path}: not a camera matrix: three lines of three numbers are needed")
    try:
        text = read_text(path, most=MOST_CAMERA)
        camera = np.array([line.replace(",", " ").split() for line in text.splitlines() if line.strip()], dtype=float)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error
    except ValueError as error:  # words, rows of unlike lengths, not UTF-8
        raise wrong from error
    if camera.shape != (3, 3):
        raise wrong
    return camera
