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


def test_who_mirrors_frames_must_say_which_flashes_change_places() -> None:
    with pytest.raises(ValueError, match="give each session's"):
        mirror(np.zeros((1, 4, 2, 2)), "frames")


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
