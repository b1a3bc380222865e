"""Sessions of a real portrait under fabricated flashes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage import data

from pipeline.images import write_picture
from pipeline.lights import from_angles
from pipeline.maps import Maps, write_maps
from pipeline.sessions import Session, write_sessions

SIDE = 160
AZIMUTHS = (135.0, 45.0, 225.0, 315.0)


@pytest.fixture(scope="session")
def portrait() -> np.ndarray:
    """(160, 160) float32 grey face with room around it."""
    grey = cv2.cvtColor(data.astronaut()[0:260, 95:355], cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    return cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA)


def tilted_maps(albedo: np.ndarray) -> Maps:
    """A plane that rises by half a pixel a pixel towards the right."""
    y, x = np.mgrid[: albedo.shape[0], : albedo.shape[1]]
    normal = np.broadcast_to(np.array([-0.5, 0, 1], np.float32) / np.sqrt(1.25), (*albedo.shape, 3)).copy()
    mask = (np.hypot(x - 75, y - 80) < 70).astype(bool)
    depth = 0.5 * x.astype(np.float32)
    return Maps(normal, albedo, depth - depth[mask].mean(), mask)


@pytest.fixture
def photographed(workspace: Path, portrait: np.ndarray) -> Callable[..., list[Session]]:
    """`photographed(n, frames=4, blank=())`: a workspace of n sessions with maps; those of `blank` show no face."""

    def make(count: int, *, frames: int | list[int] = 4, blank: tuple[int, ...] = ()) -> list[Session]:
        sessions = []
        for i in range(count):
            image = np.full_like(portrait, 0.4) if i in blank else portrait
            own = frames if isinstance(frames, int) else frames[i]
            paths = [f"data/frames/{i}/im{j}.png" for j in range(own)]
            for j, path in enumerate(paths):
                Path(path).parent.mkdir(parents=True, exist_ok=True)
                write_picture(path, image * (0.5 + 0.1 * j))
            session = Session(
                id=f"s{i:02}/v",
                subject=f"s{i:02}",
                session="v",
                rig="near",
                frames=tuple(paths),
                lights=from_angles(35.0, [AZIMUTHS[j % 4] + 5 * (j // 4) for j in range(own)]),
                strengths=np.ones(own),
            )
            write_maps(f"data/maps/{session.id}.exr", tilted_maps(image))
            sessions.append(session)
        write_sessions("data/sessions.parquet", sessions)
        Path("params.yaml").write_text("crop: {seed: 7, size: 64}\n")
        return sessions

    return make
