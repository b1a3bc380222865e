"""MTCNN: faces and their five landmarks in batches of images, on any torch device.

The three networks of `models/mtcnn.py` in their cascade: proposals over an image pyramid, refinement, output. Given
the same image it finds what the `mtcnn` package's TensorFlow code finds (tests/data/mtcnn_reference.json), so its
steps are kept: levels by exact area averaging to truncated sizes, patches by bilinear sampling, mid-grey outside the
image. What differs: images of a size run together, and the number of candidates is bounded, so memory does not grow
with the picture's content.

References
----------
Zhang et al., Joint face detection and alignment using multitask cascaded convolutional networks, 2016
(arXiv:1604.02878).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from stages.crop import boxes as bx
from stages.crop.weights import load_networks

PYRAMID_STEP = 0.709
MAX_PROPOSALS = 1000  # of an image, at a level and after all levels
MAX_PIXELS = 1 << 23  # of the images that run together
MAX_PATCHES = 512  # that run together through a network


@dataclass(frozen=True)
class Face:
    """A face in an image.

    Attributes
    ----------
    box : (4,) float64
        x1, y1, x2, y2 in pixels, inside the image.
    confidence : float
        In [0, 1].
    landmarks : (5, 2) float64
        (x, y) in pixels in the order of `pipeline.geometry.LANDMARKS`; they may lie outside the image.
    """

    box: np.ndarray
    confidence: float
    landmarks: np.ndarray

    @property
    def area(self) -> float:
        """Of the box, in pixels."""
        return float((self.box[2] - self.box[0]) * (self.box[3] - self.box[1]))


class Detector:
    """Finds faces in batches of images.

    Parameters
    ----------
    device : str
        Where the networks run: ``"cpu"``, ``"cuda"``, ...
    min_face : int
        Side in pixels of the smallest face looked for, at least 12. Work falls with its square.
    thresholds : three floats
        Least confidence after proposal, refinement and output; the package's defaults.
    """

    def __init__(
        self, device: str = "cpu", *, min_face: int = 20, thresholds: tuple[float, float, float] = (0.6, 0.7, 0.8)
    ) -> None:
        if min_face < bx.WINDOW:
            raise ValueError(f"min_face is {min_face}; the networks see nothing below {bx.WINDOW} px")
        self.device, self.min_face, self.thresholds = device, min_face, thresholds
        self.pnet, self.rnet, self.onet = load_networks(device)

    def detect(self, images: Sequence[np.ndarray]) -> list[list[Face]]:
        """Faces of each image, most confident first.

        Parameters
        ----------
        images : sequence of (H, W) grey or (H, W, 3) RGB
            8-bit levels, 0 to 255, as uint8 or float. Sizes may differ; images of one size run together.
        """
        found: list[list[Face]] = [[] for _ in images]
        by_shape: dict[tuple[int, ...], list[int]] = {}
        for i, image in enumerate(images):
            if image.ndim not in (2, 3) or image.shape[2:] not in ((), (3,)) or 0 in image.shape:
                raise ValueError(f"an image is (H, W) or (H, W, 3), got {image.shape}")
            by_shape.setdefault(image.shape, []).append(i)
        for shape, members in by_shape.items():
            together = max(1, MAX_PIXELS // math.prod(shape))
            for start in range(0, len(members), together):
                chosen = members[start : start + together]
                for i, faces in zip(chosen, self._detect([images[i] for i in chosen]), strict=True):
                    found[i] = faces
        return found

    @torch.inference_mode()
    def _detect(self, images: list[np.ndarray]) -> list[list[Face]]:
        """Faces of images of one shape."""
        stack = torch.from_numpy(np.stack(images).astype(np.float32)).to(self.device)
        stack = stack[:, None] if stack.ndim == 3 else stack.permute(0, 3, 1, 2)
        stack = ((stack - 127.5) / 128).contiguous()  # (B, 1 or 3, H, W)
        boxes = bx.squared(self._propose(stack))
        boxes = bx.squared(self._refine(stack, boxes))
        rows = self._output(stack, boxes)
        height, width = stack.shape[2:]
        rows[:, [1, 3]] = rows[:, [1, 3]].clip(0, width - 1)
        rows[:, [2, 4]] = rows[:, [2, 4]].clip(0, height - 1)
        faces: list[list[Face]] = [[] for _ in images]
        for row in rows:
            faces[int(row[0])].append(Face(row[1:5], float(row[5]), np.stack([row[6:11], row[11:16]], axis=1)))
        return faces

    def _propose(self, stack: Tensor) -> np.ndarray:
        height, width = stack.shape[2:]
        found = [np.empty((0, bx.COLUMNS))]
        scale = bx.WINDOW / self.min_face
        while int(min(height, width) * scale) >= bx.WINDOW:
            level = area_resize(stack, int(height * scale), int(width * scale))
            offsets, scores = self.pnet(level.expand(-1, 3, -1, -1))
            boxes = bx.proposals(scores.cpu().numpy(), offsets.cpu().numpy(), self.thresholds[0], scale, MAX_PROPOSALS)
            found.append(bx.suppress(boxes, 0.5))
            scale *= PYRAMID_STEP
        return bx.most_confident(bx.suppress(np.concatenate(found), 0.7), MAX_PROPOSALS)

    def _refine(self, stack: Tensor, boxes: np.ndarray) -> np.ndarray:
        parts = [boxes[:0]]
        for part in _parts(boxes):
            offsets, scores = self.rnet(patches(stack, part, 24).expand(-1, 3, -1, -1))
            parts.append(bx.refined(part, offsets.cpu().numpy(), scores.cpu().numpy()))
        boxes = np.concatenate(parts)
        return bx.suppress(boxes[boxes[:, 5] > self.thresholds[1]], 0.7)

    def _output(self, stack: Tensor, boxes: np.ndarray) -> np.ndarray:
        """(n, 16) rows: a box's columns, then its landmarks x1..x5, y1..y5."""
        parts = [np.empty((0, bx.COLUMNS + 10))]
        for part in _parts(boxes):
            offsets, shares, scores = self.onet(patches(stack, part, 48).expand(-1, 3, -1, -1))
            moved = bx.refined(part, offsets.cpu().numpy(), scores.cpu().numpy())
            parts.append(np.hstack([moved, bx.landmarks_in(part, shares.cpu().numpy())]))
        rows = np.concatenate(parts)
        return bx.suppress(rows[rows[:, 5] > self.thresholds[2]], 0.7, over="smaller")


