"""Faces as networks see them, drawn for people: rows of the same face at several ages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from pipeline.faces import PREPROCESSING

GREY = 0.36  # of the mean of a face, linear
BACKGROUND = 28
CAPTION = 18  # px above the columns
GAP = 2


def shown(face: np.ndarray, modality: str) -> np.ndarray:
    """A preprocessed face (C, H, W) as a picture (H, W, 3) uint8: normals as colours, depth from far to near, of
    frames the first."""
    inside = (face != 0).any(axis=0)
    if modality == "normal":
        picture = (face.transpose(1, 2, 0) + 1) / 2
    elif PREPROCESSING[modality] == "mean-relative-1":
        channels = face if modality == "colour" else face[:1].repeat(3, axis=0)
        picture = np.clip((channels.transpose(1, 2, 0) + 1) * GREY, 0, 1) ** (1 / 2.2)
    else:
        picture = np.repeat(np.clip(face[0] * 0.6 + 0.5, 0, 1)[..., None], 3, axis=-1)
    levels = np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8)
    return np.where(inside[..., None], levels, np.uint8(BACKGROUND))


def sheet(columns: Sequence[Mapping[str, np.ndarray]], names: Sequence[str]) -> np.ndarray:
    """A picture (h, w, 3) uint8 of the same N faces in several states, a captioned column each.

    Parameters
    ----------
    columns : sequence of dict of ndarray (N, C, H, W)
        Preprocessed faces by modality; a row a face and modality.
    names : sequence of str
        Their captions.
    """
    drawn = [_column(column, name) for column, name in zip(columns, names, strict=True)]
    return np.concatenate(drawn, axis=1)


def _column(column: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    count = len(next(iter(column.values())))
    rows = [shown(faces[i], modality) for i in range(count) for modality, faces in column.items()]
    width = rows[0].shape[1]
    head = np.full((CAPTION, width, 3), BACKGROUND, np.uint8)
    cv2.putText(head, name, (4, CAPTION - 5), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (210, 210, 210), 1, cv2.LINE_AA)
    padded = [np.pad(row, ((0, GAP), (0, GAP), (0, 0)), constant_values=BACKGROUND) for row in rows]
    return np.concatenate([np.pad(head, ((0, 0), (0, GAP), (0, 0)), constant_values=BACKGROUND), *padded])
