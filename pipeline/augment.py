"""Augmentation of faces that turns vectors along with pixels, vectorised over a batch.

What happens to a session is drawn once (`draw`) and then done to each of its modalities (`apply`), so that they still
belong together: a mirror negates n_x, a rotation in the plane rotates (n_x, n_y), a zoom scales depth, a tilt adds a
plane to depth and shears the normals by its slopes, as a wrong light direction does. Input and output are preprocessed
faces.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import reduce
from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from pipeline.faces import DEPTH_GAIN, HIGHEST, LOWEST, PREPROCESSING, mirror
from pipeline.params import Augment

EYES = 0.3146  # distance of the eyes on the aligned face over its side
# largest deviation in a patch
NOISE = {"normal": 0.1, "depth": 0.1, "albedo": 0.3, "frame": 0.3, "frames": 0.3, "colour": 0.3}
BLUR = 5  # pixels


@dataclass
class Draw:
    """What happens to each of B sessions; all (B,) unless said otherwise.

    Attributes
    ----------
    mirrored : bool
    angle : float
        Of the picture's content, anticlockwise, radians.
    zoom : float
        Above 1 the face grows.
    shift : (B, 2) float
        Of the content to the right and downwards, in shares of the side.
    slopes : (B, 2) float
        Of the plane added to the surface: dz/dx and dz/dy.
    gamma, ramp : float, (B, 2) float
        Exponent of the brightness, and its slopes across the picture to the right and downwards.
    gain : (B, 16) float
        Of each frame; of a seventeenth frame, that of the first.
    noisy, blurred, cut : (B, 4) float
        Patches as left, top, right, bottom in shares of the side; of no area where there is none.
    brightness : float
        Factor of albedo and frames as a whole, after they were divided by their mean.
    turn : bool
        Of all: whether a mirror and a rotation turn the normals too.
    noise : float
        Deviation inside the noisy patch, as a share of the modality's largest.
    grain : Generator
        What the noise itself is drawn from.
    swap : (B, k) int, optional
        Which flashes of `frames` change places in a mirror; not drawn, but each session's own.
    """

    mirrored: Tensor
    angle: Tensor
    zoom: Tensor
    shift: Tensor
    slopes: Tensor
    gamma: Tensor
    ramp: Tensor
    gain: Tensor
    noisy: Tensor
    blurred: Tensor
    cut: Tensor
    brightness: Tensor
    turn: bool
    noise: Tensor
    grain: Generator
    swap: Tensor | None = None

    def to(self, device: str | torch.device) -> Draw:
        """The same draw on a device; its grain stays where random numbers are drawn, on the processor."""
        held = {field.name: getattr(self, field.name) for field in fields(self)}
        moved: dict[str, Any] = {name: value.to(device) for name, value in held.items() if isinstance(value, Tensor)}
        return replace(self, **moved)


def draw(count: int, how: Augment, rng: Generator) -> Draw:
    """Draw what happens to each of ``count`` sessions."""

    def uniform(limit: float, *shape: int) -> Tensor:
        return (torch.rand((count, *shape), generator=rng) * 2 - 1) * limit

    def patch(share: float) -> Tensor:
        size = 0.15 + 0.25 * torch.rand((count, 2), generator=rng)
        start = torch.rand((count, 2), generator=rng) * (1 - size)
        there = torch.rand((count, 1), generator=rng) < share
        return torch.cat([start, start + size * there], dim=1)

    return Draw(
        mirrored=torch.rand(count, generator=rng) < how.mirror,
        angle=torch.deg2rad(uniform(how.rotate)),
        zoom=torch.exp(uniform(how.zoom)),
        shift=uniform(how.shift, 2),
        slopes=torch.tan(torch.deg2rad(uniform(how.tilt, 2))),
        gamma=torch.exp(uniform(how.light)),
        ramp=uniform(how.light, 2),
        gain=torch.exp(uniform(how.light, 16)),
        noisy=patch(how.patches),
        blurred=patch(how.patches),
        cut=patch(how.cut),
        brightness=torch.exp(uniform(how.gain)) if how.gain else torch.ones(count),
        turn=how.turn,
        noise=torch.rand(count, generator=rng),
        grain=rng,
    )


def apply(drawn: Draw, batch: Tensor, modality: str) -> Tensor:
    """Do what was drawn to one modality (B, C, H, W), on its device; the result is as `pipeline.faces.preprocess`
    leaves faces.
    """
    if len(batch) != len(drawn.angle):
        raise ValueError(f"expected {len(drawn.angle)} faces, as were drawn, got {len(batch)}")
    mirrored = batch.flip(3) if modality == "normal" and not drawn.turn else mirror(batch, modality, drawn.swap)
    x, inside = _warp(torch.where(_column(drawn.mirrored), mirrored, batch), drawn)
    if modality == "normal":
        x = _turn(x, drawn)
    elif modality == "depth":
        x = _tilt(x, inside, drawn)
    x = _patch(x, drawn, modality)
    if modality == "normal":
        x = x * (x * x).sum(dim=1, keepdim=True).clamp(min=1e-12).rsqrt()  # Tensor.norm takes ten times as long here
    elif PREPROCESSING[modality] == "mean-relative-1":
        x = _relight(x, inside, drawn)
    return x * (inside & ~_within(drawn.cut, x)).to(x.dtype)


def augment(
    faces: Mapping[str, Tensor],
    how: Augment,
    rng: Generator,
    device: str | torch.device = "cpu",
    *,
    swap: Tensor | None = None,
) -> dict[str, Tensor]:
    """One draw for all modalities (B, C, H, W) of the same sessions, done on a device and the same on each.

    ``swap`` (B, k) is what the mirror of `frames` needs, `FaceStore.swap`.
    """
    drawn = replace(draw(len(next(iter(faces.values()))), how, rng), swap=swap).to(device)
    return {name: apply(drawn, batch.to(device), name) for name, batch in faces.items()}


def _column(values: Tensor) -> Tensor:
    return values[:, None, None, None]


def _warp(x: Tensor, drawn: Draw) -> tuple[Tensor, Tensor]:
    """Rotate, zoom and shift, in one resampling: the values and, (B, 1, H, W) bool, where they are the face's."""
    inside = reduce(torch.logical_or, (x != 0).split(1, dim=1))  # any(dim=1) takes five times as long
    x = torch.cat([x, inside], dim=1)
    cos, sin = torch.cos(drawn.angle) / drawn.zoom, torch.sin(drawn.angle) / drawn.zoom
    right, down = 2 * drawn.shift.unbind(1)[0], 2 * drawn.shift.unbind(1)[1]
    # what F.affine_grid gives, by sums instead of a product of matrices, in a tenth of the time
    along, across = (2 * place for place in _places(x))
    columns = _column(cos) * (along - _column(right)) - _column(sin) * (across - _column(down))
    rows = _column(sin) * (along - _column(right)) + _column(cos) * (across - _column(down))
    moved = F.grid_sample(x, torch.stack([columns, rows], dim=-1)[:, 0].to(x), align_corners=False)
    share = moved[:, -1:]  # of the face in each pixel; the rest are zeros that must not be mixed in
    return moved[:, :-1] / share.clamp(min=0.5), share > 0.5


