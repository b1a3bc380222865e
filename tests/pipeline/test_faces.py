"""The packed faces and the one preprocessing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import UserError
from pipeline.faces import COLOUR, MODALITIES, PREPROCESSING, Faces, mirror, preprocess


@pytest.fixture
def mask(rng: np.random.Generator) -> np.ndarray:
    return (rng.random((3, 8, 8)) > 0.3).astype(np.uint8)


@pytest.mark.parametrize("modality", ["albedo", "frame", "frames"])
def test_exposure_cancels(modality: str, mask: np.ndarray, rng: np.random.Generator) -> None:
    array = rng.uniform(0.1, 0.9, (3, 8, 8, 4 if modality == "frames" else 1))
    np.testing.assert_allclose(preprocess(array, mask, modality), preprocess(0.37 * array, mask, modality), atol=1e-5)


@pytest.mark.parametrize("modality", MODALITIES)
def test_outside_the_mask_is_zero_and_shapes_turn(modality: str, mask: np.ndarray, rng: np.random.Generator) -> None:
    channels = {"normal": 3, "frames": 4}.get(modality, 1)
    out = preprocess(rng.random((3, 8, 8, channels)).astype(np.float16), mask, modality)
    assert out.shape == (3, channels, 8, 8)
    assert out.dtype == np.float32
    assert np.all(out[np.broadcast_to(mask[:, None] == 0, out.shape)] == 0)


def test_mean_relative_by_hand() -> None:
    array = np.array([[[[0.2], [0.6]], [[9.0], [0.4]]]])
    mask = np.array([[[1, 1], [0, 1]]])
    np.testing.assert_allclose(preprocess(array, mask, "albedo")[0, 0], [[-0.5, 0.5], [0, 0]], atol=1e-6)


def test_mirror_turns_normals_and_is_its_own_inverse(rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    batch = rng.standard_normal((2, 3, 4, 4)).astype(np.float32)
    flipped = mirror(batch, "normal")
    np.testing.assert_array_equal(flipped[:, 0], -batch[:, 0, :, ::-1])
    np.testing.assert_array_equal(flipped[:, 1:], batch[:, 1:, :, ::-1])
    np.testing.assert_array_equal(mirror(flipped, "normal"), batch)
    np.testing.assert_array_equal(mirror(torch.from_numpy(batch), "normal").numpy(), flipped)
    np.testing.assert_array_equal(mirror(batch, "albedo"), batch[..., ::-1])


def test_mirrored_frames_are_the_frames_under_mirrored_flashes() -> None:
    """A mirrored sphere under a rig is the sphere under the mirrored rig, whose flashes keep their order around it."""
    from pipeline.lights import from_angles
    from stages.crop.align import light_order

    y, x = np.mgrid[1:-1:9j, -1:1:9j] * 0.7
    sphere = np.stack([x, y, np.sqrt(1 - x**2 - y**2)], axis=-1)
    lights = from_angles([40, 35, 40, 30, 20], [20, 110, 200, 290, 60])

    def frames(lights: np.ndarray) -> np.ndarray:
        return np.maximum(sphere @ lights[light_order(lights)].T, 0).transpose(2, 0, 1)[None]

    np.testing.assert_allclose(mirror(frames(lights), "frames"), frames(lights * [-1, 1, 1]), atol=1e-12)


def test_each_modality_has_a_named_preprocessing() -> None:
    assert set(PREPROCESSING) == {*MODALITIES, COLOUR}


def test_missing_and_broken_arrays_are_user_errors(workspace: Path) -> None:
    with pytest.raises(UserError, match="run `psface crop`"):
        Faces(".").array("albedo")
    Path("albedo.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(UserError, match="not whole"):
        Faces(".").array("albedo")
    with pytest.raises(UserError, match="no modality"):
        Faces(".").array("infrared")
