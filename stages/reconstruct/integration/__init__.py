"""Depth from normals: smooth or with steps kept, orthographic or through a pinhole, on masks of any kind.

edges      what the normals ask of neighbouring pixels
solving    the heights that fit all of them: least squares, or the robust kind, for surfaces that break
multigrid  the linear solver below both
depth      the one interface: :func:`integrate`
"""

from stages.reconstruct.integration.depth import METHODS, integrate
from stages.reconstruct.integration.edges import edges_of

__all__ = ["METHODS", "edges_of", "integrate"]
