"""A contact sheet of a data set: a row a session, its frames side by side, and where its light is said to be."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from pipeline.images import write_picture
from pipeline.sessions import Session
from stages.ingest.check_pixels import Look

CELL, BAR, MOST_FRAMES = 128, 18, 12  # px of a frame's cell and of the line above it; frames shown of a session
DISC = 13  # px, radius of the disc that shows a light: at its rim the light would be in the image plane
DISPLAY_GAMMA = 2.2
TEXT, LIGHT = (235, 235, 235), (255, 200, 40)


def contact_sheet(path: str | Path, looks: list[Look], sessions: list[Session]) -> Path:
    """Draw the sessions that were looked at, evenly bright; the dot on a frame's disc is where its flash should be."""
    by_id = {session.id: session for session in sessions}
    columns = max(min(len(look.small), MOST_FRAMES) for look in looks)
    rows = [_row(look, by_id[look.session], columns) for look in looks if look.session in by_id]
    return write_picture(path, np.concatenate(rows))


def _row(look: Look, session: Session, columns: int) -> np.ndarray:
    """(BAR + CELL, columns * CELL, 3) uint8."""
    row = np.zeros((BAR + CELL, columns * CELL, 3), dtype=np.uint8)
    white = max(float(np.percentile(look.small.max(axis=0), 99.5)), 1e-6)
    for i, frame in enumerate(look.small[:columns]):
        shown = np.rint(255 * np.clip(frame / white, 0, 1) ** (1 / DISPLAY_GAMMA)).astype(np.uint8)
        scale = CELL / max(shown.shape)
        height, width = (max(1, round(side * scale)) for side in shown.shape)
        row[BAR : BAR + height, i * CELL : i * CELL + width] = cv2.resize(shown, (width, height))[..., None]
        if session.known_lights is not None:
            _disc(row, ((i + 1) * CELL - DISC - 3, BAR + CELL - DISC - 3), session.lights[i])
    _write(row, session.id, (4, BAR - 5), columns * CELL)
    return row


def _disc(row: np.ndarray, centre: tuple[int, int], light: np.ndarray) -> None:
    cv2.circle(row, centre, DISC, (70, 70, 70), -1, cv2.LINE_AA)
    at = (round(centre[0] + DISC * light[0]), round(centre[1] - DISC * light[1]))
    cv2.circle(row, at, 3, LIGHT, -1, cv2.LINE_AA)


def _write(row: np.ndarray, text: str, at: tuple[int, int], width: int) -> None:
    plain = text.encode("ascii", "replace").decode()  # OpenCV's letters are ASCII's
    scale = min(0.45, 0.45 * width / max(8 * len(plain), 1))
    cv2.putText(row, plain, at, cv2.FONT_HERSHEY_SIMPLEX, scale, TEXT, 1, cv2.LINE_AA)
