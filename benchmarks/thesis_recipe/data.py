"""The thesis's input: a face at a time, in three channels of about [0, 1], cropped and made noisy one by one.

Labels are held in memory, where the thesis read and filtered a CSV for each sample (fault 8): that would make its
speed no fair comparison. Random numbers follow torch's seed, where it had none in workers (fault 19).
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from benchmarks.thesis_recipe.network import ORDER
from pipeline.samples import FaceStore, Samples

MODALITIES = ("normal", "albedo", "depth", "frame")  # frame: not in the thesis, which had no baseline (fault 20)
RANGES = {"normal": (-1.0, 1.0), "albedo": (-1.0, 3.0), "frame": (-1.0, 3.0), "depth": (-1.0, 1.0)}


def as_stored(faces: Tensor, modality: str) -> Tensor:
    """Preprocessed faces (..., C, H, W) as the thesis's files would hold them: (..., 3, H, W), mostly in [0, 1]."""
    low, high = RANGES[modality]
    return ((faces - low) / (high - low)).expand(*faces.shape[:-3], 3, *faces.shape[-2:])


def vary(face: Tensor) -> Tensor:
    """A square crop of .7 to 1 of the side, at full size again, and noise in one square of 10 to 25 % of the area.

    Every face gets the noise, whatever the probability that was asked for, and none a mirror (fault 12). The result is
    clipped to [0, 1], which faces at test are not (fault 11). A face (3, H, W), square.
    """
    side = face.shape[1]
    part = round(side * _between(0.7, 1.0))
    top, left = (int(torch.randint(side - part + 1, ())) for _ in range(2))
    pixels = face[:, top : top + part, left : left + part].permute(1, 2, 0).numpy()
    whole = cv2.resize(np.ascontiguousarray(pixels), (side, side), interpolation=cv2.INTER_LINEAR)
    varied = torch.from_numpy(whole).permute(2, 0, 1).contiguous()
    patch = round(side * math.sqrt(_between(0.1, 0.25)))
    top, left = (int(torch.randint(side - patch + 1, ())) for _ in range(2))
    varied[:, top : top + patch, left : left + patch] += torch.randn(3, patch, patch) * _between(0.0, 0.1)
    return varied.clamp(0, 1)


def _between(low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand(()))


class ThesisFaces(Dataset):
    """Training faces with subject and labels: (3, H, W), and int64 (6,) of the subject's class and ``ORDER``."""

    def __init__(self, store: FaceStore, samples: Samples, modality: str) -> None:
        self.store, self.modality = store, modality
        subject = np.unique(samples.subject, return_inverse=True)[1]
        self.labels = torch.from_numpy(np.stack([subject, *(samples.labels[name] for name in ORDER)], axis=1))

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        face = self.store.take(np.array([index]))[self.modality][0]
        return vary(as_stored(face, self.modality)), self.labels[index]
