"""The triplet loss [1]_, with the miners of pytorch-metric-learning: the thesis's first approach, for comparison.

    L = max(||f_a - f_p||^2 - ||f_a - f_n||^2 + m, 0)

over triplets of unit embeddings (anchor, positive of the same subject, negative of another) that a miner picks from a
batch: all that violate the margin, those in which the negative is further than the positive (semihard) or nearer
(hard), or each anchor's furthest positive and nearest negative (batch_hard [2]_).

References
----------
.. [1] F. Schroff, D. Kalenichenko, J. Philbin, "FaceNet: a unified embedding for face recognition and clustering",
   CVPR 2015. arXiv:1503.03832
.. [2] A. Hermans, L. Beyer, B. Leibe, "In defense of the triplet loss for person re-identification", 2017.
   arXiv:1703.07737
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from pytorch_metric_learning.distances import LpDistance
from pytorch_metric_learning.miners import BatchHardMiner, TripletMarginMiner
from torch import Tensor

from models.margins import IdentityLoss


class TripletLoss(IdentityLoss):
    """The loss of a batch, called as `models.margins.MarginLoss` is.

    Parameters
    ----------
    margin : float
        m, of squared distances between unit vectors (0 to 4).
    miner : str
        ``"all"``, ``"semihard"``, ``"hard"`` or ``"batch_hard"``.
    """

    def __init__(self, margin: float, miner: str) -> None:
        super().__init__()
        self.margin = margin
        distance = LpDistance(power=2)  # of unit vectors, squared
        if miner == "batch_hard":
            self.miner = BatchHardMiner(distance=distance)
        else:
            self.miner = TripletMarginMiner(margin=margin, type_of_triplets=miner, distance=distance)

    def forward(self, embedding: Tensor, target: Tensor, weight: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Loss and norms of embeddings (B, D) of subjects (B,), each triplet with its anchor's weight (B,).

        The loss is 0, with a graph, where the batch holds no triplet of the miner's kind.
        """
        embedding = embedding.to(torch.promote_types(embedding.dtype, torch.float32))
        unit = F.normalize(embedding, dim=1)
        with torch.autocast(embedding.device.type, enabled=False):  # bfloat16 tells no near ones apart
            apart = 2 - 2 * unit @ unit.T  # (B, B): squared distances
        with torch.no_grad(), torch.autocast(embedding.device.type, enabled=False):
            anchor, positive, negative = self.miner(unit, target)
            excess = apart[anchor, positive] - apart[anchor, negative] + self.margin
            counted = torch.ones_like(unit[:, 0]) if weight is None else weight
            share = counted.to(unit.dtype)[anchor]
            share = share / share.sum().clamp(min=torch.finfo(share.dtype).tiny)
            violated = share * (excess > 0)
            # how often each pair counts, as a sum in a fixed order: the gradient of an index is not one
            pairs = torch.cat([anchor * len(unit) + positive, anchor * len(unit) + negative])
            often = torch.bincount(pairs, torch.cat([violated, -violated]), minlength=len(unit) ** 2)
        loss = (often.to(unit.dtype).view_as(apart) * apart).sum() + self.margin * violated.sum()
        return loss, embedding.detach().norm(dim=1)