def _turn(x: Tensor, drawn: Draw) -> Tensor:
    """Normals rotated in the plane, then those of the surface with a plane added to it."""
    angle = drawn.angle if drawn.turn else torch.zeros_like(drawn.angle)
    cos, sin = _column(torch.cos(angle))[:, 0], _column(torch.sin(angle))[:, 0]
    slope_x, slope_y = (_column(s)[:, 0] for s in drawn.slopes.unbind(1))
    nx, ny, nz = x.unbind(1)
    return torch.stack([cos * nx - sin * ny - slope_x * nz, sin * nx + cos * ny - slope_y * nz, nz], dim=1)


def _tilt(x: Tensor, inside: Tensor, drawn: Draw) -> Tensor:
    """Depth in eye distances of the zoomed face, with a plane added; its mean inside stays 0."""
    right, down = _places(x)
    plane = (_column(drawn.slopes[:, 0]) * right - _column(drawn.slopes[:, 1]) * down) * (DEPTH_GAIN / EYES)
    tilted = x * _column(drawn.zoom) + plane
    mean = (tilted * inside).sum(dim=(1, 2, 3), keepdim=True) / inside.sum(dim=(1, 2, 3), keepdim=True).clamp(min=1)
    return tilted - mean


def _relight(x: Tensor, inside: Tensor, drawn: Draw) -> Tensor:
    """Brightness over its mean: another exponent, a slope across the picture, for each frame a gain, and one of all."""
    right, down = _places(x)
    value = (x + 1).clamp(min=0) ** _column(drawn.gamma)
    value = value * (1 + _column(drawn.ramp[:, 0]) * 2 * right + _column(drawn.ramp[:, 1]) * 2 * down)
    if x.shape[1] > 1:  # of one frame alone the gain cancels
        gains = drawn.gain.repeat(1, -(-x.shape[1] // drawn.gain.shape[1]))
        value = value * gains[:, : x.shape[1], None, None]
    pixels = inside.sum(dim=(1, 2, 3), keepdim=True).clamp(min=1) * x.shape[1]
    mean = (value * inside).sum(dim=(1, 2, 3), keepdim=True) / pixels
    return (value / mean.clamp(min=1e-6) * _column(drawn.brightness) - 1).clamp(LOWEST, HIGHEST)


def _patch(x: Tensor, drawn: Draw, modality: str) -> Tensor:
    """Noise in one patch, blur in another, of the samples that have one."""
    noisy, blurred = (torch.nonzero(p[:, 2] > p[:, 0]).squeeze(1) for p in (drawn.noisy, drawn.blurred))
    if len(noisy):
        noise = torch.randn((len(noisy), *x.shape[1:]), generator=drawn.grain).to(x)
        deviation = _column(drawn.noise[noisy] * NOISE[modality])
        x = x.index_add(0, noisy, noise * deviation * _within(drawn.noisy[noisy], x))
    if len(blurred):
        sharp = x[blurred]
        smooth = F.avg_pool2d(sharp, BLUR, stride=1, padding=BLUR // 2, count_include_pad=False)
        x = x.index_copy(0, blurred, torch.where(_within(drawn.blurred[blurred], x), smooth, sharp))
    return x


def _places(x: Tensor) -> tuple[Tensor, Tensor]:
    """Places of columns (1, 1, 1, W) and rows (1, 1, H, 1) from the middle, in shares of the side."""
    height, width = x.shape[2:]
    return (
        ((torch.arange(width, device=x.device) + 0.5) / width - 0.5)[None, None, None, :],
        ((torch.arange(height, device=x.device) + 0.5) / height - 0.5)[None, None, :, None],
    )


def _within(patch: Tensor, x: Tensor) -> Tensor:
    """(B, 1, H, W) bool: pixels inside each sample's patch."""
    right, down = _places(x)
    left, top, end, bottom = (_column(side) for side in (patch - 0.5).unbind(1))
    return (right >= left) & (right < end) & (down >= top) & (down < bottom)
