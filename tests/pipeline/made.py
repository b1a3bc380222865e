"""A session as ingest would make it."""

from __future__ import annotations

import numpy as np

from pipeline.sessions import Session


def session(name: str, **labels: int) -> Session:
    lights = np.array([[0.5, 0, 0.866], [-0.5, 0, 0.866], [0, 0.5, 0.866]])
    subject, visit = name.split("/")
    return Session(name, subject, visit, "near", ("a.bmp", "b.bmp", "c.bmp"), lights, np.ones(3), **labels)
