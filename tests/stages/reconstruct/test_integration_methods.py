"""Perspective, steps and scale of integration against closed forms, dense twins and ground truth; its command."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import scipy.sparse
import scipy.sparse.linalg

from pipeline.cli import main
from pipeline.maps import Maps, write_maps
from stages.reconstruct.integration import integrate
from stages.reconstruct.integration.edges import slopes_of
from stages.reconstruct.integration.multigrid import Grid, laplacian
from stages.reconstruct.integration.solving import NARROW, SOLVES, WIDE, pull

CAMERA = np.array([[400.0, 0, 33], [0, 380, 28], [0, 0, 1]])
METHODS = ("smooth", "bilateral")


def rays(height: int, width: int) -> np.ndarray:
    """(H, W, 3) along which CAMERA's pixels look."""
    rows, columns = np.mgrid[:height, :width].astype(float)
    right, down = (columns - CAMERA[0, 2]) / CAMERA[0, 0], (rows - CAMERA[1, 2]) / CAMERA[1, 1]
    return np.stack([right, -down, -np.ones_like(right)], axis=-1)


@pytest.mark.parametrize("method", METHODS)
def test_a_tilted_plane_in_perspective(method):
    ray = rays(60, 70)
    normal = np.array([0.4, -0.3, 1]) / np.linalg.norm([0.4, -0.3, 1])
    truth = -500 / (ray @ normal)  # of the points D r with n.(D r) = -500
    mask = np.hypot(*np.mgrid[-30:30, -35:35]) < 29
    depth = integrate(np.broadcast_to(normal, ray.shape).astype(np.float32), mask, method=method, intrinsics=CAMERA)
    distance = CAMERA[:2, :2].trace() / 2 - depth[mask]
    assert np.allclose(distance / distance.mean(), truth[mask] / truth[mask].mean(), rtol=2e-5)


@pytest.mark.parametrize("method", METHODS)
def test_a_sphere_in_perspective_and_its_distance_in_mm(method):
    ray = rays(60, 70)
    centre, radius = np.array([2.0, 1.0, -900.0]), 90.0
    along, square = ray @ centre, (ray**2).sum(axis=-1)
    root = along**2 - square * (centre @ centre - radius**2)
    truth = (along - np.sqrt(np.maximum(root, 0))) / square
    normal = (truth[..., None] * ray - centre) / radius
    mask = (root > 0) & (-(normal * ray).sum(axis=-1) > 0.3)
    mean = float(np.exp(np.log(truth[mask]).mean()))
    depth = integrate(normal.astype(np.float32), mask, method=method, intrinsics=CAMERA, distance=mean)
    assert np.abs(mean - depth[mask] - truth[mask]).max() < 0.01 * np.ptp(truth[mask])


def test_pitch_scales():
    normal = np.broadcast_to(np.float32([-0.6, 0, 0.8]), (6, 8, 3))
    mask = np.ones((6, 8), bool)
    assert np.allclose(integrate(normal, mask, pitch=0.5), 0.5 * integrate(normal, mask), atol=1e-6)


def normals_of(across: np.ndarray, down: np.ndarray) -> np.ndarray:
    """(H, W, 3) float32 of slopes to the right and downwards: d(depth)/d(row) = n_y / n_z."""
    normal = np.stack([-across, down, np.ones_like(across)], axis=-1)
    return (normal / np.linalg.norm(normal, axis=-1, keepdims=True)).astype(np.float32)


