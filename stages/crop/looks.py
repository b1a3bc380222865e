"""The face of a session, from several looks at the mean of its frames.

MTCNN was trained on photographs with room around the face: of tight crops it misses many, takes parts of some for a
face, and its landmarks move by several per cent of the eye distance with what is around the face. So it looks three
times, with different borders and tone curves, each time at the mirror image too, and three times more where that did
not suffice; the landmarks are the median of the views that agree. What this gains is in docs/crop.md. The mean of the
frames has the fewest shadows to mislead it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pipeline.geometry import mirror_landmarks

if TYPE_CHECKING:
    from stages.crop.detector import Face

LEAST_VIEWS = 3  # that must agree: a look and its mirror image can share a false alarm
AGREEMENT = 0.15  # of the eye distance: mean distance of a view's landmarks from the median's


@dataclass(frozen=True)
class Look:
    """One way to show an image: the border as a share of the parameter's, its grey level, the tone curve's exponent."""

    border: float
    level: int
    gamma: float


LOOKS = (Look(1.0, 0, 1.0), Look(1.0, 128, 1.0), Look(0.6, 128, 1 / 2.2))
FURTHER = (Look(0.6, 128, 1.0), Look(1.0, 128, 1 / 1.5), Look(1.4, 128, 1 / 2.2))  # where those did not suffice


@dataclass(frozen=True)
class Sighting:
    """What was seen of a session.

    Attributes
    ----------
    landmarks : (5, 2) float32 or None
        In the frame's pixels; None where no face is accepted.
    score : float
        Mean confidence over all views, counting 0 where a view saw no such face.
    n_faces : int
        The most faces that any view saw.
    reason : str
        Why there is no face; "" where there is one.
    """

    landmarks: np.ndarray | None
    score: float
    n_faces: int
    reason: str = ""


def displayed(image: np.ndarray, gamma: float = 1.0) -> np.ndarray:
    """A linear image (H, W) as 8-bit levels (H, W) uint8, its 99th percentile as white, along a tone curve."""
    white = max(float(np.percentile(image, 99)), 1e-6)
    return np.rint(255 * np.clip(image / white, 0, 1) ** gamma).astype(np.uint8)


def views(image: np.ndarray, border: float, looks: Sequence[Look] = LOOKS) -> list[tuple[np.ndarray, int]]:
    """The image (H, W) in each look and its mirror, as 8-bit levels, each with the width of its border in pixels."""
    shown = []
    for look in looks:
        margin = round(border * look.border * image.shape[0])
        levels = np.pad(displayed(image, look.gamma), margin, constant_values=look.level)
        shown += [(levels, margin), (np.ascontiguousarray(levels[:, ::-1]), margin)]
    return shown


def find_faces(
    images: Sequence[np.ndarray], *, border: float, min_face: float, confidence: float, device: str = "cpu"
) -> list[Sighting]:
    """The face of each image.

    Parameters
    ----------
    images : sequence of (H, W) float32
        Linear; sizes may differ.
    border : float
        Border that is put around the image, as a share of its height; the landmarks do not count it.
    min_face : float
        Side of the smallest face looked for, as a share of the image's smaller side.
    confidence : float
        The least that a view must be sure of its face to count.
    """
    opinions: list[list[Opinion]] = [[] for _ in images]
    sightings: list[Sighting] = [Sighting(None, 0.0, 0)] * len(images)
    for looks in (LOOKS, FURTHER):
        waiting = [i for i, sighting in enumerate(sightings) if sighting.landmarks is None]
        shown = {i: views(images[i], border, looks) for i in waiting}
        seen = _detect(images, shown, min_face, device)
        for i in waiting:
            opinions[i] += [
                _opinion(view, faces, confidence, n)
                for n, (view, faces) in enumerate(zip(shown[i], seen[i], strict=True))
            ]
            sightings[i] = consensus(opinions[i])
    return sightings


def _detect(
    images: Sequence[np.ndarray], shown: dict[int, list[tuple[np.ndarray, int]]], min_face: float, device: str
) -> dict[int, list[list[Face]]]:
    """Faces in each view of the images by number; images of one size run together."""
    from stages.crop.detector import Detector  # and torch with it: only the processes that look wait for it

    by_side: dict[int, list[int]] = {}
    for i in shown:
        by_side.setdefault(max(20, round(min_face * min(images[i].shape))), []).append(i)
    found: dict[int, list[list[Face]]] = {}
    for side, members in by_side.items():
        seen = iter(Detector(device, min_face=side).detect([levels for i in members for levels, _ in shown[i]]))
        found |= {i: [next(seen) for _ in shown[i]] for i in members}
    return found


@dataclass(frozen=True)
class Opinion:
    """What one view says: its main face's landmarks (5, 2) in the frame's pixels, or None; how many faces; the best."""

    landmarks: np.ndarray | None
    confidence: float
    n_faces: int


def _opinion(view: tuple[np.ndarray, int], faces: Sequence[Face], confidence: float, number: int) -> Opinion:
    (levels, margin), sure = view, [f for f in faces if f.confidence >= confidence]
    chosen = main_face(sure, levels.shape)
    if chosen is None:
        return Opinion(None, max((f.confidence for f in faces), default=0.0), 0)
    landmarks = mirror_landmarks(chosen.landmarks, levels.shape[1]) if number % 2 else chosen.landmarks
    return Opinion(landmarks - margin, chosen.confidence, len(sure))


def consensus(opinions: Sequence[Opinion]) -> Sighting:
    """One sighting from all views of an image.

    The median landmarks of the views that saw a face; views far from it are dropped and it is taken again.
    """
    saw = [o for o in opinions if o.landmarks is not None]
    if not saw:
        best = max((o.confidence for o in opinions), default=0.0)
        return Sighting(None, 0.0, 0, f"low confidence (best {best:.2f})" if best else "no face found")
    points = np.array([o.landmarks for o in saw])
    middle = np.median(points, axis=0)
    distance = np.linalg.norm(points - middle, axis=2).mean(axis=1) / eye_distance(middle)
    agree = distance < AGREEMENT
    score = sum(o.confidence for o, good in zip(saw, agree, strict=True) if good) / len(opinions)
    n_faces = max(o.n_faces for o in saw)
    if agree.sum() < LEAST_VIEWS:
        return Sighting(
            None, score, n_faces, f"unsure (a face in {len(saw)} of {len(opinions)} views; {agree.sum()} agree)"
        )
    return Sighting(np.median(points[agree], axis=0).astype(np.float32), score, n_faces)


def main_face(faces: Sequence[Face], shape: tuple[int, ...]) -> Face | None:
    """The face that a session is about: large, sure, and near the centre of the image; None if there is none.

    Area times confidence, falling as a Gaussian of half the image's smaller side with the distance from the centre.
    """
    height, width = shape[:2]

    def weight(face: Face) -> float:
        centre = (face.box[:2] + face.box[2:]) / 2
        away = (centre - (width / 2, height / 2)) / min(height, width)
        return face.area * face.confidence * float(np.exp(-2 * (away**2).sum()))

    return max(faces, key=weight, default=None)


def eye_distance(landmarks: np.ndarray) -> float:
    """Distance of the eyes of (5, 2) landmarks, in their pixels."""
    return max(float(np.hypot(*(landmarks[1] - landmarks[0]))), 1e-6)
