"""Masks painted on photographs of a face, from its landmarks.

A mean head (`maskhead`) is turned and scaled until its landmarks lie on those of the picture; the mask is laid on it as
the simulator lays it on a head (`maskshape`), and what of it faces the camera is drawn where it is seen. So frontal,
left and right are one thing, and the mask turns with the face. `MaskTheFace` [1]_, which does this with three templates
and key points of dlib's 68, has given the types.

The light on the mask is the frame's own. With the face's normals n of the mean head, the light l of a frame is the
least-squares solution of B = n . l, where B is the frame's brightness over the face, smoothed: what changes slowly on a
face is its shading. The mask then shines with

    (w n_mask . l + (1 - w) B) albedo / albedo of skin

half by its own shape, half by how the light falls on this face, shadows and all. Both are linear in the light, so that
the frames of a session, painted alike, still obey Lambert's law, and normals, albedo and depth follow the mask.

References
----------
.. [1] A. Anwar, A. Raychowdhury, "Masked face recognition for secure authentication", 2020. arXiv:2008.11104
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import cv2
import numpy as np

from pipeline.maskdesigns import Design
from pipeline.maskhead import EYE_TO_EYE, MeanHead, Pose, fit_pose
from pipeline.maskshape import Patch, Strap, lay

SKIN = 0.5  # albedo of skin; what is brighter makes a mask brighter than the face
OWN_SHAPE = 0.5  # w
SMOOTH = 0.16  # standard deviation of the smoothing, in distances of the eyes
BRIGHTEST = 0.97  # of white: a mask is not overexposed, but for its brightest half percent
FINEST = 4.0  # pixels a mm that are drawn: a mask's places lie more than a millimetre apart
WIDE = 24.0  # pixels, standard deviation from which smoothing is done on a smaller image
CONTACT = 0.3  # how dark the shadow is that a mask's edge leaves, at most


@dataclass(frozen=True)
class Layer:
    """What is seen of something on a picture (H, W): how much of each pixel it covers, in [0, 1], its normals
    (H, W, 3) and its albedo (H, W)."""

    cover: np.ndarray
    normal: np.ndarray
    albedo: np.ndarray


def smoothed(values: np.ndarray, sigma: float) -> np.ndarray:
    """An image (H, W) under a Gaussian; a wide one on a smaller image, since its cost grows with its width."""
    small = int(sigma / WIDE) + 1
    if small == 1:
        return cv2.GaussianBlur(values, (0, 0), sigma)
    height, width = values.shape
    size = (max(width // small, 1), max(height // small, 1))
    coarse = cv2.GaussianBlur(cv2.resize(values, size, interpolation=cv2.INTER_AREA), (0, 0), sigma / small)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)


def draw_mask(design: Design, pose: Pose, shape: tuple[int, int]) -> Layer:
    """A mask as it is seen on a picture of a shape (H, W)."""
    return _enlarged(partial(_draw_mask, design), pose, shape)


def _draw_mask(design: Design, pose: Pose, shape: tuple[int, int]) -> Layer:
    patches, straps = lay(design, MeanHead())
    layers = [_draw_strap(strap, pose, shape) for strap in straps] + [_draw(patch, pose, shape) for patch in patches]
    whole = layers[0]
    for layer in layers[1:]:
        below = (1 - layer.cover) * whole.cover
        mine = layer.cover >= below
        whole = Layer(
            layer.cover + below,
            np.where(mine[..., None], layer.normal, whole.normal),
            np.where(mine, layer.albedo, whole.albedo),
        )
    return whole


def draw_face(pose: Pose, shape: tuple[int, int]) -> Layer:
    """The mean head's face, from the eyes to below the chin, as it is seen on a picture of a shape (H, W)."""
    azimuth, height = np.meshgrid(np.deg2rad(np.linspace(-72, 72, 97)), np.linspace(4, -116, 81))
    head = MeanHead()
    radius = cv2.GaussianBlur(head.radius(azimuth, height), (0, 0), 3)
    face = Patch(head.point(azimuth, height, radius), np.ones(azimuth.shape))
    return _enlarged(partial(_draw, face), pose, shape)


