"""Meshes: Catmull-Clark subdivision as one sparse matrix, vertex normals, and tubes, slabs and shells for props.

Reference: E. Catmull and J. Clark, "Recursively generated B-spline surfaces on arbitrary topological meshes",
Computer-Aided Design 10(6), 1978, https://doi.org/10.1016/0010-4485(78)90110-0. Borders follow the cubic B-spline.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from pipeline.shading import lengths


@dataclass(frozen=True)
class Subdivision:
    """One step of Catmull-Clark on a fixed quad mesh.

    Attributes
    ----------
    matrix : (V', V) sparse, fine vertices from coarse ones.
    quads : (4F, 4) int32 fine quads; the four of a coarse quad lie together, each beginning at its corner.
    """

    matrix: sparse.csr_matrix
    quads: np.ndarray


def catmull_clark(quads: np.ndarray, count: int) -> Subdivision:
    """Subdivide a quad mesh (F, 4) over ``count`` vertices; any vertex may lie on a border."""
    faces = len(quads)
    starts, ends = quads, np.roll(quads, -1, axis=1)
    ordered = np.sort(np.stack([starts.ravel(), ends.ravel()], axis=1), axis=1)
    edges, edge_of, uses = np.unique(ordered, axis=0, return_inverse=True, return_counts=True)
    edge_of = edge_of.reshape(faces, 4)
    face_of_corner = np.repeat(np.arange(faces), 4)

    def matrix(
        rows: np.ndarray, columns: np.ndarray, values: np.ndarray | float, shape: tuple[int, int]
    ) -> sparse.csr_matrix:
        values = np.broadcast_to(np.asarray(values, float), rows.shape)
        return sparse.csr_matrix((values, (rows, columns)), shape=shape)

    face_points = matrix(face_of_corner, quads.ravel(), 0.25, (faces, count))
    middles = matrix(np.repeat(np.arange(len(edges)), 2), edges.ravel(), 0.5, (len(edges), count))
    faces_of_edge = matrix(edge_of.ravel(), face_of_corner, 1.0, (len(edges), faces))
    border = uses == 1
    inner = sparse.diags((~border).astype(float))
    edge_points = (
        inner @ (0.5 * middles + 0.25 * faces_of_edge @ face_points) + sparse.diags(border.astype(float)) @ middles
    )

    faces_of_vertex = matrix(quads.ravel(), face_of_corner, 1.0, (count, faces))
    edges_of_vertex = matrix(edges.ravel(), np.repeat(np.arange(len(edges)), 2), 1.0, (count, len(edges)))
    n_faces = np.maximum(np.asarray(faces_of_vertex.sum(1)).ravel(), 1)
    n_edges = np.maximum(np.asarray(edges_of_vertex.sum(1)).ravel(), 1)
    identity = sparse.identity(count, format="csr")
    smooth = (
        sparse.diags(1 / n_faces**2) @ faces_of_vertex @ face_points
        + sparse.diags(2 / (n_edges * n_faces)) @ edges_of_vertex @ middles
        + sparse.diags((n_faces - 3) / n_faces) @ identity
    )
    border_edges = edges_of_vertex @ sparse.diags(border.astype(float))
    at_border = np.asarray(border_edges.sum(1)).ravel() > 0
    crease = 0.25 * border_edges @ middles + 0.5 * identity
    vertex_points = sparse.diags((~at_border).astype(float)) @ smooth + sparse.diags(at_border.astype(float)) @ crease

    e, f = count + edge_of, (count + len(edges) + np.arange(faces))[:, None].repeat(4, 1)
    fine = np.stack([quads, e, f, np.roll(e, 1, axis=1)], axis=-1).reshape(-1, 4)
    return Subdivision(sparse.vstack([vertex_points, edge_points, face_points]).tocsr(), fine.astype(np.int32))


def subdivide_corners(values: np.ndarray) -> np.ndarray:
    """Values at the corners of coarse quads (F, 4, C) carried linearly to those of the fine quads (4F, 4, C).

    Texture coordinates may jump between neighbouring quads, so that they belong to corners and not to vertices.
    """
    middle = 0.5 * (values + np.roll(values, -1, axis=1))
    centre = np.broadcast_to(values.mean(1, keepdims=True), values.shape)
    return np.stack([values, middle, centre, np.roll(middle, 1, axis=1)], axis=2).reshape(-1, 4, values.shape[-1])


def triangles(quads: np.ndarray) -> np.ndarray:
    """(2F, 3) int32: the two triangles of each quad (F, 4), together."""
    return quads[:, [0, 1, 2, 0, 2, 3]].reshape(-1, 3).astype(np.int32)


def vertex_normals(vertices: np.ndarray, quads: np.ndarray) -> np.ndarray:
    """Unit normals (V, 3) float32, weighted by the areas of the quads around each vertex."""
    corners = vertices[quads]
    across = np.cross(corners[:, 2] - corners[:, 0], corners[:, 3] - corners[:, 1])
    normals = np.stack(
        [np.bincount(quads.ravel(), np.repeat(across[:, i], 4), minlength=len(vertices)) for i in range(3)], axis=1
    )
    return (normals / np.maximum(lengths(normals), 1e-12)[:, None]).astype(np.float32)


def blend(weights: np.ndarray, values: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Values (V, C) of three corners (N, 3) each, weighted by (N, 3): (N, C), its columns contiguous."""
    columns, shares = np.ascontiguousarray(corners.T), np.ascontiguousarray(weights.T)
    blended = np.empty((values.shape[1], len(corners)), np.result_type(weights, values))
    for value, out in zip(np.ascontiguousarray(values.T), blended, strict=True):
        np.multiply(shares[0], value[columns[0]], out=out)
        out += shares[1] * value[columns[1]]
        out += shares[2] * value[columns[2]]
    return blended.T


def tube(
    path: np.ndarray, radius: float | np.ndarray, *, closed: bool, sides: int = 8
) -> tuple[np.ndarray, np.ndarray]:
    """A tube along a path (N, 3): vertices (N * sides, 3) and quads. ``radius`` is one number or (N,)."""
    ahead = np.roll(path, -1, axis=0) - np.roll(path, 1, axis=0)
    if not closed:
        ahead[0], ahead[-1] = path[1] - path[0], path[-1] - path[-2]
    ahead = ahead / np.linalg.norm(ahead, axis=1, keepdims=True)
    up = np.where(np.abs(ahead[:, 2:3]) < 0.9, [[0.0, 0.0, 1.0]], [[0.0, 1.0, 0.0]])
    side = np.cross(up, ahead)
    side /= np.linalg.norm(side, axis=1, keepdims=True)
    up = np.cross(ahead, side)
    angles = 2 * np.pi * np.arange(sides) / sides
    ring = np.cos(angles)[:, None] * side[:, None] + np.sin(angles)[:, None] * up[:, None]
    vertices = path[:, None] + np.broadcast_to(np.asarray(radius, float), len(path))[:, None, None] * ring
    return vertices.reshape(-1, 3), grid_quads(len(path), sides, wrap_rows=closed, wrap_columns=True)


def grid_quads(rows: int, columns: int, *, wrap_rows: bool = False, wrap_columns: bool = False) -> np.ndarray:
    """Quads (F, 4) of vertices that lie in a grid, row by row."""
    i = np.arange(rows if wrap_rows else rows - 1)[:, None]
    j = np.arange(columns if wrap_columns else columns - 1)[None]
    down, right = (i + 1) % rows, (j + 1) % columns
    corners = [i * columns + j, i * columns + right, down * columns + right, down * columns + j]
    return np.stack(corners, axis=-1).reshape(-1, 4).astype(np.int32)
