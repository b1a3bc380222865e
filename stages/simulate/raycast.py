"""Rays against triangles on one thread, by Open3D's Embree scene.

One thread a process: sessions are spread over processes, and one order of work gives one result.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import numpy as np

from pipeline.errors import PsfaceError


def _open3d() -> Any:
    """Open3D's compiled module alone: the package imports pandas, scikit-learn and Dash beside it, for two seconds."""
    if "open3d" in sys.modules:
        return sys.modules["open3d"]
    spec = find_spec("open3d")
    if spec is None or spec.submodule_search_locations is None:
        raise PsfaceError("the package `open3d` is not installed: `make` sets up what `psface simulate` needs")
    bare = ModuleType("open3d")
    bare.__path__ = list(spec.submodule_search_locations)
    sys.modules["open3d"] = bare
    try:
        from open3d.cpu import pybind
    except ImportError as error:  # its wheel is linked against a desktop's libraries, needed or not
        raise PsfaceError(
            f"Open3D, which traces the simulator's rays, misses a system library ({str(error).split(':')[0]}): "
            "install it (on Debian and Ubuntu: apt-get install libgl1 libgomp1)"
        ) from error
    finally:
        del sys.modules["open3d"]
    return pybind


o3d = _open3d()


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
