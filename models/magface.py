"""MagFace [1]_: an angular margin that grows with the embedding's norm, and a regulariser that wants large norms.

For a sample of class y with norm a = ||f|| clamped to [l_a, u_a] and angles theta_j to the class centres:

    L = -log( e^{s cos(theta_y + m(a))} / ( e^{s cos(theta_y + m(a))} + sum_{j != y} e^{s cos theta_j} ) )
        + lambda_g g(a)
    m(a) = l_m + (u_m - l_m) (a - l_a) / (u_a - l_a)
    g(a) = a / u_a^2 + 1 / a                          decreasing on (0, u_a]

An easy face can afford a large norm and its large margin, a hard one cannot: the norm becomes a measure of quality. It
has one optimum only when lambda_g >= s K u_a^2 l_a^2 / (u_a^2 - l_a^2) with K = (u_m - l_m) / (u_a - l_a), and it works
only while norms lie inside the range: outside it they are clamped, and margin and regulariser have no gradient.

References
----------
.. [1] Q. Meng, S. Zhao, Z. Huang, F. Zhou, "MagFace: a universal representation for face recognition and quality
   assessment", CVPR 2021. arXiv:2103.06627
"""

from __future__ import annotations

from torch import Tensor

from models.margins import MarginLoss, turned


class MagFace(MarginLoss):
    """The loss and its class centres, which are thrown away after training.

    Parameters
    ----------
    dimension, classes : int
        Size of an embedding; number of identities.
    scale, l_a, u_a, l_m, u_m, lambda_g : float
        s, the range of norms, the range of margins (radians), the regulariser's weight.
    """

    def __init__(
        self,
        dimension: int,
        classes: int,
        *,
        scale: float = 64.0,
        l_a: float = 10.0,
        u_a: float = 110.0,
        l_m: float = 0.45,
        u_m: float = 0.8,
        lambda_g: float = 35.0,
    ) -> None:
        super().__init__(dimension, classes, scale=scale)
        if not 0 < l_a < u_a or not 0 <= l_m <= u_m:
            raise ValueError(f"expected 0 < l_a < u_a and 0 <= l_m <= u_m, got {l_a}, {u_a}, {l_m}, {u_m}")
        bound = lambda_bound(scale, l_a, u_a, l_m, u_m)
        if lambda_g < bound:
            raise ValueError(f"lambda_g = {lambda_g} is below its bound of {bound:.4g}")
        self.l_a, self.u_a, self.l_m, self.u_m, self.lambda_g = l_a, u_a, l_m, u_m, lambda_g

    def margin(self, norm: Tensor) -> Tensor:
        """m(a) in radians, of norms (B,) inside the range."""
        return self.l_m + (self.u_m - self.l_m) * (norm - self.l_a) / (self.u_a - self.l_a)

    def regulariser(self, norm: Tensor) -> Tensor:
        """g(a), of norms (B,) inside the range."""
        return norm / self.u_a**2 + 1 / norm

    def target_cosine(self, cosine: Tensor, norm: Tensor) -> Tensor:
        return turned(cosine, self.margin(norm.clamp(self.l_a, self.u_a)))

    def penalty(self, norm: Tensor) -> Tensor:
        return self.lambda_g * self.regulariser(norm.clamp(self.l_a, self.u_a))

    def clamped(self, norm: Tensor) -> Tensor:
        """Which norms (B,) lie outside the range, where neither margin nor regulariser moves them."""
        return (norm < self.l_a) | (norm > self.u_a)


def lambda_bound(scale: float, l_a: float, u_a: float, l_m: float, u_m: float) -> float:
    """The least lambda_g for which the loss has one optimum: s K u_a^2 l_a^2 / (u_a^2 - l_a^2)."""
    return scale * (u_m - l_m) / (u_a - l_a) * u_a**2 * l_a**2 / (u_a**2 - l_a**2)
