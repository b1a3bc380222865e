"""A session's maps as a surface of triangles with its albedo as colour, in a file.

A pixel is where its depth says: straight behind it, or along its ray where the depth is that of a pinhole. Two
triangles join each 2x2 pixels inside the mask; those as steep as a depth discontinuity are left out. Open3D then
removes small pieces and vertices that nothing uses. x right, y up, z towards the camera.
"""

from __future__ import annotations

import base64
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import UserError
from pipeline.files import why_unwritable
from pipeline.images import silenced, stretched
from pipeline.maps import Maps
from pipeline.rig import Camera
from pipeline.tables import write_atomic

STEEPEST = 10.0  # pixels of depth that a triangle may span: a slope of 84 degrees
LEAST = 0.02  # of the largest piece, in triangles: smaller ones are removed
SUFFIXES = (".ply", ".glb")


def write_mesh(path: str | Path, maps: Maps, source: str, *, pitch: float | None = None) -> str:
    """Write the surface of maps; what it is in a few words.

    Parameters
    ----------
    source : str
        Where the maps are from, for messages.
    pitch : float, optional
        Width of a pixel on the face, in mm; else that of the session's camera.

    Raises
    ------
    UserError
        There is no surface, or the maps' attributes are damaged.
    """
    camera = _camera(maps, source)
    pitch = camera.pitch if pitch is None else pitch
    vertices, triangles, colours = surface(maps, camera)
    if not len(triangles):
        raise UserError(f"{source}: no 2x2 pixels lie inside the mask, there is no surface")
    mesh = cleaned(vertices * (pitch or 1.0), triangles, colours)
    write_atomic(path, lambda beside: _write(beside, mesh))
    return f"{len(mesh.vertices)} vertices, {len(mesh.triangles)} triangles, {'px' if pitch is None else 'mm'}"


def _camera(maps: Maps, session: str) -> Camera:
    """What the maps say of the camera: its pitch and intrinsics, as far as it was known."""
    try:
        known = {name: json.loads(maps.attributes.get(name, "null")) for name in ("pitch", "intrinsics")}
        return Camera.model_validate(known)
    except ValueError as error:  # no JSON, or no camera
        raise UserError(f"{session}: its attributes pitch and intrinsics are damaged; reconstruct it again") from error


def surface(maps: Maps, camera: Camera) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vertices (n, 3) in pixels, triangles (t, 3) int32 counter-clockwise to the camera, colours (n, 3) in [0, 1]."""
    mask = maps.mask
    rows, columns = np.nonzero(mask)
    index = np.full(mask.shape, -1, np.int32)
    index[mask] = np.arange(len(rows), dtype=np.int32)
    vertices = np.stack([columns, -rows, maps.depth[mask]], axis=1).astype(float)
    if camera.intrinsics is not None:
        fx, fy, cx, cy = camera.intrinsics
        away = (fx + fy) / 2 - vertices[:, 2]  # pixels at the distance of the face, which is the focal length
        vertices[:, 0], vertices[:, 1] = away * (columns - cx) / fx, away * (cy - rows) / fy
    if len(rows):
        vertices[:, :2] -= vertices[:, :2].mean(axis=0)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, :-1], index[1:, 1:]
    whole = (a >= 0) & (b >= 0) & (c >= 0) & (d >= 0)
    a, b, c, d = a[whole], b[whole], c[whole], d[whole]
    triangles = np.concatenate([np.stack([a, c, b], axis=1), np.stack([b, c, d], axis=1)])
    span = np.ptp(vertices[triangles, 2], axis=1)
    grey = stretched(maps.albedo, mask, (0.0, 99.5))[mask] ** (1 / 2.2)
    return vertices, triangles[span <= STEEPEST], np.repeat(grey[:, None], 3, axis=1)


def cleaned(vertices: np.ndarray, triangles: np.ndarray, colours: np.ndarray) -> Any:
    """An Open3D mesh without small pieces and unused vertices, with normals of its vertices."""
    import open3d as o3d

    mesh = o3d.geometry.TriangleMesh(o3d.utility.Vector3dVector(vertices), o3d.utility.Vector3iVector(triangles))
    mesh.vertex_colors = o3d.utility.Vector3dVector(colours)
    mesh.remove_degenerate_triangles()
    with silenced():
        piece, count, _ = mesh.cluster_connected_triangles()
    small = np.asarray(count) < LEAST * max(count)
    mesh.remove_triangles_by_mask(small[np.asarray(piece)])
    mesh.remove_unreferenced_vertices()
    mesh.compute_vertex_normals()
    return mesh


def _write(path: Path, mesh: Any) -> None:
    import open3d as o3d

    with silenced():  # on a full disk it may say that all is well
        whole = o3d.io.write_triangle_mesh(str(path), mesh) and _is_whole(path, len(mesh.triangles))
    if not whole:
        raise why_unwritable(path)
    if path.suffix.lower() == ".glb":
        path.write_bytes(_repacked(path.read_bytes()))


def _is_whole(path: Path, triangles: int) -> bool:
    """Whether a file holds all of its mesh: a .glb says its length, a .ply is read again."""
    import open3d as o3d

    if path.suffix.lower() == ".glb":
        data = path.read_bytes()
        return len(data) >= 20 and struct.unpack_from("<I", data, 8)[0] == len(data)
    return len(o3d.io.read_triangle_mesh(str(path)).triangles) == triangles


def _repacked(glb: bytes) -> bytes:
    """A binary glTF whose buffer Open3D has put into the text as base64, with it in a chunk, as all readers expect.

    Reference: Khronos glTF 2.0, section 4.4 (chunks begin with length and kind, and are padded to four bytes).
    """
    (length,) = struct.unpack_from("<I", glb, 12)
    text = json.loads(glb[20 : 20 + length])
    (buffer,) = text["buffers"]
    if "uri" not in buffer:
        return glb
    data = base64.b64decode(buffer.pop("uri").partition(",")[2])
    head = json.dumps(text, separators=(",", ":")).encode()
    head, data = head + b" " * (-len(head) % 4), data + bytes(-len(data) % 4)
    whole = struct.pack("<4sII", b"glTF", 2, 28 + len(head) + len(data))
    return whole + struct.pack("<I4s", len(head), b"JSON") + head + struct.pack("<I4s", len(data), b"BIN\0") + data