def staircase(step: float, slope: float = 0.0, fade: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Normals and depth of five treads of 20 rows, step px apart, in the middle of a ramp into which they fade.

    No riser is seen. That treads have these normals says nothing of the steps between them; how the treads turn into
    the ramp beside them does. slope: of the treads, down the rows (with a negative step: the teeth of a saw).
    """
    rows, columns = np.mgrid[:100, :120].astype(float)
    ramp = slope + step / 20
    beyond = np.clip((np.abs(columns - 59.5) - 8) / fade, 0, 1)
    share, turn = 1 - beyond**2 * (3 - 2 * beyond), 6 * beyond * (beyond - 1) / fade * np.sign(columns - 59.5)
    above = (rows // 20) * step + rows * slope - (rows - 9.5) * ramp
    truth = (rows - 9.5) * ramp + share * above
    return normals_of(turn * above, ramp + share * (slope - ramp)), truth


def in_perspective(truth: np.ndarray, normal: np.ndarray, camera: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Normals through a pinhole of the surface whose -log distance, in pixels, is truth; n.r as it was n_z."""
    rows, columns = np.mgrid[: truth.shape[0], : truth.shape[1]]
    right, down = (columns - camera[0, 2]) / camera[0, 0], (rows - camera[1, 2]) / camera[1, 1]
    turned = normal + np.stack([0 * right, 0 * right, normal[..., 0] * right - normal[..., 1] * down], axis=-1)
    turned /= np.linalg.norm(turned, axis=-1, keepdims=True)
    unit = camera[0, 0]
    return turned.astype(np.float32), -unit * np.expm1(-(truth - truth.mean()) / unit)


@pytest.mark.parametrize("camera", [None, np.array([[3000.0, 0, 60], [0, 3000, 50], [0, 0, 1]])])
@pytest.mark.parametrize(("step", "slope"), [(1.0, 0.0), (4.0, 0.0), (-1.0, 0.05), (-4.0, 0.2)])
def test_steps_without_risers_are_kept(step, slope, camera):
    """Level treads, and teeth of a saw; masked least squares leaves a twentieth of each step."""
    normal, truth = staircase(step, slope)
    mask = np.ones(truth.shape, bool)
    if camera is not None:
        normal, truth = in_perspective(truth, normal, camera)
    for method, least, most in (("smooth", -0.1, 0.2), ("bilateral", 0.97, 1.03)):
        depth = integrate(normal, mask, method=method, intrinsics=camera)
        jumps = (depth[20:81:20] - depth[19:80:20])[:, 53:67] - slope
        assert least < (jumps / step).min() <= (jumps / step).max() < most
    assert np.abs((depth - depth.mean()) - (truth - truth.mean())).max() < 0.05 * abs(step)


@pytest.mark.parametrize("step", [1.0, 4.0])
def test_steps_with_risers_of_one_pixel_are_kept(step, rng):
    """The row before each tread has the slope of the riser; half of it counts on either side."""
    rows, _ = np.mgrid[:100, :60]
    slopes = np.where(rows % 20 == 19, step, 0.0)
    truth = (rows // 20 + 0.5 * (rows % 20 == 19)) * step
    exact = normals_of(np.zeros_like(slopes), slopes)
    noisy = exact + rng.normal(0, 0.02, exact.shape)
    noisy /= np.linalg.norm(noisy, axis=-1, keepdims=True)
    for normal, most in ((exact, 0.01), (noisy.astype(np.float32), 0.15)):
        depth = integrate(normal, np.ones(truth.shape, bool), method="bilateral")
        error = (depth - depth.mean()) - (truth - truth.mean())
        assert np.abs(error.mean(axis=1)).max() < most * step


def test_no_steps_are_invented_on_a_sphere(rng):
    y, x = np.mgrid[-50.0:51, -50.0:51]
    truth = np.sqrt(np.maximum(60.0**2 - x**2 - y**2, 0))
    mask = np.hypot(x, y) < 50
    normal = np.stack([x, -y, truth], axis=-1) / 60
    for noise, most in ((0.0, 0.05), (0.03, 0.6)):
        noisy = normal + noise * rng.normal(size=normal.shape)
        noisy /= np.maximum(np.linalg.norm(noisy, axis=-1, keepdims=True), 1e-6)
        error = integrate(noisy.astype(np.float32), mask, method="bilateral") - truth
        for axis in (0, 1):
            both = np.minimum(mask, np.roll(mask, 1, axis))
            assert np.abs(error - np.roll(error, 1, axis))[both].max() < most


@pytest.mark.parametrize("camera", [None, CAMERA])
def test_bilateral_against_a_twin(camera, rng):
    """The same reweighting, each solve by a sparse factorisation over a loop's edges, around one step that fades."""
    normal = staircase(1.0)[0][24:56, 34:86] + rng.normal(0, 0.002, (32, 52, 3)).astype(np.float32)
    mask = np.ones((32, 52), bool)
    mask[3:6, 20:30] = mask[:4, :5] = False
    edges = slopes_of(normal, mask, floor=0.01, intrinsics=camera)
    design = scipy.sparse.lil_array((len(edges.rise), int(mask.sum())))
    for row, (i, j) in enumerate(zip(edges.start, edges.end, strict=True)):
        design[row, i], design[row, j] = -1, 1
    free = design.tocsc()[:, 1:]  # the first pixel stays at zero
    heights = np.zeros(int(mask.sum()))
    for scale in (np.inf, *np.geomspace(WIDE, NARROW, SOLVES)):
        weight = 1 / (1 + ((edges.rise - free @ heights[1:]) / scale) ** 2)
        weighted = free.T @ scipy.sparse.diags_array(weight)
        heights[1:] = scipy.sparse.linalg.spsolve((weighted @ free).tocsc(), weighted @ edges.rise)
    heights -= heights.mean()
    if camera is not None:
        unit = (camera[0, 0] + camera[1, 1]) / 2
        heights = -unit * np.expm1(-heights / unit)
    assert np.abs(integrate(normal, mask, method="bilateral", intrinsics=camera)[mask] - heights).max() < 0.02


def test_weighted_matrix_against_a_loop(rng):
    mask = rng.random((9, 11)) < 0.7
    grid = Grid(mask)
    right, below = rng.random((2, len(grid)))
    dense = np.zeros((len(grid), len(grid)))
    for i in range(len(grid)):
        for j, weight in ((grid.right[i], right[i]), (grid.below[i], below[i])):
            if j >= 0:
                dense[[i, j, i, j], [i, j, j, i]] += np.array([1, 1, -1, -1]) * weight
    assert np.allclose(laplacian(grid, right, below).toarray(), dense)
    edges = slopes_of(np.float32([[[0, 0, 1]] * 11] * 9), mask, floor=0.1)
    assert not pull(edges, edges.rise, len(grid)).any()


FAR = np.array([[100.0, 0, 2], [0, 100, -5000], [0, 0, 1]])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"method": "sharp"}, "known: smooth, bilateral"),
        ({"distance": 3.0}, "takes a pitch"),
        ({"intrinsics": CAMERA, "pitch": 2.0}, "distance sets the scale"),
        ({"intrinsics": CAMERA * [[1, 0, 0], [0, -1, 0], [0, 0, 1]]}, "positive focal"),
        ({"intrinsics": CAMERA * [[1, 0, 1], [0, 1e300, 1], [0, 0, 1]]}, "in pixels"),
        ({"intrinsics": CAMERA * [[1e-300, 0, 1], [0, 1, 1], [0, 0, 1]]}, "in pixels"),
        ({"intrinsics": CAMERA * 2}, "of the form"),
        ({"pitch": -1.0}, "positive number"),
        ({"mask": np.ones((4, 4), np.uint8)}, "expected bool"),
        ({"normal": np.float32([[[0, -0.6, 0.8]] * 4] * 4), "intrinsics": FAR}, "principal point"),
    ],
)
def test_settings_that_cannot_be(options, words):
    flat = {"normal": np.float32([[[0, 0, 1]] * 4] * 4), "mask": np.ones((4, 4), bool)}
    with pytest.raises(ValueError, match=words):
        integrate(**(flat | options))


