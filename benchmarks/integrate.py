"""What integration costs and how far it is from the truth, beside peers and twins timed in turn.

    python benchmarks/integrate.py DATA                    # five objects of DiLiGenT in perspective
    python benchmarks/integrate.py --steps                    # staircases without risers, and a sphere
    python benchmarks/integrate.py --scale                    # time and memory at 1 and 4 megapixels

Data: folders with normal_map.png, mask.png, K.txt, depth_gt.npz as the authors of BiNI publish them. The error is the
mean absolute difference in mm after the median of the ratios to the truth has been divided out. Noise: each normal is
moved within its tangent plane by a Gaussian, so that the mean angle is 4.4 degrees (generator and seed in `noisy`).

Peers: pyamg's smoothed aggregation on the same normal equations, to the same residual (where pyamg is installed: it is
not needed otherwise); a sparse factorisation of them; and BILATERAL, a plain twin of bilateral normal integration
written from the paper (X. Cao et al., ECCV 2022: one-sided differences weighted by n_z, sigmoid of the squared
difference of both sides times k = 2, at most 150 reweightings, until the energy changes by less than 1e-4, conjugate
gradients to 1e-3 with a diagonal preconditioner). BINI is what the authors' own program was measured to reach.

Staircase: five treads, 20 rows each, amid a ramp into which they fade. No riser is seen, so that the normals
of the treads say nothing of the steps; how the treads turn into the ramp beside them does.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg

from stages.reconstruct.integration import integrate
from stages.reconstruct.integration.depth import STEEP
from stages.reconstruct.integration.edges import focal, slopes_of
from stages.reconstruct.integration.multigrid import Grid, laplacian
from stages.reconstruct.integration.solving import TOLERANCE, pull

BINI = {"bear": 0.334, "buddha": 1.098, "cat": 0.074, "cow": 0.058, "pot1": 0.635}
NOISE = 4.4  # degrees


def load(folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Normals, mask, camera matrix and distances in mm of an object."""
    mask = cv2.imread(str(folder / "mask.png"), cv2.IMREAD_GRAYSCALE) > 0
    picture = cv2.imread(str(folder / "normal_map.png"), cv2.IMREAD_UNCHANGED)[..., ::-1]
    normal = picture.astype(np.float32) / np.iinfo(picture.dtype).max * 2 - 1
    normal /= np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-6)
    truth = np.load(folder / "depth_gt.npz")["depth_gt"].astype(float)
    return normal, mask, np.loadtxt(folder / "K.txt"), truth


def noisy(normal: np.ndarray, mask: np.ndarray, seed: int = 0) -> np.ndarray:
    """Normals that are NOISE degrees off on average, by numpy's default_rng(seed)."""
    sigma = np.deg2rad(NOISE) / np.sqrt(np.pi / 2)  # the length of a Gaussian in the plane is Rayleigh
    push = np.random.default_rng(seed).normal(0, sigma, normal.shape).astype(np.float32)
    push -= (push * normal).sum(axis=-1, keepdims=True) * normal
    moved = normal + push
    moved /= np.maximum(np.linalg.norm(moved, axis=-1, keepdims=True), 1e-6)
    return np.where(mask[..., None], moved, normal)


def error(distance: np.ndarray, mask: np.ndarray, truth: np.ndarray) -> float:
    """Mean absolute difference in mm after the median scale."""
    found, known = distance[mask].astype(float), truth[mask]
    return float(np.abs(found * np.median(known / found) - known).mean())


def by_amg(normal: np.ndarray, mask: np.ndarray, intrinsics: np.ndarray) -> np.ndarray:
    """Masked least squares by pyamg: heights (n,)."""
    import pyamg

    matrix, target = _system(normal, mask, intrinsics)
    solver = pyamg.smoothed_aggregation_solver(matrix + 1e-10 * sp.identity(len(target), format="csr"))
    return solver.solve(target, tol=TOLERANCE, accel="cg")


def by_lu(normal: np.ndarray, mask: np.ndarray, intrinsics: np.ndarray) -> np.ndarray:
    """Masked least squares by a sparse factorisation: heights (n,)."""
    matrix, target = _system(normal, mask, intrinsics)
    options = {"permc_spec": "MMD_AT_PLUS_A", "diag_pivot_thresh": 0.0, "options": {"SymmetricMode": True}}
    return scipy.sparse.linalg.splu((matrix + 1e-9 * sp.identity(len(target))).tocsc(), **options).solve(target)


