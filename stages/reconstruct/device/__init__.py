"""The pixels of a session solved and integrated on a torch device: float32 twins of the numpy code, held against it.

solvers      normals and albedo of pixels: `weighted`, `marching`, `thresholding`
pictures     what looks around a pixel: moved frames, cast shadows, averages
integration  smooth depth by the same multigrid, on pictures
fitting      the one interface, :func:`fitted`, as :func:`stages.reconstruct.fitting.fitted`; and :func:`integrated`

Frames go to the device in the numbers that they are stored in, maps come back. It is waited for once in some rows and
once in some iterations of the integration, nowhere else: what numpy does for the pixels that need it is done for all
and taken where it is needed. Double precision is used for the residual of the integration, as in numpy, and for sums.
"""

from stages.reconstruct.device.fitting import fitted, integrated

__all__ = ["fitted", "integrated"]
