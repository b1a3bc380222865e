"""Lights that nobody wrote down, from the frames of a face.

Under Lambert's law the frames are ``I = L B``, lights (k, 3) times scaled normals (3, P), and any ``L X``, ``X^-1 B``
does as well. What takes the 3x3 matrix X away, step by step:

- `factorise`  the span of the lights, by a rank-3 factorisation of the samples that are neither in shadow nor glare
- `find`       where the face is, by a filter that no light fools
- `fit`        X, the place and the shape of the face, so that a model of faces (`face`) explains the frames, flashes of
               about equal strength
- `integrable` the five of X's parameters that the frames themselves tell: normals must belong to a surface

What stays with the model is the generalised bas-relief ambiguity: two tilts and the relief.

References: Belhumeur, Kriegman, Yuille 1999, doi:10.1023/A:1008154927611. Yuille, Snow 1997,
doi:10.1109/CVPR.1997.609461. Georghiades, Belhumeur, Kriegman 2001, doi:10.1109/34.927464.
"""

from stages.reconstruct.uncalibrated.estimate import NOTE, Estimate, estimate_lights

__all__ = ["NOTE", "Estimate", "estimate_lights"]
