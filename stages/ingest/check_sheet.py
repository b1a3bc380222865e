"""A contact sheet of a data set: a row a session, its frames side by side, and where its light is said to be."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pipeline.images import write_picture
from pipeline.sessions import Session
from stages.ingest.check_pixels import Look

CELL, BAR, MOST_FRAMES = 128, 18, 12  # px of a frame's cell and of the line above it; frames shown of a session
DISC = 13  # px, radius of the disc that shows a light: at its rim the light would be in the image plane
DISPLAY_GAMMA = 2.2
TEXT, LIGHT = (235, 235, 235), (255, 200, 40)
LETTERS, LEAST_LETTERS = 12, 4  # px, of a name that fits its row, and of the longest
FONT = Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")  # of Latin, Greek, Cyrillic and more


def contact_sheet(path: str | Path, looks: Sequence[Look], sessions: list[Session]) -> Path:
    """Draw sessions that were looked at, evenly bright; the dot on a frame's disc is where its flash should be."""
    by_id = {session.id: session for session in sessions}
    rows = [(by_id[look.session], look.small) for look in looks if look.small is not None]
    columns = max(min(len(small), MOST_FRAMES) for _, small in rows)
    return write_picture(path, np.concatenate([_row(session, small, columns) for session, small in rows]))


def _row(session: Session, small: np.ndarray, columns: int) -> np.ndarray:
    """(BAR + CELL, columns * CELL, 3) uint8."""
    row = np.zeros((BAR + CELL, columns * CELL, 3), dtype=np.uint8)
    white = max(float(np.percentile(small.max(axis=0), 99.5)), 1e-6)
    for i, frame in enumerate(small[:columns]):
        shown = np.rint(255 * np.clip(frame / white, 0, 1) ** (1 / DISPLAY_GAMMA)).astype(np.uint8)
        scale = CELL / max(shown.shape)
        height, width = (max(1, round(side * scale)) for side in shown.shape)
        row[BAR : BAR + height, i * CELL : i * CELL + width] = cv2.resize(shown, (width, height))[..., None]
        if session.known_lights is not None:
            _disc(row, ((i + 1) * CELL - DISC - 3, BAR + CELL - DISC - 3), session.lights[i])
    row[:BAR] = written(session.id, columns * CELL)
    return row


def _disc(row: np.ndarray, centre: tuple[int, int], light: np.ndarray) -> None:
    cv2.circle(row, centre, DISC, (70, 70, 70), -1, cv2.LINE_AA)
    at = (round(centre[0] + DISC * light[0]), round(centre[1] - DISC * light[1]))
    cv2.circle(row, at, 3, LIGHT, -1, cv2.LINE_AA)


def written(text: str, width: int) -> np.ndarray:
    """(BAR, width, 3) uint8: a line of text in any letters that the font has, smaller where it would not fit."""
    text = unicodedata.normalize("NFC", text)  # some systems keep a letter and its accents apart
    long = ImageFont.truetype(FONT, LETTERS).getlength(text)
    font = ImageFont.truetype(FONT, max(LEAST_LETTERS, LETTERS * min(1.0, (width - 8) / max(long, 1.0))))
    line = Image.new("RGB", (width, BAR))
    ImageDraw.Draw(line).text((4, BAR // 2), text, fill=TEXT, font=font, anchor="lm")
    return np.asarray(line)