@pytest.mark.data
@pytest.mark.parametrize(("name", "smooth", "bilateral"), [("cow", 0.25, 0.1), ("cat", 1.2, 0.05), ("bear", 0.7, 0.05)])
def test_ground_truth_of_diligent(data_root, name, smooth, bilateral):
    """Mean absolute error in mm after the median scale; .058, .074 and .334 are published for bilateral integration."""
    folder = data_root / "diligent" / name
    mask = cv2.imread(str(folder / "mask.png"), cv2.IMREAD_GRAYSCALE) > 0
    picture = cv2.imread(str(folder / "normal_map.png"), cv2.IMREAD_UNCHANGED)[..., ::-1]
    normal = picture.astype(np.float32) / np.iinfo(picture.dtype).max * 2 - 1
    normal /= np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-6)
    truth, camera = np.load(folder / "depth_gt.npz")["depth_gt"], np.loadtxt(folder / "K.txt")
    for method, most in (("smooth", smooth), ("bilateral", bilateral)):
        distance = camera[:2, :2].trace() / 2 - integrate(normal, mask, method=method, intrinsics=camera)
        ratio = np.median(truth[mask] / distance[mask])
        assert np.abs(distance * ratio - truth)[mask].mean() < most


def run(capfd: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Exit status, standard output, standard error of psface."""
    try:
        main([str(a) for a in arguments])
        status = 0
    except SystemExit as end:
        status = int(end.code or 0)
    captured = capfd.readouterr()
    return status, captured.out, captured.err


def picture_of(normal: np.ndarray, depth: type) -> np.ndarray:
    return np.rint((0.5 + 0.5 * normal[..., ::-1]) * np.iinfo(depth).max).astype(depth)


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_the_command(workspace, capfd, depth):
    normal, truth = staircase(4.0)
    cv2.imwrite("n.png", picture_of(normal, depth))
    cv2.imwrite("down.png", picture_of(normal * [1, -1, 1], depth))
    status, out, error = run(
        capfd, "integrate", "n.png", "--method", "bilateral", "--pitch", 0.5, "-o", "d.npy", "--preview", "p.png"
    )
    assert (status, error) == (0, "")
    assert out.startswith("wrote d.npy, p.png (12000 pixels in 1 part, depth over ")
    assert out.endswith(" mm, bilateral, orthographic)\n")
    found = np.load("d.npy")
    assert np.corrcoef(found.ravel(), truth.ravel())[0, 1] > 0.99
    assert cv2.imread("p.png").shape == (100, 120, 3)
    assert run(capfd, "integrate", "down.png", "--y-down", "--pitch", 0.5, "-o", "e.npy")[0] == 0
    assert np.corrcoef(np.load("e.npy").ravel(), truth.ravel())[0, 1] > 0.98


def test_the_command_takes_maps_a_mask_and_a_camera(workspace, capfd):
    normal, truth = staircase(4.0)
    mask = np.zeros((100, 120), bool)
    mask[5:60, 10:90] = True
    write_maps("s.exr", Maps(normal, np.ones((100, 120), np.float32), truth.astype(np.float32), mask))
    np.savetxt("K.txt", CAMERA)
    cv2.imwrite("m.png", np.tile(255 * (np.arange(120) < 50).astype(np.uint8), (100, 1)))
    status, out, _ = run(capfd, "integrate", "s.exr", "--intrinsics", "K.txt", "--distance", 700, "-o", "d.npy")
    assert status == 0
    assert "mm, smooth, perspective" in out
    assert np.array_equal(np.load("d.npy") != 0, mask)
    assert run(capfd, "integrate", "s.exr", "--mask", "m.png", "-o", "d.npy")[0] == 0
    assert not np.load("d.npy")[:, 50:].any()


def test_mistakes_end_in_one_line(workspace, capfd):
    cv2.imwrite("n.png", picture_of(staircase(4.0)[0], np.uint8))
    cv2.imwrite("grey.png", np.zeros((5, 5), np.uint8))
    cv2.imwrite("small.png", np.full((5, 5), 255, np.uint8))
    Path("K.txt").write_text("1 2\n3 4\n")
    Path("empty.txt").write_text("")
    for arguments, words in (
        (("none.png", "-o", "d.npy"), "no such file"),
        (("grey.png", "-o", "d.npy"), "not a normal map"),
        (("n.png", "-o", "d.tiff"), "ends so"),
        (("n.png", "--mask", "small.png", "-o", "d.npy"), "for the mask"),
        (("n.png", "--mask", "grey.png", "-o", "d.npy"), "the mask is empty"),
        (("n.png", "--intrinsics", "K.txt", "-o", "d.npy"), "three lines"),
        (("n.png", "--intrinsics", "empty.txt", "-o", "d.npy"), "three lines"),
        (("n.png", "--intrinsics", "none.txt", "-o", "d.npy"), "none.txt: cannot be read"),
        (("n.png", "--distance", 3, "-o", "d.npy"), "takes a pitch"),
    ):
        status, _, error = run(capfd, "integrate", *arguments)
        assert (status, error.count("\n")) == (2, 1), error
        assert words in error
    assert not Path("d.npy").exists()
