"""Rays against triangles on one thread, by Open3D's Embree scene.

One thread a process: sessions are spread over processes, and one order of work gives one result.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np

from pipeline.errors import PsfaceError

with warnings.catch_warnings():  # a wheel built for CUDA says at import that there is none
    warnings.simplefilter("ignore", ImportWarning)
    try:
        import open3d as o3d
    except OSError as error:  # its wheel is linked against a desktop's libraries, needed or not
        raise PsfaceError(
            f"Open3D, which traces the simulator's rays, misses a system library ({str(error).split(':')[0]}): "
            "install it (on Debian and Ubuntu: apt-get install libgl1 libgomp1)"
        ) from error


@dataclass(frozen=True)
class Hits:
    """What N rays met first: ``far`` (N,) in lengths of the ray's direction, inf for nothing; ``index`` (M,) of the
    rays that met something, with their ``triangle`` (M,) and barycentric ``weights`` (M, 3) of its corners.
    """

    far: np.ndarray
    index: np.ndarray
    triangle: np.ndarray
    weights: np.ndarray


class Scene:
    """Triangles (T, 3) of vertices (V, 3)."""

    def __init__(self, vertices: np.ndarray, triangles: np.ndarray) -> None:
        self._scene = o3d.t.geometry.RaycastingScene(nthreads=1)
        self._scene.add_triangles(vertices.astype(np.float32), triangles.astype(np.uint32))

    def cast(self, rays: np.ndarray) -> Hits:
        """First hits of rays (N, 6): origin and direction."""
        met = self._scene.cast_rays(o3d.core.Tensor(rays), nthreads=1)
        far = met["t_hit"].numpy()
        index = np.flatnonzero(np.isfinite(far))
        u, v = np.take(met["primitive_uvs"].numpy(), index, axis=0).T
        return Hits(far, index, met["primitive_ids"].numpy()[index].astype(np.int64), np.stack([1 - (u + v), u, v]).T)

    def blocked(self, rays: np.ndarray, reach: float) -> np.ndarray:
        """(N,) bool: whether anything lies on the way within ``reach`` lengths of the direction."""
        rays = o3d.core.Tensor(np.ascontiguousarray(rays, np.float32))
        hidden: np.ndarray = self._scene.test_occlusions(rays, tnear=0.0, tfar=float(reach), nthreads=1).numpy()
        return hidden
