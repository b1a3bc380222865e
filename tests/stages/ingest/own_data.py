"""A data set of one's own for tests: domes under flashes, photographed in any format."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from pipeline.lights import from_angles

RING = from_angles([35, 35, 35, 35], [45, 135, 225, 315])
SIDE = 48


def dome(lights: np.ndarray, *, albedo: float = 0.8) -> np.ndarray:
    """(k, SIDE, SIDE) photographs of a half sphere that bulges towards the camera, in the dark, linear in [0, 1]."""
    y, x = np.mgrid[1 : -1 : SIDE * 1j, -1 : 1 : SIDE * 1j] / 0.9
    inside = x**2 + y**2 < 1
    normal = np.stack([x, y, np.sqrt(np.clip(1 - x**2 - y**2, 0, None))])
    return np.where(inside, albedo * np.clip(np.einsum("kc,chw->khw", lights, normal), 0, None), 0).astype(np.float32)


def write_frame(path: Path, image: np.ndarray, *, kind: str = "8", rgb: bool = False) -> None:
    """Write (H, W) in [0, 1] in the format of the name: 8 or 16 bits or float, grey or RGB."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.dstack([image] * 3) if rgb else image
    if path.suffix == ".exr":
        import OpenEXR

        header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
        channels = {"RGB" if rgb else "Y": image.astype(np.float16 if kind == "half" else np.float32)}
        with OpenEXR.File(header, channels) as file:
            file.write(str(path))
        return
    if kind == "float":
        values = image.astype(np.float32)
    else:
        values = np.rint(image * (2 ** int(kind) - 1)).astype(np.uint8 if kind == "8" else np.uint16)
    assert cv2.imwrite(str(path), values)


def write_session(
    folder: Path, lights: np.ndarray = RING, *, suffix: str = ".png", kind: str = "8", rgb: bool = False
) -> None:
    """A session with its lights.csv; `lights` are those of the photographs and of the table."""
    for i, frame in enumerate(dome(lights)):
        write_frame(folder / f"flash{i}{suffix}", frame, kind=kind, rgb=rgb)
    write_lights(folder / "lights.csv", lights, suffix)


def write_lights(path: Path, lights: np.ndarray, suffix: str = ".png") -> None:
    """A lights.csv for flash0, flash1, ..."""
    rows = [f"flash{i}{suffix},{x:.5f},{y:.5f},{z:.5f}" for i, (x, y, z) in enumerate(lights)]
    path.write_text("\n".join(["frame,x,y,z", *rows]) + "\n")


def write_set(root: Path, *, subjects: int = 3, each: int = 2, lights: np.ndarray = RING) -> Path:
    """Some subjects with some sessions each."""
    for subject in range(subjects):
        for session in range(each):
            write_session(root / f"s{subject}" / f"v{session}", lights)
    return root
