"""Perspective, steps and scale of integration against closed forms, dense twins and ground truth; its command."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.cli import main
from pipeline.maps import Maps, write_maps
from stages.reconstruct.integration import integrate
from stages.reconstruct.integration.edges import slopes_of
from stages.reconstruct.integration.multigrid import Grid, laplacian
from stages.reconstruct.integration.solving import SCALE, SOLVES, pull

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


def staircase(step: float = 4.0) -> tuple[np.ndarray, np.ndarray]:
    """Treads of 20 rows, step px apart, in a ramp that says how they lie.

    A tread has 10 edges to the next and 40 to the ramp: were most of what surrounds it level, it would be level too.
    """
    rows, columns = np.mgrid[:100, :100]
    truth = np.where(np.abs(columns - 49.5) < 5, rows // 20, (rows - 9.5) / 20) * step
    slope = np.where(np.abs(columns - 49.5) < 5, 0.0, step / 20)
    normal = np.stack([np.zeros_like(slope), slope, np.ones_like(slope)], axis=-1)  # d(depth)/d(row) = n_y / n_z
    return (normal / np.linalg.norm(normal, axis=-1, keepdims=True)).astype(np.float32), truth


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
def test_bilateral_against_a_dense_twin(camera, rng):
    """The same reweighting, each solve by dense least squares over a loop's edges."""
    mask = np.hypot(*np.mgrid[-9:9, -10:10]) < 9
    mask[7:10, 8:11] = False
    normal = rng.normal(0, 0.2, (18, 20, 3)) + np.array([0, 0, 1])
    normal = (normal / np.linalg.norm(normal, axis=-1, keepdims=True)).astype(np.float32)
    edges = slopes_of(normal, mask, floor=0.01, intrinsics=camera)
    design = np.zeros((len(edges.rise), mask.sum()))
    for row, (i, j) in enumerate(zip(edges.start, edges.end, strict=True)):
        design[row, i], design[row, j] = -1, 1
    weight = np.ones(len(edges.rise))
    for _ in range(1 + SOLVES):
        root = np.sqrt(weight)
        heights = np.linalg.lstsq(design * root[:, None], edges.rise * root, rcond=None)[0]
        weight = 1 / (1 + ((edges.rise - design @ heights) / SCALE) ** 2)
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


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"method": "sharp"}, "known: smooth, bilateral"),
        ({"distance": 3.0}, "takes a pitch"),
        ({"intrinsics": CAMERA, "pitch": 2.0}, "distance sets the scale"),
        ({"intrinsics": CAMERA * [[1, 0, 0], [0, -1, 0], [0, 0, 1]]}, "positive focal"),
        ({"intrinsics": CAMERA * 2}, "of the form"),
        ({"pitch": -1.0}, "positive number"),
    ],
)
def test_settings_that_cannot_be(options, words):
    with pytest.raises(ValueError, match=words):
        integrate(np.float32([[[0, 0, 1]] * 4] * 4), np.ones((4, 4), bool), **options)


@pytest.mark.data
@pytest.mark.parametrize(("name", "smooth", "bilateral"), [("cow", 0.25, 0.1), ("cat", 1.2, 0.074), ("bear", 0.7, 0.1)])
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
    normal, truth = staircase()
    cv2.imwrite("n.png", picture_of(normal, depth))
    cv2.imwrite("down.png", picture_of(normal * [1, -1, 1], depth))
    status, out, error = run(
        capfd, "integrate", "n.png", "--method", "bilateral", "--pitch", 0.5, "-o", "d.npy", "--preview", "p.png"
    )
    assert (status, error) == (0, "")
    assert out.startswith("wrote d.npy, p.png (10000 pixels in 1 part, depth over ")
    assert out.endswith(" mm, bilateral, orthographic)\n")
    found = np.load("d.npy")
    assert np.corrcoef(found.ravel(), truth.ravel())[0, 1] > 0.99
    assert cv2.imread("p.png").shape == (100, 100, 3)
    assert run(capfd, "integrate", "down.png", "--y-down", "--pitch", 0.5, "-o", "e.npy")[0] == 0
    assert np.corrcoef(np.load("e.npy").ravel(), truth.ravel())[0, 1] > 0.98


def test_the_command_takes_maps_a_mask_and_a_camera(workspace, capfd):
    normal, truth = staircase()
    mask = np.zeros((100, 100), bool)
    mask[5:60, 10:90] = True
    write_maps("s.exr", Maps(normal, np.ones((100, 100), np.float32), truth.astype(np.float32), mask))
    np.savetxt("K.txt", CAMERA)
    cv2.imwrite("m.png", np.eye(100, dtype=np.uint8)[::-1] * 0 + 255 * (np.arange(100) < 50).astype(np.uint8))
    status, out, _ = run(capfd, "integrate", "s.exr", "--intrinsics", "K.txt", "--distance", 700, "-o", "d.npy")
    assert status == 0
    assert "mm, smooth, perspective" in out
    assert np.array_equal(np.load("d.npy") != 0, mask)
    assert run(capfd, "integrate", "s.exr", "--mask", "m.png", "-o", "d.npy")[0] == 0
    assert not np.load("d.npy")[:, 50:].any()


def test_mistakes_end_in_one_line(workspace, capfd):
    cv2.imwrite("n.png", picture_of(staircase()[0], np.uint8))
    cv2.imwrite("grey.png", np.zeros((5, 5), np.uint8))
    cv2.imwrite("small.png", np.full((5, 5), 255, np.uint8))
    Path("K.txt").write_text("1 2\n3 4\n")
    for arguments, words in (
        (("none.png", "-o", "d.npy"), "no such file"),
        (("grey.png", "-o", "d.npy"), "not a normal map"),
        (("n.png", "-o", "d.tiff"), "ends so"),
        (("n.png", "--mask", "small.png", "-o", "d.npy"), "for the mask"),
        (("n.png", "--mask", "grey.png", "-o", "d.npy"), "the mask is empty"),
        (("n.png", "--intrinsics", "K.txt", "-o", "d.npy"), "three lines"),
        (("n.png", "--distance", 3, "-o", "d.npy"), "takes a pitch"),
    ):
        status, _, error = run(capfd, "integrate", *arguments)
        assert (status, error.count("\n")) == (2, 1), error
        assert words in error
    assert not Path("d.npy").exists()
