"""The pictures on which our detector is held against the `mtcnn` package's own code (`mtcnn_reference.json`).

Made from what scikit-image brings, from `mtcnn/` (photographs that `psface simulate` made at its default parameters)
and, where they are, from Extended Yale B. Everything is resized and turned by whole-number arithmetic of numpy, so that
every machine and version makes the same pixels; `fingerprint` notices where one does not.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import cv2
import numpy as np
from skimage import data

FOLDER = Path(__file__).parent / "mtcnn"
FLASHES = ("A+000E+00", "A-010E+00", "A+010E+00", "A+000E+20", "A-005E+10")
SUBJECTS = tuple(f"yaleB{n:02}" for n in (1, 2, 5, 7, 10, 13, 15, 18, 22, 25, 28, 31))


def fingerprint(picture: np.ndarray) -> str:
    """Of pixels, their type and their shape."""
    head = f"{picture.dtype}{picture.shape}".encode()
    return hashlib.sha256(head + np.ascontiguousarray(picture).tobytes()).hexdigest()[:16]


def arrays() -> dict[str, np.ndarray]:
    """Pictures by name, (H, W, 3) uint8 RGB, from what every checkout has."""
    portrait, coffee, cat = data.astronaut(), data.coffee(), data.chelsea()
    grey = _three(grey_of(portrait))
    simulated = {path.stem: _three(_read(path)) for path in sorted(FOLDER.glob("sim*.png"))}
    faces = list(simulated.values())
    head = portrait[0:256, 96:352]
    return {
        **simulated,
        "portrait": portrait,
        "grey": grey,
        "mirrored": portrait[:, ::-1].copy(),
        "upside_down": portrait[::-1].copy(),
        "tilted_15": turned(portrait, 15),
        "tilted_-30": turned(portrait, -30),
        "dark": portrait // 4,
        "bright": (portrait.astype(int) * 2).clip(0, 255).astype(np.uint8),
        "inverted": 255 - portrait,
        "face_only": portrait[30:230, 130:311].copy(),
        "cut_at_the_eyes": portrait[100:400].copy(),
        "odd_sides": portrait[3:470, 11:508].copy(),
        "wide": np.hstack([coffee[:256], head, cat[:256]]),
        "tall": np.vstack([head, coffee[:256, :256], cat[:256, :256], head[:, ::-1]]),
        "small_128": resized(portrait, 128, 128),
        "small_96": resized(portrait, 96, 96),
        "tiny_48": resized(portrait, 48, 48),
        "tiny_24": resized(head, 24, 24),
        "tiny_20": resized(head, 20, 20),
        "tiny_13": resized(head, 13, 13),
        "stretched": resized(portrait, 512, 700),
        "large_portrait": resized(portrait, 1536, 1536),
        "large_crowd": _grid([resized(f, 320, 320) for f in (*faces[:20], head, head[:, ::-1])] * 2, 8),
        "large_scene": np.tile(np.hstack([coffee, portrait[:400]]), (3, 2, 1)),
        "crowd_of_tiny_faces": _grid([resized(f, 64, 64) for f in (*faces, head)], 6),
        "several_sizes": _several(portrait),
        "several_simulated": _grid(faces[:6], 3),
        "several_mixed": _grid([head, faces[5], head[:, ::-1], faces[18]], 2),
        "two_close": np.hstack([portrait[0:256, 150:280], portrait[0:256, 150:280][:, ::-1]]),
        "none_brick": _three(data.brick()),
        "none_flat": np.full((90, 120, 3), 128, np.uint8),
        "none_black": np.zeros((200, 150, 3), np.uint8),
        "none_coffee": coffee,
        "none_noise": np.random.Generator(np.random.PCG64(7)).integers(0, 256, (240, 320, 3), dtype=np.uint8),
        "none_page": _three(data.page()),
        "cat": cat,
        "camera": _three(data.camera()),
        "camera_small": resized(_three(data.camera()), 200, 200),
        "moon": _three(data.moon()),
        "rows_of_text": _three(data.text()),
    }


def files() -> dict[str, bytes]:
    """Pictures by the names of their files, as their bytes: what each side reads in its own way."""
    portrait, face = data.astronaut(), _read(FOLDER / "sim05.png")
    grey = grey_of(portrait)
    deep = portrait.astype(np.uint16) * 257
    soft = (grey.astype(np.uint16) * 40 + np.arange(512, dtype=np.uint16)[:, None] * 16).astype(np.uint16)
    opaque = np.dstack([portrait[..., ::-1], np.full(portrait.shape[:2], 255, np.uint8)])
    glass = np.dstack([portrait[..., ::-1], (np.indices(portrait.shape[:2]).sum(axis=0) % 256).astype(np.uint8)])
    pictures = {
        "colour.png": portrait[..., ::-1],
        "grey.png": grey,
        "grey_simulated.png": face,
        "alpha.png": opaque,
        "half_transparent.png": glass,
        "colour_16_bit.png": deep[..., ::-1],
        "grey_16_bit.png": grey.astype(np.uint16) * 257,
        "grey_16_bit_soft.png": soft,
        "simulated_16_bit.png": face.astype(np.uint16) * 200 + 99,
        "none_16_bit.png": data.brick().astype(np.uint16) * 100,
    }
    encoded = {name: cv2.imencode(".png", np.ascontiguousarray(picture))[1] for name, picture in pictures.items()}
    return {name: values.tobytes() for name, values in encoded.items()}


def yale(root: Path) -> dict[str, np.ndarray]:
    """The mean of five mild flashes of subjects of Extended Yale B, in a black border of a quarter of the height."""
    pictures = {}
    for subject in SUBJECTS:
        paths = [root / "CroppedYale" / subject / f"{subject}_P00{flash}.pgm" for flash in FLASHES]
        frames = [_read(path) for path in paths if path.exists()]  # one is not in the data set
        mean = (np.sum(frames, axis=0, dtype=int) + len(frames) // 2) // len(frames)
        border = mean.shape[0] // 4
        pictures[f"yale_{subject}"] = np.pad(
            _three(mean.astype(np.uint8)), ((border, border), (border, border), (0, 0))
        )
    return pictures


def grey_of(picture: np.ndarray) -> np.ndarray:
    """(H, W) uint8 of (H, W, 3) RGB."""
    return ((picture.astype(int) @ np.array([299, 587, 114]) + 500) // 1000).astype(np.uint8)


def resized(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """(height, width, 3) uint8: a bilinear sample in 256ths a pixel; where it shrinks, the mean of 4 x 4 of them."""
    fine = 4 if height < picture.shape[0] else 1
    values = picture.astype(np.int32)
    values = _between(values, *_samples(values.shape[1], fine * width), axis=1)
    values = values.reshape(len(values), width, fine, 3).sum(axis=2, dtype=np.int32)
    values = _between(values, *_samples(len(values), fine * height), axis=0)
    values = values.reshape(height, fine, width, 3).sum(axis=1, dtype=np.int32)
    return ((values + 32768 * fine**2) // (65536 * fine**2)).astype(np.uint8)


def _samples(length: int, to: int) -> tuple[np.ndarray, np.ndarray]:
    """Where ``to`` samples lie along a side, as whole pixels and 256ths."""
    place = ((2 * np.arange(to, dtype=np.int32) + 1) * length * 128 // to - 128).clip(0, (length - 1) * 256)
    return place // 256, place % 256


def _between(values: np.ndarray, first: np.ndarray, share: np.ndarray, axis: int) -> np.ndarray:
    second = np.minimum(first + 1, values.shape[axis] - 1)
    share = share.reshape((-1, 1) if axis else (-1, 1, 1))
    return values.take(first, axis) * (256 - share) + values.take(second, axis) * share


def turned(picture: np.ndarray, degrees: float) -> np.ndarray:
    """A square picture turned about its middle, the nearest pixel for each, black beyond its edges."""
    middle, angle = (picture.shape[0] - 1) / 2, np.radians(degrees)
    cosine, sine = (round(1024 * float(f(angle))) / 1024 for f in (np.cos, np.sin))
    y, x = np.indices(picture.shape[:2]) - middle
    row, column = (np.rint(v + middle).astype(int) for v in (y * cosine - x * sine, y * sine + x * cosine))
    inside = (row >= 0) & (row < len(picture)) & (column >= 0) & (column < len(picture))
    return np.where(inside[..., None], picture[row * inside, column * inside], 0).astype(np.uint8)


def _several(portrait: np.ndarray) -> np.ndarray:
    """Four portraits of different sizes on one canvas of odd height."""
    canvas = np.full((601, 800, 3), 90, np.uint8)
    for side, top, left in ((360, 10, 20), (250, 20, 420), (180, 390, 60), (130, 420, 500)):
        canvas[top : top + side, left : left + side] = resized(portrait, side, side)
    return canvas


def _grid(pictures: list[np.ndarray], columns: int) -> np.ndarray:
    """Pictures of one size in rows of ``columns``; what does not fill a row is left out."""
    rows = [np.hstack(pictures[i : i + columns]) for i in range(0, len(pictures) - columns + 1, columns)]
    return np.vstack(rows)


def _read(path: Path) -> np.ndarray:
    image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    assert image is not None, path
    return image


def _three(grey: np.ndarray) -> np.ndarray:
    return np.dstack([grey] * 3)