def _system(normal: np.ndarray, mask: np.ndarray, intrinsics: np.ndarray) -> tuple[sp.csr_matrix, np.ndarray]:
    edges, grid = slopes_of(normal, mask, floor=STEEP, intrinsics=intrinsics), Grid(mask)
    ones = np.ones(len(grid))
    return laplacian(grid, ones, ones), pull(edges, edges.rise, len(grid))


def bilateral_twin(
    normal: np.ndarray, mask: np.ndarray, intrinsics: np.ndarray, *, sharpness: float = 2.0, most: int = 150
) -> np.ndarray:
    """-log distance (n,) by bilaterally weighted one-sided differences, from the equations of the paper."""
    grid = Grid(mask)
    n, pixel = len(grid), np.arange(len(grid))
    x, y, z = normal[mask].astype(float).T
    right = (grid.columns - intrinsics[0, 2]) / intrinsics[0, 0]
    down = (grid.rows - intrinsics[1, 2]) / intrinsics[1, 1]
    facing = z - x * right + y * down
    left, above = grid.index[grid.rows, grid.columns - 1], grid.index[grid.rows - 1, grid.columns]
    sides = []
    for there, sign, slope in (
        (grid.right, 1, -x / intrinsics[0, 0]),
        (left, -1, -x / intrinsics[0, 0]),
        (grid.below, 1, y / intrinsics[1, 1]),
        (above, -1, y / intrinsics[1, 1]),
    ):
        has = there >= 0
        value = np.concatenate([sign * facing[has], -sign * facing[has]])
        where = (np.tile(pixel[has], 2), np.concatenate([there[has], pixel[has]]))
        sides.append((sp.csr_matrix((value, where), shape=(n, n)), np.where(has, slope, 0.0)))
    stacked, asked = sp.vstack([side for side, _ in sides]).tocsr(), np.concatenate([slope for _, slope in sides])
    weight, heights, energy = np.full(4 * n, 0.5), np.zeros(n), 0.0
    for _ in range(most):
        weighted = sp.diags_array(weight) @ stacked
        matrix, target = (stacked.T @ weighted).tocsr(), weighted.T @ asked
        jacobi = sp.diags_array(1 / np.maximum(matrix.diagonal(), 1e-5))
        heights, _ = scipy.sparse.linalg.cg(matrix, target, x0=heights, M=jacobi, maxiter=5000, rtol=1e-3)
        previous, energy = energy, float(weight @ (stacked @ heights - asked) ** 2)
        if abs(energy - previous) <= 1e-4 * previous:
            break
        jumps = (focal(intrinsics) * (stacked @ heights)).reshape(4, n) ** 2
        first = [1 / (1 + np.exp(-np.clip(sharpness * (jumps[j + 1] - jumps[j]), -500, 500))) for j in (0, 2)]
        weight = np.concatenate([first[0], 1 - first[0], first[1], 1 - first[1]])
    return heights


def spread(heights: np.ndarray, mask: np.ndarray, unit: float) -> np.ndarray:
    """Distances (H, W) of heights (n,) in units of the focal length."""
    distance = np.ones(mask.shape)
    distance[mask] = np.exp(-heights / unit)
    return distance


