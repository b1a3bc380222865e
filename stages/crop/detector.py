"""MTCNN: faces and their five landmarks in batches of images, on any torch device.

The three networks of `models/mtcnn.py` in their cascade: proposals over an image pyramid, refinement, output. Given
the same image it finds what the `mtcnn` package's TensorFlow code finds (tests/data/mtcnn_reference.json), so its
steps are kept: levels by exact area averaging to truncated sizes, patches by bilinear sampling, mid-grey outside the
image. What differs: images of a size run together, groups of them in threads of their own, and the number of candidates
and the pixels of a level that are looked at together are bounded, so memory does not grow with the number of images or
with what they show.

References
----------
Zhang et al., Joint face detection and alignment using multitask cascaded convolutional networks, 2016
(arXiv:1604.02878).
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from stages.crop import boxes as bx
from stages.crop.pyramid import level, planes, scales, strips
from stages.crop.weights import load_networks

MAX_PROPOSALS = 1000  # of a level; of an image, where it has no more than a million pixels
MAX_PIXELS = 1 << 21  # of the images that run together
CACHED_PIXELS = 1 << 17  # of a level that run together on a processor, whose cache holds their features
OUTSIDE = -3.0  # a place that no pixel is near, where an image is from -1 to 1
MAX_PATCHES = 64  # that run together through a network
PREPARED = 128  # layers, each for a shape of its input, that oneDNN keeps; a batch of two sizes has some 80


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


@contextmanager
def _one_thread() -> Iterator[None]:
    """Its many small steps wait for each other's threads longer than these save: threads take images of their own."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


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
        _keep_freed_memory()
        os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", str(PREPARED))  # read when the first layer runs
        self.pnet, self.rnet, self.onet = load_networks(device)
        self.strip = CACHED_PIXELS if device == "cpu" else MAX_PIXELS

    def detect(self, images: Sequence[np.ndarray]) -> list[list[Face]]:
        """Faces of each image, most confident first.

        Parameters
        ----------
        images : sequence of (H, W) grey or (H, W, 3) RGB
            8-bit levels, 0 to 255, as uint8 or float. Sizes may differ; images of one size run together.
        """
        for image in images:
            if image.ndim not in (2, 3) or image.shape[2:] not in ((), (3,)) or 0 in image.shape:
                raise ValueError(f"an image is (H, W) or (H, W, 3), got {image.shape}")
        plain = [_plain(image) for image in images]
        threads = torch.get_num_threads() if self.device == "cpu" else 1
        groups = _groups([image.shape for image in plain], threads)
        found: list[list[Face]] = [[] for _ in images]
        with _one_thread(), ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            run = map if threads == 1 or len(groups) == 1 else pool.map
            for group, faces in zip(groups, run(lambda g: self._detect([plain[i] for i in g]), groups), strict=True):
                for i, own in zip(group, faces, strict=True):
                    found[i] = own
        return found

    @torch.inference_mode()
    def _detect(self, images: list[np.ndarray]) -> list[list[Face]]:
        """Faces of images of one shape."""
        height, width = images[0].shape[:2]
        turned = [planes(image) for image in images]
        limit = MAX_PROPOSALS * max(1, height * width // 1_000_000)
        boxes = bx.squared(self._propose(turned, limit))
        stack = [torch.from_numpy(image).to(self.device).permute(1, 2, 0) for image in turned]  # each (C, H, W)
        boxes = bx.squared(self._refine(stack, boxes))
        rows = self._output(stack, boxes)
        rows[:, [1, 3]] = rows[:, [1, 3]].clip(0, width - 1)
        rows[:, [2, 4]] = rows[:, [2, 4]].clip(0, height - 1)
        faces: list[list[Face]] = [[] for _ in images]
        for row in rows:
            faces[int(row[0])].append(Face(row[1:5], float(row[5]), np.stack([row[6:11], row[11:16]], axis=1)))
        return faces

    def _propose(self, images: list[np.ndarray], limit: int) -> np.ndarray:
        """Boxes of images (W, C, H) of one shape, at most ``limit`` each."""
        width, _, height = images[0].shape
        found = [np.empty((0, bx.COLUMNS))]
        for scale in scales((height, width), self.min_face):
            small = torch.from_numpy(level(images, scale)).to(self.device).movedim(-1, 1)
            parts = [self._windows(part, scale, where) for *where, part in strips(small, self.strip)]
            found.append(bx.suppress(bx.most_confident(np.concatenate(parts), limit), 0.5))
        return bx.most_confident(bx.suppress(np.concatenate(found), 0.7), limit)

    def _windows(self, part: Tensor, scale: float, first: list[int]) -> np.ndarray:
        """Boxes of a part (B, C, h, w) of a level that begins at an image and a row of windows."""
        where, scores, offsets = (found.cpu().numpy() for found in self.pnet(part, self.thresholds[0]))
        image, row, column = where.T
        return bx.proposals(image + first[0], row + first[1], column, offsets.astype(float), scores, scale)

    def _refine(self, stack: list[Tensor], boxes: np.ndarray) -> np.ndarray:
        parts = [boxes[:0]]
        for part in _parts(boxes):
            offsets, scores = self.rnet(patches(stack, part, 24))
            parts.append(bx.refined(part, offsets.cpu().numpy(), scores.cpu().numpy()))
        boxes = np.concatenate(parts)
        return bx.suppress(boxes[boxes[:, 5] > self.thresholds[1]], 0.7)

    def _output(self, stack: list[Tensor], boxes: np.ndarray) -> np.ndarray:
        """(n, 16) rows: a box's columns, then its landmarks x1..x5, y1..y5."""
        parts = [np.empty((0, bx.COLUMNS + 10))]
        for part in _parts(boxes):
            offsets, shares, scores = self.onet(patches(stack, part, 48))
            moved = bx.refined(part, offsets.cpu().numpy(), scores.cpu().numpy())
            parts.append(np.hstack([moved, bx.landmarks_in(part, shares.cpu().numpy())]))
        rows = np.concatenate(parts)
        return bx.suppress(rows[rows[:, 5] > self.thresholds[2]], 0.7, over="smaller")


def _keep_freed_memory() -> None:
    """Have the C library keep what is freed for the next layer: to ask the system for it anew would take half the time.

    glibc takes the largest block that it was asked for and given back, up to 32 MB, for what programs use for a short
    time: it keeps twice that (mallopt(3), M_MMAP_THRESHOLD). The block is never touched; elsewhere this does nothing.
    """
    np.empty(31 << 20, dtype=np.uint8)


def _groups(shapes: Sequence[tuple[int, ...]], threads: int) -> list[list[int]]:
    """Images, by their numbers, that run together: of one shape, no more than memory allows or a thread's share."""
    by_shape: dict[tuple[int, ...], list[int]] = {}
    for i, shape in enumerate(shapes):
        by_shape.setdefault(shape, []).append(i)
    groups = []
    for shape, members in by_shape.items():
        together = max(1, min(MAX_PIXELS // math.prod(shape[:2]), -(-len(members) // threads)))
        groups += [members[start : start + together] for start in range(0, len(members), together)]
    return groups


def _plain(image: np.ndarray) -> np.ndarray:
    """The image; (H, W) where three equal channels only repeat a grey one."""
    if image.ndim == 2:
        return image
    for rows in (image[:1], image):  # one row tells most
        if any(not np.array_equal(rows[..., 0], rows[..., c]) for c in (1, 2)):
            return image
    return image[..., 0]


def _parts(boxes: np.ndarray) -> list[np.ndarray]:
    return [boxes[i : i + MAX_PATCHES] for i in range(0, len(boxes), MAX_PATCHES)]


def patches(stack: Sequence[Tensor], boxes: np.ndarray, size: int) -> Tensor:
    """Boxes cut out of images, each (C, H, W), and resized, (n, C, size, size); 0, mid-grey, outside the image.

    Bilinear between corner pixels, as TensorFlow's ``crop_and_resize``, for boxes given as shares of the image's sides.
    Boxes are sorted by image.
    """
    channels, height, width = stack[0].shape
    grid = np.empty((len(boxes), size, size, 2), dtype=np.float32)
    grid[..., 0] = _samples(boxes[:, 1], boxes[:, 3], width, size)[:, None, :]
    grid[..., 1] = _samples(boxes[:, 2], boxes[:, 4], height, size)[:, :, None]
    places = torch.from_numpy(grid).to(stack[0].device)
    cut = stack[0].new_empty(len(boxes), size, size, channels).permute(0, 3, 1, 2)  # a pixel's channels side by side
    for image in np.unique(boxes[:, 0]):
        first, end = np.searchsorted(boxes[:, 0], [image, image + 1])
        of_all = stack[int(image)].expand(end - first, -1, -1, -1)
        cut[first:end] = F.grid_sample(of_all, places[first:end], align_corners=True)
    return cut


def _samples(low: np.ndarray, high: np.ndarray, length: int, size: int) -> np.ndarray:
    """Along one axis of each box, (n, size): places from -1, the first pixel, to 1, the last; far off outside those."""
    share = np.arange(size) / (size - 1)
    place = (low[:, None] + (high - low)[:, None] * share) * (2 / length) - 1
    return np.where(abs(place) <= 1, place, OUTSIDE)