def _enlarged(draw: Callable[[Pose, tuple[int, int]], Layer], pose: Pose, shape: tuple[int, int]) -> Layer:
    """What is drawn, of large pictures on smaller ones: points as fine as their pixels would be too many to be kept."""
    times = int(np.ceil(pose.scale / FINEST))
    if times <= 1:
        return draw(pose, shape)
    height, width = (-(-side // times) for side in shape)
    middle = 0.5  # of a pixel; OpenCV, too, enlarges about the corner of the picture
    small = replace(pose, scale=pose.scale / times, origin=(pose.origin + middle) / times - middle)
    layer = draw(small, (height, width))
    seen = np.dstack([layer.cover, layer.cover[..., None] * layer.normal, layer.cover * layer.albedo])
    large = cv2.resize(seen, (width * times, height * times), interpolation=cv2.INTER_LINEAR)[: shape[0], : shape[1]]
    length = np.linalg.norm(large[..., 1:4], axis=-1, keepdims=True)
    return Layer(
        np.ascontiguousarray(large[..., 0]),
        large[..., 1:4] / np.maximum(length, 1e-9),
        large[..., 4] / np.maximum(large[..., 0], 1e-9),
    )


def _draw(patch: Patch, pose: Pose, shape: tuple[int, int]) -> Layer:
    """What of a patch faces the camera: its grid made so fine that no pixel is missed, and averaged in each."""
    places, albedo = patch.places, patch.albedo
    if patch.closed:
        places, albedo = (np.concatenate([each, each[:, :1]], axis=1) for each in (places, albedo))
    turned = pose.turn(places)
    normal = np.cross(np.gradient(turned, axis=1), -np.gradient(turned, axis=0))
    normal /= np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-9)
    normal = -normal if patch.closed else normal
    pixels = pose.project(places)
    step = max(np.linalg.norm(np.diff(pixels, axis=axis), axis=-1).max() for axis in (0, 1))
    finer = (np.array(albedo.shape)[::-1] * int(np.clip(np.ceil(4 * step), 1, 32))).tolist()
    together = np.dstack([pixels, normal, albedo]).astype(np.float32)
    fine = np.dstack([cv2.resize(together[..., i], finer, interpolation=cv2.INTER_LINEAR) for i in range(6)])
    seen = fine[fine[..., 4] > 0.05]
    return _gather(seen[:, :2], seen[:, 2:], shape)


def _gather(pixels: np.ndarray, values: np.ndarray, shape: tuple[int, int]) -> Layer:
    """Normals and albedo (N, 4) of many points at their pixels (N, 2), averaged; cover is by quarters of a pixel."""
    height, width = shape
    half = np.floor(2 * (pixels + 0.5)).astype(int)
    inside = (half >= 0).all(1) & (half[:, 0] < 2 * width) & (half[:, 1] < 2 * height)
    half, values = half[inside], values[inside]
    touched = np.zeros((2 * height, 2 * width), np.float32)
    touched[half[:, 1], half[:, 0]] = 1
    cover = touched.reshape(height, 2, width, 2).mean(axis=(1, 3))
    flat = (half[:, 1] // 2) * width + half[:, 0] // 2
    count = np.maximum(np.bincount(flat, minlength=height * width), 1)
    means = [np.bincount(flat, column, height * width) / count for column in values.T]
    normal = np.stack(means[:3], axis=-1).reshape(height, width, 3)
    normal /= np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-9)
    return Layer(cover, normal.astype(np.float32), means[3].reshape(height, width).astype(np.float32))


def _draw_strap(strap: Strap, pose: Pose, shape: tuple[int, int]) -> Layer:
    """What of a strap is on the side of the head that is seen."""
    outward = pose.turn(strap.path * [1, 0, 1])
    facing = outward[:, 2] / np.linalg.norm(outward, axis=1) > 0.1
    points = pose.project(strap.path)
    cover = np.zeros(shape, np.uint8)
    thick, fixed = max(1, int(2 * strap.radius * pose.scale)), 4  # binary digits of a pixel
    for one, other, seen in zip(points[:-1], points[1:], facing[:-1] & facing[1:], strict=True):
        if seen and max(np.abs(one).max(), np.abs(other).max()) < 1e5:
            begin, end = (np.rint(point * 2**fixed).astype(int).tolist() for point in (one, other))
            cv2.line(cover, begin, end, 255, thick, cv2.LINE_AA, fixed)
    normal = np.zeros((*shape, 3), np.float32)
    normal[...] = pose.rotation @ [0, 0, 1]
    return Layer(cover.astype(np.float32) / 255, normal, np.full(shape, strap.albedo, np.float32))


@dataclass(frozen=True)
class Painter:
    """A mask ready to be painted on all photographs of one face from one place.

    Attributes
    ----------
    mask, face : what is seen of the mask, and of the face below it.
    smooth : pixels, standard deviation of the smoothing.
    tint : (3,) factors of red, green and blue, of mean 1; a grey picture has none.
    """

    mask: Layer
    face: Layer
    smooth: float
    tint: np.ndarray

    @classmethod
    def of(cls, design: Design, pose: Pose, shape: tuple[int, int]) -> Painter:
        """The painter of a design on a face of a pose, for pictures of a shape (H, W)."""
        tint = np.exp(np.random.default_rng(design.seed + 2).normal(0, 0.25, 3))
        smooth = max(SMOOTH * EYE_TO_EYE * pose.scale, 0.8)
        return cls(draw_mask(design, pose, shape), draw_face(pose, shape), smooth, tint / tint.mean())

    def light(self, frame: np.ndarray) -> np.ndarray:
        """The light (3,) of a linear grey frame (H, W), in units of the frame."""
        brightness, known = self._shading(frame)
        inside = known & (self.face.cover > 0.5)
        if inside.sum() < 12:
            return np.array([0.0, 0.0, float(frame.mean())])
        rows, values = self.face.normal[inside].astype(float), brightness[inside].astype(float)
        lit = values > 0.1 * values.max()
        found = np.linalg.lstsq(rows[lit], values[lit], rcond=None)[0]
        return np.asarray(found)

    def shine(self, frame: np.ndarray) -> np.ndarray:
        """How bright a mask of white would be on a linear grey frame (H, W)."""
        own = np.maximum(self.mask.normal @ self.light(frame).astype(np.float32), 0)
        return np.asarray((OWN_SHAPE * own + (1 - OWN_SHAPE) * self._shading(frame)[0]) / SKIN)

    def paint(self, frames: np.ndarray) -> np.ndarray:
        """Linear grey frames (k, H, W) of one session, masked.

        All masks of a session have one albedo: as dark as it takes for the brightest frame not to be overexposed.
        """
        shines = np.stack([self.shine(frame) for frame in frames])
        bright = (shines * self.mask.albedo)[:, self.mask.cover > 0.5]
        top = float(np.quantile(bright, 0.995)) if bright.size else 0.0
        white = max(1.0, float(frames.max()))
        most = min(1.0, BRIGHTEST * white / max(top, 1e-9))
        painted = most * shines * self.mask.albedo
        return np.asarray(self._blend(frames, painted), np.float32)

    def paint_colour(self, picture: np.ndarray) -> np.ndarray:
        """A picture (H, W, 3) RGB in [0, 1], masked."""
        grey = picture.mean(axis=-1)
        painted = self.shine(grey) * self.mask.albedo
        colour = np.clip(painted[..., None] * self.tint, 0, BRIGHTEST)
        return np.stack([self._blend(picture[None, ..., i], colour[None, ..., i])[0] for i in range(3)], axis=-1)

    def _blend(self, frames: np.ndarray, painted: np.ndarray) -> np.ndarray:
        """Painted over the frames (k, H, W), with the shadow that the mask's edge leaves beside it."""
        cover = self.mask.cover
        near = smoothed(cover, max(0.25 * self.smooth, 0.5))
        return np.asarray(frames * (1 - CONTACT * near * (1 - cover)) * (1 - cover) + painted * cover)

    def _shading(self, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The frame's brightness over the face, smoothed without what is beside it, and where that is known."""
        weight = (self.face.cover > 0.5).astype(np.float32)
        spread = smoothed(weight, self.smooth)
        total = smoothed(weight * frame.astype(np.float32), self.smooth)
        known = spread > 0.02
        mean = float((weight * frame).sum() / max(weight.sum(), 1))
        return np.where(known, total / np.maximum(spread, 0.02), mean).astype(np.float32), known


def wear(design: Design, frames: np.ndarray, landmarks: np.ndarray | Mapping[str, np.ndarray]) -> np.ndarray:
    """Photographs of one face from one place, masked alike.

    Parameters
    ----------
    frames : (k, H, W) linear grey, or one (H, W, 3) RGB in [0, 1]
    landmarks : as of `fit_pose`, in their pixels

    Returns
    -------
    Of the same shape, float32.
    """
    colour = frames.ndim == 3 and frames.shape[2] == 3 and frames.shape[0] > 3
    shape = frames.shape[:2] if colour else frames.shape[1:]
    painter = Painter.of(design, fit_pose(landmarks), (int(shape[0]), int(shape[1])))
    return np.asarray(painter.paint_colour(frames) if colour else painter.paint(frames), np.float32)