def _parts(boxes: np.ndarray) -> list[np.ndarray]:
    return [boxes[i : i + MAX_PATCHES] for i in range(0, len(boxes), MAX_PATCHES)]


def area_resize(stack: Tensor, height: int, width: int) -> Tensor:
    """Images (B, C, H, W) made smaller, each pixel the exact mean of the area under it."""
    return _shrink(_shrink(stack, height, 2), width, 3)


def _shrink(stack: Tensor, length: int, axis: int) -> Tensor:
    factor = stack.shape[axis] / length
    start = np.arange(length) * factor
    index = np.floor(start)[:, None].astype(np.int64) + np.arange(math.ceil(factor) + 1)  # (length, taps)
    weight = np.minimum(index + 1, (start + factor)[:, None]) - np.maximum(index, start[:, None])
    shares = torch.from_numpy((weight.clip(0) / factor).astype(np.float32)).to(stack.device)
    places = torch.from_numpy(index.clip(max=stack.shape[axis] - 1)).to(stack.device)
    shape = [1, 1, 1, 1]
    shape[axis] = length
    total = stack.index_select(axis, places[:, 0]) * shares[:, 0].view(shape)
    for tap in range(1, index.shape[1]):
        total = total + stack.index_select(axis, places[:, tap]) * shares[:, tap].view(shape)
    return total


def patches(stack: Tensor, boxes: np.ndarray, size: int) -> Tensor:
    """Boxes cut out of images (B, C, H, W) and resized, (n, C, size, size); 0, which is mid-grey, outside the image.

    Bilinear between corner pixels, as TensorFlow's ``crop_and_resize``, for boxes given as shares of the image's sides.
    """
    channels, height, width = stack.shape[1:]
    y0, y1, wy, y_in = _samples(boxes[:, 2], boxes[:, 4], height, size)
    x0, x1, wx, x_in = _samples(boxes[:, 1], boxes[:, 3], width, size)
    image = boxes[:, 0].astype(np.int64)[:, None]
    to = stack.device
    rows = stack.permute(0, 2, 3, 1).reshape(-1, channels)  # (B H W, C)
    down, across = torch.from_numpy(wy[:, :, None, None]).to(to), torch.from_numpy(wx[:, None, :, None]).to(to)

    def at(y: np.ndarray, x: np.ndarray) -> Tensor:
        flat = ((image * height + y) * width)[:, :, None] + x[:, None, :]  # (n, size, size)
        return rows[torch.from_numpy(flat).to(to)]

    top = at(y0, x0) * (1 - across) + at(y0, x1) * across
    bottom = at(y1, x0) * (1 - across) + at(y1, x1) * across
    inside = torch.from_numpy(y_in[:, :, None, None] & x_in[:, None, :, None]).to(to)
    return torch.where(inside, top * (1 - down) + bottom * down, 0).permute(0, 3, 1, 2)


def _samples(
    low: np.ndarray, high: np.ndarray, length: int, size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Along one axis of each box: neighbours below and above (n, size), the weight of the upper one, what is inside."""
    share = np.arange(size) / (size - 1)
    place = (low[:, None] + (high - low)[:, None] * share) * ((length - 1) / length)
    below = np.floor(place)
    inside = (place >= 0) & (place <= length - 1)
    first = below.clip(0, length - 1).astype(np.int64)
    second = np.ceil(place).clip(0, length - 1).astype(np.int64)
    return first, second, (place - below).astype(np.float32), inside
