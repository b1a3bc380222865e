"""A session's normals and albedo packed for the page, which relights them in WebGL as the pointer moves (relight.js).

Lambert's law is all there is: brightness = albedo * max(0, n . l), with n and l in the frame of docs/conventions.md
(x right, y up, z towards the camera), shown as linear as the photographs are.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass

import cv2
import numpy as np

from pipeline.maps import Maps

SIDE = 256  # most pixels along an edge
WHITE = 0.995  # the quantile of the albedo that is shown as white
STILL = (-0.45, 0.45, 0.77)  # towards the light of the still picture: from the upper left


@dataclass(frozen=True)
class Relit:
    """What the page needs of one session: square pictures of one size, as data URIs.

    Attributes
    ----------
    name
        The session.
    side
        Pixels along an edge.
    normal
        PNG, RGB = .5 n + .5; mid-grey, a vector of no length, outside the mask.
    albedo
        PNG, grey, relative to the face's `WHITE` quantile; 0 outside the mask.
    still
        JPEG, lit from `STILL`, for browsers without WebGL.
    """

    name: str
    side: int
    normal: str
    albedo: str
    still: str


def pack(name: str, maps: Maps) -> Relit:
    """Pack one session's maps.

    Parameters
    ----------
    name
        The session.
    maps
        Of any size; cut to a square about the mask, which must not be empty, and made smaller where it is larger than
        `SIDE`, never larger.
    """
    normal, albedo = square(maps)
    light = np.array(STILL) / np.linalg.norm(STILL)
    still = albedo * np.clip(normal @ light, 0, None)
    return Relit(
        name=name,
        side=len(albedo),
        normal=data_uri(0.5 + 0.5 * normal, ".png"),
        albedo=data_uri(albedo, ".png"),
        still=data_uri(still, ".jpg"),
    )


def square(maps: Maps) -> tuple[np.ndarray, np.ndarray]:
    """Normals (S, S, 3), unit inside the mask and 0 outside, and albedo (S, S) in [0, 1], the face in the middle."""
    rows, columns = np.flatnonzero(maps.mask.any(axis=1)), np.flatnonzero(maps.mask.any(axis=0))
    cut = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    inside = maps.mask[cut].astype(np.float32)
    albedo = maps.albedo[cut] / max(1e-6, float(np.quantile(maps.albedo[maps.mask], WHITE)))
    height, width = inside.shape
    side = max(height, width)
    above, left = (side - height) // 2, (side - width) // 2

    def fitted(layers: np.ndarray) -> np.ndarray:
        layers = np.pad(layers, ((above, side - height - above), (left, side - width - left), (0, 0)))
        return cv2.resize(layers, (SIDE, SIDE), interpolation=cv2.INTER_AREA) if side > SIDE else layers

    normal = fitted(maps.normal[cut] * inside[..., None])
    albedo, share = np.moveaxis(fitted(np.dstack([np.clip(albedo, 0, 1) * inside, inside])), -1, 0)
    kept = share >= 0.5  # of the pixel lies on the face
    albedo = np.divide(albedo, share, out=np.zeros_like(share), where=kept)
    length = np.linalg.norm(normal, axis=-1, keepdims=True)
    normal = np.divide(normal, length, out=np.zeros_like(normal), where=kept[..., None] & (length > 0))
    return normal, albedo


def data_uri(image: np.ndarray, suffix: str) -> str:
    """An image (H, W) grey or (H, W, 3) RGB in [0, 1] as a data URI: ``.png`` to the nearest level, or ``.jpg``."""
    pixels = np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
    options = [cv2.IMWRITE_JPEG_QUALITY, 88] if suffix == ".jpg" else [cv2.IMWRITE_PNG_COMPRESSION, 9]
    ok, data = cv2.imencode(suffix, pixels[..., ::-1] if pixels.ndim == 3 else pixels, options)
    assert ok
    kind = {".jpg": "jpeg", ".png": "png"}[suffix]
    return f"data:image/{kind};base64," + base64.b64encode(data.tobytes()).decode()
