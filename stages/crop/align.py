"""A session's maps and frames as one aligned face: each by the same transform, its vectors and scale with it."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from pipeline.errors import Rejected
from pipeline.geometry import arcface_template, estimate_similarity, move_points, warp_map
from pipeline.images import read_colour, read_frame
from pipeline.maps import Maps
from pipeline.sessions import Session
from stages.crop.looks import eye_distance

LEAST_COVERED = 0.1  # of the aligned face that its maps must cover to be of use


def read_frames(session: Session) -> np.ndarray:
    """The frames of a session, (k, H, W) float32.

    Raises
    ------
    Rejected
        A frame cannot be read, or their sizes differ.
    """
    frames = [read_frame(path) for path in session.frames]
    if len({f.shape for f in frames}) > 1:
        sizes = ", ".join(sorted({f"{f.shape[1]}x{f.shape[0]}" for f in frames}))
        raise Rejected(f"frames differ in size: {sizes}")
    return np.stack(frames)


def drawn_frame(session: str, count: int, seed: int) -> int:
    """Which frame stands for a session in the modality ``frame``: a draw by its id and the seed alone."""
    return int(np.random.default_rng([seed, zlib.crc32(session.encode())]).integers(count))


def alignment(landmarks: np.ndarray, size: int) -> np.ndarray:
    """The similarity (2, 3) that takes landmarks (5, 2) of a frame nearest to the template of an aligned face."""
    return estimate_similarity(landmarks, arcface_template(size))


def cut_face(
    maps: Maps, frames: np.ndarray, landmarks: np.ndarray, *, size: int, order: Sequence[int] | np.ndarray, drawn: int
) -> dict[str, np.ndarray]:
    """The aligned face of a session.

    Parameters
    ----------
    maps, frames : Maps, (k, H, W) float32
        The session's, (H, W) both.
    landmarks : (5, 2)
        In the pixels of both.
    order : k indices
        The frames' order as channels of ``frames``.
    drawn : int
        The frame that becomes ``frame``.

    Returns
    -------
    dict of (size, size, C) float16 by modality, and ``mask`` (size, size) uint8
        Normals are unit vectors, turned as the image was; depth is in distances of the eyes with zero mean inside the
        mask; these and albedo are 0 outside the mask. Frames are as photographed.

    Raises
    ------
    Rejected
        Frames and maps differ in size, or the maps cover less than a tenth of the face.
    """
    if frames.shape[1:] != maps.shape:
        raise Rejected(f"frames are {frames.shape[1:]} px, maps {maps.shape} px: run `psface reconstruct` again")
    matrix = alignment(landmarks, size)
    mask = warp_map("mask", maps.mask, matrix, size)
    if mask.mean() < LEAST_COVERED:
        raise Rejected(f"the maps cover {mask.mean():.0%} of the face")
    warped = partial(warp_map, matrix=matrix, size=size, mask=maps.mask)
    normal, albedo, depth = warped("normal", maps.normal), warped("albedo", maps.albedo), warped("depth", maps.depth)
    depth = (depth - depth[mask].mean()) / eye_distance(move_points(landmarks, matrix))
    photographs = warp_map("frame", frames.transpose(1, 2, 0), matrix, size)
    faces = {
        "normal": np.where(mask[..., None], normal, 0),
        "albedo": np.where(mask, albedo, 0)[..., None],
        "depth": np.where(mask, depth, 0)[..., None],
        "frame": photographs[..., [drawn]],
        "frames": photographs[..., order],
    }
    return {**{name: _half(values) for name, values in faces.items()}, "mask": mask.astype(np.uint8)}


def cut_photograph(
    frames: np.ndarray, landmarks: np.ndarray, *, size: int, order: Sequence[int] | np.ndarray, drawn: int
) -> dict[str, np.ndarray]:
    """The aligned face of a session without maps, as of `cut_face`: its frames; the mask is where the picture lies."""
    matrix = alignment(landmarks, size)
    photographs = warp_map("frame", frames.transpose(1, 2, 0), matrix, size)
    mask = warp_map("mask", np.ones(frames.shape[1:], bool), matrix, size)
    faces = {"frame": _half(photographs[..., [drawn]]), "frames": _half(photographs[..., order])}
    return {**faces, "mask": mask.astype(np.uint8)}


def cut_colour(path: str, landmarks: np.ndarray, size: int) -> np.ndarray:
    """(size, size, 3) float16, the aligned face of a photograph in colour.

    Raises
    ------
    Rejected
        It cannot be read.
    """
    return _half(warp_map("frame", read_colour(path), alignment(landmarks, size), size))


def _half(values: np.ndarray) -> np.ndarray:
    """The values in half; beyond its range they are clipped to it."""
    limit = float(np.finfo(np.float16).max)
    return np.clip(values, -limit, limit).astype(np.float16)


def maps_path(folder: Path, session: str) -> Path:
    """Where `reconstruct` writes the maps of a session."""
    return folder / f"{session}.exr"
