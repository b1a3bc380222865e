"""Softmax losses with an angular margin: ArcFace [1]_, CosFace [2]_, and what they share with MagFace.

With angles theta_j between an embedding and the class centres, and the sample's own class y:

    L = -log( e^{s t(theta_y)} / ( e^{s t(theta_y)} + sum_{j != y} e^{s cos theta_j} ) )
    t(theta) = cos(theta + m)    ArcFace          t(theta) = cos(theta) - m    CosFace

Cosines, margins and logits are computed in float32 at least, whatever the network's precision.

References
----------
.. [1] J. Deng, J. Guo, N. Xue, S. Zafeiriou, "ArcFace: additive angular margin loss for deep face recognition",
   CVPR 2019. arXiv:1801.07698
.. [2] H. Wang et al., "CosFace: large margin cosine loss for deep face recognition", CVPR 2018. arXiv:1801.09414
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STEEP = 1e-7  # keeps sqrt(1 - cos^2) away from its infinite slope, in units of 1 - cos^2


class IdentityLoss(nn.Module):
    """What training asks of a loss of the identity; ``loss(embedding, subject, weight)`` gives loss and norms."""

    def clamped(self, norm: Tensor) -> Tensor:
        """Which norms (B,) lie where the loss cannot move them though it should; here it never should."""
        return torch.zeros_like(norm, dtype=torch.bool)


class MarginLoss(IdentityLoss):
    """A loss of this kind and its class centres, which are thrown away after training; `target_cosine` is the kind's.

    Parameters
    ----------
    dimension, classes : int
        Size of an embedding; number of identities.
    scale : float
        s.
    """

    def __init__(self, dimension: int, classes: int, *, scale: float = 64.0) -> None:
        super().__init__()
        self.scale = scale
        self.centres = nn.Parameter(F.normalize(torch.randn(classes, dimension), dim=1))

    def target_cosine(self, cosine: Tensor, norm: Tensor) -> Tensor:
        """t(theta_y), of cosines (B,) and norms (B,) of the embeddings."""
        raise NotImplementedError

    def penalty(self, norm: Tensor) -> Tensor | float:
        """What is added to the loss of embeddings of these norms (B,)."""
        return 0.0

    def forward(self, embedding: Tensor, target: Tensor, weight: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The loss, and the norms.

        Parameters
        ----------
        embedding : Tensor (B, D)
        target : Tensor (B,) int64
            Class of each.
        weight : Tensor (B,), optional
            How much each counts.

        Returns
        -------
        loss : scalar Tensor
        norm : Tensor (B,)
            Without gradient.
        """
        precision = torch.promote_types(embedding.dtype, torch.float32)
        embedding = embedding.to(precision)  # angles near 0 need more digits than bfloat16 has
        norm = embedding.norm(dim=1)
        with torch.autocast(embedding.device.type, enabled=False):
            cosine = F.linear(F.normalize(embedding, dim=1), F.normalize(self.centres.to(precision), dim=1))  # (B, K)
        rows = torch.arange(len(target), device=target.device)
        logits = cosine.index_put((rows, target), self.target_cosine(cosine[rows, target], norm))
        each = F.cross_entropy(self.scale * logits, target, reduction="none") + self.penalty(norm)
        return weighted_mean(each, weight), norm.detach()


class ArcFace(MarginLoss):
    """An angle m (radians) is added to that of the own class."""

    def __init__(self, dimension: int, classes: int, *, scale: float = 64.0, margin: float = 0.5) -> None:
        super().__init__(dimension, classes, scale=scale)
        self.margin = margin

    def target_cosine(self, cosine: Tensor, norm: Tensor) -> Tensor:
        return turned(cosine, torch.full_like(cosine, self.margin))


class CosFace(MarginLoss):
    """m is taken off the cosine of the own class."""

    def __init__(self, dimension: int, classes: int, *, scale: float = 64.0, margin: float = 0.35) -> None:
        super().__init__(dimension, classes, scale=scale)
        self.margin = margin

    def target_cosine(self, cosine: Tensor, norm: Tensor) -> Tensor:
        return cosine - self.margin


def turned(cosine: Tensor, margin: Tensor) -> Tensor:
    """cos(theta + m), for theta in [0, pi - m]; beyond that it would rise again, and goes on falling in a line."""
    sine = (1 - cosine.square()).clamp(min=STEEP).sqrt()
    rotated = cosine * margin.cos() - sine * margin.sin()
    return torch.where(cosine > -margin.cos(), rotated, cosine - 1 + margin.cos())


def weighted_mean(each: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean of losses (B,), each counted by its weight; 0 with a graph where nothing counts."""
    if weight is None:
        return each.mean()
    return (each * weight).sum() / weight.sum().clamp(min=torch.finfo(weight.dtype).tiny)