def timed(function: Callable[[], np.ndarray], repeats: int) -> tuple[np.ndarray, float]:
    """The result of a call and its least CPU seconds."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        result = function()
        times.append(time.process_time() - start)
    return result, min(times)


def objects(root: Path) -> None:
    """Print a table of errors and CPU seconds for each object, clean and noisy."""
    print(
        f"{'object':8s}{'normals':9s}"
        + "".join(f"{name:>20s}" for name in ("smooth", "LU", "AMG", "bilateral", "twin"))
    )
    for name in BINI:
        normal, mask, camera, truth = load(root / name)
        for kind, given in (("exact", normal), ("noisy", noisy(normal, mask))):
            cells = []
            for method in ("smooth", by_lu, by_amg, "bilateral", bilateral_twin):
                if callable(method):
                    unit = 1.0 if method is bilateral_twin else focal(camera)
                    slow = method is bilateral_twin
                    try:
                        heights, seconds = timed(partial(method, given, mask, camera), 1 if slow else 3)
                    except ImportError:
                        cells.append("not installed")
                        continue
                    distance = spread(heights, mask, unit)
                else:
                    depth, seconds = timed(partial(integrate, given, mask, method=method, intrinsics=camera), 3)
                    distance = focal(camera) - depth
                cells.append(f"{error(distance, mask, truth):.3f} / {seconds:.3f} s")
            print(f"{name:8s}{kind:9s}" + "".join(f"{cell:>20s}" for cell in cells), flush=True)
    print("BiNI, as its authors' program was measured (mm):", BINI)


def scale() -> None:
    """Print seconds and the peak of memory beyond the inputs, at 1 and 4 megapixels (Linux)."""
    for side in (1000, 2000):
        y, x = np.mgrid[:side, :side].astype(np.float32) / side - 0.5
        normal = np.stack([-0.6 * np.sin(9 * x) - x, y - 0.5 * np.cos(7 * y), np.ones_like(x)], axis=-1)
        normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
        mask = np.hypot(x, y) < 0.495
        n = int(mask.sum())
        for method in ("smooth", "bilateral"):
            before = _memory("VmRSS")
            Path("/proc/self/clear_refs").write_text("5")  # the high-water mark begins anew
            _, seconds = timed(partial(integrate, normal, mask, method=method), 1)
            extra = (_memory("VmHWM") - before) / n
            print(
                f"{side}x{side} {method:10s} {seconds:6.2f} s  {seconds / n * 1e6:5.2f} us, {extra:4.0f} bytes a pixel"
            )


def staircase(step: float, slope: float = 0.0, fade: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Normals (100, 120, 3) and depth of treads with a slope down the rows, step px apart."""
    rows, columns = np.mgrid[:100, :120].astype(float)
    ramp = slope + step / 20
    beyond = np.clip((np.abs(columns - 59.5) - 8) / fade, 0, 1)
    share, turn = 1 - beyond**2 * (3 - 2 * beyond), 6 * beyond * (beyond - 1) / fade * np.sign(columns - 59.5)
    above = (rows // 20) * step + rows * slope - (rows - 9.5) * ramp
    normal = np.stack([-turn * above, ramp + share * (slope - ramp), np.ones_like(above)], axis=-1)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    return normal.astype(np.float32), (rows - 9.5) * ramp + share * above


def steps() -> None:
    """Print the share of each step that is found in the one edge across it, and the largest step on a sphere."""
    camera = np.array([[1e5, 0, 60.0], [0, 1e5, 50], [0, 0, 1]])  # so far away that perspective does not show

    def depths(normal: np.ndarray, mask: np.ndarray) -> dict[str, np.ndarray]:
        twin = np.zeros(mask.shape)
        twin[mask] = 1e5 * bilateral_twin(normal, mask, camera)
        return {method: integrate(normal, mask, method=method) for method in ("smooth", "bilateral")} | {"twin": twin}

    for name, step, slope in (("level treads", 1.0, 0.0), ("level treads", 4.0, 0.0), ("saw", -1.0, 0.05)):
        normal, _ = staircase(step, slope)
        for kind, given in (("exact", normal), ("noisy", noisy(normal, np.ones(normal.shape[:2], bool)))):
            found = depths(given, np.ones(normal.shape[:2], bool))
            kept = {m: ((z[20:81:20] - z[19:80:20])[:, 53:67].mean(axis=1) - slope) / step for m, z in found.items()}
            print(f"{name}, {step:g} px, {kind}: " + ", ".join(f"{m} {k.mean():.2f}" for m, k in kept.items()))
    y, x = np.mgrid[-50.0:51, -50.0:51]
    truth, mask = np.sqrt(np.maximum(60.0**2 - x**2 - y**2, 0)), np.hypot(x, y) < 50
    normal = (np.stack([x, -y, truth], axis=-1) / 60).astype(np.float32)
    for kind, given in (("exact", normal), ("noisy", noisy(normal, mask))):
        most = {}
        for method, depth in depths(given, mask).items():
            off = np.where(mask, depth - truth, np.nan)
            most[method] = max(np.nanmax(np.abs(np.diff(off, axis=axis))) for axis in (0, 1))
        print(f"sphere, {kind}, largest step: " + ", ".join(f"{m} {value:.3f} px" for m, value in most.items()))


def _memory(entry: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(entry))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?", help="the folder of the objects")
    parser.add_argument("--scale", action="store_true", help="time and memory of large pictures instead")
    parser.add_argument("--steps", action="store_true", help="staircases and a sphere instead")
    options = parser.parse_args()
    if options.steps:
        return steps()
    if options.scale:
        return scale()
    if options.data is None or not options.data.is_dir():
        parser.error("give the folder of the objects, or --steps or --scale")
    return objects(options.data)


if __name__ == "__main__":
    main()
