"""The losses of face age synthesis, after MTLFace [1]_: least squares GAN [2]_, the identity kept, the age reached.

    L_D = ((D(real, t) - 1)^2 + D(fake, t)^2) / 2
    L_G = 75 (D(fake, t) - 1)^2 / 2 + 0.002 (X_id - X_id of the fake)^2 + 10 CE(group that is read off the fake, t)

means over a batch, for faces brought to the group t. Identity and age are read by a recogniser that does not learn
here, in evaluation mode.

References
----------
.. [1] Z. Huang, J. Zhang, H. Shan, "When age-invariant face recognition meets face age synthesis", CVPR 2021.
   arXiv:2103.01520
.. [2] X. Mao et al., "Least squares generative adversarial networks", ICCV 2017. arXiv:1611.04076
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.recogniser import Decomposed, Recogniser

ADVERSARIAL, IDENTITY, AGE_REACHED = 75.0, 0.002, 10.0  # published weights


def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """L_D of verdicts (B, 1, h, w) on real faces and on made ones."""
    return ((real.float() - 1).square().mean() + fake.float().square().mean()) / 2


def deception_loss(fake: Tensor) -> Tensor:
    """How far verdicts (B, 1, h, w) on made faces are from those on real ones."""
    return (fake.float() - 1).square().mean() / 2


@dataclass
class Made:
    """Losses of a batch of made faces by task (adversarial, identity, age), and their weighted sum."""

    tasks: dict[str, Tensor]
    total: Tensor


class SynthesisLoss(nn.Module):
    """What a generator is fitted to.

    Parameters
    ----------
    adversarial, identity, age : float
        Weights of the three losses.
    """

    def __init__(self, adversarial: float = ADVERSARIAL, identity: float = IDENTITY, age: float = AGE_REACHED) -> None:
        super().__init__()
        self.weights = {"adversarial": adversarial, "identity": identity, "age": age}

    def forward(self, verdict: Tensor, seen: Decomposed, made: Decomposed, group_logits: Tensor, group: Tensor) -> Made:
        """Losses of made faces.

        Parameters
        ----------
        verdict : Tensor (B, 1, h, w)
            The discriminator's, on them as faces of their group.
        seen, made : Decomposed
            What the recogniser sees in the faces that they were made of, and in them.
        group_logits : Tensor (B, G)
            The groups that the recogniser reads off them.
        group : Tensor (B,) int64
            Those that they were brought to.
        """
        tasks = {
            "adversarial": deception_loss(verdict),
            "identity": F.mse_loss(made.identity.float(), seen.identity.float()),
            "age": F.cross_entropy(group_logits.float(), group),
        }
        return Made(tasks, torch.stack([self.weights[name] * loss for name, loss in tasks.items()]).sum())


def freeze(recogniser: Recogniser) -> Recogniser:
    """A recogniser that judges made faces: it does not learn, its norms keep their statistics; in place."""
    recogniser.requires_grad_(False).eval()
    return recogniser
