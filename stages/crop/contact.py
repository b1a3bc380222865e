"""A contact sheet of packed faces: a row a session, its maps side by side."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pipeline.faces import COLOUR, Faces
from pipeline.images import normal_picture, stretched, write_picture

MOST = 12  # sessions on a sheet


def contact_sheet(folder: Path) -> Path:
    """Draw evenly chosen faces of a folder as ``contact.png``: drawn frame, albedo, normals, depth, then all frames; of
    single photographs, a row of them.
    """
    faces = Faces(folder)
    masks = faces.mask()
    rows = np.unique(np.linspace(0, len(masks) - 1, MOST).astype(int))
    if (folder / "albedo.npy").exists():
        sheet = np.concatenate([_strip(faces, row) for row in rows])
    else:
        sheet = np.concatenate([_photograph(faces, row) for row in rows], axis=1)
    write_picture(folder / "contact.png", sheet)
    return folder / "contact.png"


def _photograph(faces: Faces, row: int) -> np.ndarray:
    """(size, size, 3) a photograph as it is, in colour where it was packed."""
    name = COLOUR if (faces.folder / f"{COLOUR}.npy").exists() else "frame"
    picture = np.clip(faces.array(name)[row].astype(np.float32), 0, 1)
    return np.broadcast_to(picture, (*picture.shape[:2], 3)).copy()


def _strip(faces: Faces, row: int) -> np.ndarray:
    """(size, columns * size, 3) pictures of one face."""
    mask = faces.mask()[row]
    everywhere = np.ones_like(mask)
    grey = [
        stretched(faces.array("frame")[row, ..., 0], everywhere),
        stretched(faces.array("albedo")[row, ..., 0], mask),
    ]
    depth = stretched(faces.array("depth")[row, ..., 0], mask)
    frames = faces.array("frames")[row].astype(np.float32)
    white = max(float(np.percentile(frames, 99)), 1e-6)
    coloured = [np.repeat(g[..., None], 3, axis=2) for g in (*grey, depth, *np.moveaxis(frames / white, 2, 0))]
    return np.concatenate([*coloured[:2], normal_picture(faces.array("normal")[row], mask), *coloured[2:]], axis=1)
