"""Which flashes of `frames` change places in a mirror: of rigs whose answer is known, and of rendered heads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from models.embedding import embed
from models.recogniser import Recognition
from pipeline.augment import augment
from pipeline.errors import UserError
from pipeline.faces import Faces, mirror
from pipeline.flashes import light_order, mirror_order
from pipeline.lights import from_angles
from pipeline.madefaces import MixedStore
from pipeline.params import Augment
from pipeline.samples import FaceStore, read_swaps
from pipeline.tables import write_parquet

SIDE = 8
RIGS = {  # zeniths, azimuths: each light's mirror image is one of the lights, to half a degree
    "pairs": (35, [45, 135, 225, 315]),
    "on the axis": (35, [0, 90, 180, 270]),
    "on the axis, recorded": (35, [270.4, 10, 90, 170]),
    "three": ([30, 20, 20], [270, 30, 150]),
    "two rings": ([20, 40, 20, 40], [0, 0, 180, 180]),
    "five": ([40, 35, 40, 35, 20], [20, 110, 160, 70, 270]),
}


def head(lights: np.ndarray, *, mirrored: bool = False) -> np.ndarray:
    """A lopsided head (1, k, SIDE, SIDE), or itself in a mirror, photographed under a rig and ordered as `frames`."""
    y, x = np.mgrid[1 : -1 : SIDE * 1j, -1 : 1 : SIDE * 1j] * 0.6
    normal = np.stack([x + (-0.3 if mirrored else 0.3), y, np.sqrt(1 - x**2 - y**2)], axis=-1)
    return np.maximum(normal @ lights[light_order(lights)].T, 0).transpose(2, 0, 1)[None] + 0.1


def test_frames_are_ordered_by_their_lights() -> None:
    lights = from_angles(np.array([35, 35, 20, 35]), np.array([-90.0, 90, 90.2, -0.3]))
    assert light_order(lights).tolist() == [0, 3, 2, 1]  # from below: 270, 0 (359.7), 90 at 20 from the axis, 90 at 35


@pytest.mark.parametrize("rig", RIGS)
def test_a_head_in_a_mirror_is_the_mirrored_head_under_the_same_rig(rig: str) -> None:
    lights = from_angles(*RIGS[rig])
    swap = mirror_order(lights)
    found = mirror(head(lights), "frames", swap[None])
    np.testing.assert_allclose(found, head(lights, mirrored=True), atol=0.01)
    batch = torch.from_numpy(head(lights)).contiguous(memory_format=torch.channels_last)
    turned = mirror(batch, "frames", torch.from_numpy(swap)[None])
    np.testing.assert_array_equal(turned.numpy(), found)
    assert turned.stride() == batch.flip((1, 3)).stride()  # networks add up in the order of memory


def test_lights_in_pairs_reverse_the_channels_and_one_on_the_axis_stays() -> None:
    assert mirror_order(from_angles(*RIGS["pairs"])).tolist() == [3, 2, 1, 0]
    assert mirror_order(from_angles(*RIGS["on the axis"])).tolist() == [0, 3, 2, 1]  # below, right, above, left
    assert mirror_order(from_angles(*RIGS["three"])).tolist() == [0, 2, 1]


@pytest.mark.parametrize("azimuths", [[20, 110, 200, 290], [0, 20, 40], [0, 120, 240]])
def test_lights_without_mirror_images_reverse_the_channels(azimuths: list[float]) -> None:
    """No swap is right; the simulated rig `upright`, the first, would be 25 degrees off and is 32."""
    assert mirror_order(from_angles(40, azimuths)).tolist() == list(range(len(azimuths)))[::-1]
    assert mirror_order(np.full((4, 3), np.nan)).tolist() == [3, 2, 1, 0]


def test_two_lights_whose_images_are_nearest_to_the_same_one_share_out_by_the_sum() -> None:
    lights = from_angles(40, [0, 178, 200, 90])  # order 0, 90, 178, 200; both on the left have their images at 0
    assert mirror_order(lights).tolist() == [2, 1, 0, 3]


@given(st.integers(1, 7), st.integers(0, 2**32 - 1))
def test_it_is_a_permutation_and_its_own_inverse(count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    swap = mirror_order(from_angles(rng.uniform(5, 60, count), rng.uniform(0, 360, count)))
    assert swap[swap].tolist() == list(range(count))


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    """Sessions a and c on the axis, b in pairs; lights in other orders than the channels."""
    rng = np.random.default_rng(3)
    np.save(tmp_path / "frames.npy", rng.uniform(0.1, 1, (3, SIDE, SIDE, 4)).astype(np.float16))
    np.save(tmp_path / "mask.npy", np.ones((3, SIDE, SIDE), np.uint8))
    write_parquet(tmp_path / "index.parquet", pd.DataFrame({"session": ["a", "b", "c"], "row": [0, 1, 2]}))
    lights = [from_angles(*RIGS[rig]).ravel().tolist() for rig in ("on the axis", "pairs", "on the axis, recorded")]
    write_parquet(
        tmp_path / "sessions.parquet", pd.DataFrame({"id": ["b", "c", "a"], "lights": [lights[i] for i in (1, 2, 0)]})
    )
    return tmp_path


def store_of(folder: Path, names: list[str]) -> FaceStore:
    faces, rows = Faces(folder), Faces(folder).rows_for(names)
    swaps = read_swaps(["frames"], faces=faces, sessions=folder / "sessions.parquet", names=names)
    return FaceStore(faces, ["frames"], rows, swaps=swaps)


def test_each_session_has_its_own_swap_and_made_faces_that_of_their_source(packed: Path) -> None:
    store = store_of(packed, ["a", "b", "c"])
    assert store.swaps is not None
    assert store.swaps.tolist() == [[0, 3, 2, 1], [3, 2, 1, 0], [0, 3, 2, 1]]
    both = MixedStore(store, {"frames": np.zeros((2, 4, SIDE, SIDE), np.float16)}, np.array([1, 0]))
    swap = both.swap(np.array([3, 4, 1]))
    assert swap is not None
    assert swap.tolist() == [[3, 2, 1, 0], [0, 3, 2, 1], [3, 2, 1, 0]]
    assert read_swaps(["normal"], faces=Faces(packed), sessions=packed / "none", names=["a"]) is None


def test_training_and_embedding_mirror_each_session_by_its_own_lights(packed: Path) -> None:
    store = store_of(packed, ["b", "c"])
    faces, swap = store.take(np.arange(2)), store.swap(np.arange(2))
    b, c = faces["frames"].flip(-1)
    expected = torch.stack([b[[3, 2, 1, 0]], c[[0, 3, 2, 1]]])
    still = Augment(mirror=1, rotate=0, zoom=0, shift=0, tilt=0, light=0, patches=0, cut=0)
    varied = augment(faces, still, torch.Generator().manual_seed(0), swap=swap)["frames"]
    torch.testing.assert_close(varied, expected, atol=2e-5, rtol=1e-4)
    seen: list[Tensor] = []

    class Witness(nn.Module):
        def forward(self, inputs: dict[str, Tensor]) -> Recognition:
            seen.append(inputs["frames"])
            return Recognition(torch.ones(len(inputs["frames"]), 2), {})

    embed(Witness(), faces, batch_size=1, mirror=mirror, swap=swap)
    torch.testing.assert_close(torch.cat(seen[1::2]), expected)


def test_sessions_that_are_not_those_of_the_faces_are_one_line(packed: Path) -> None:
    table = pd.read_parquet(packed / "sessions.parquet")
    for changed in (table[table["id"] != "a"], table.assign(lights=[each[:9] for each in table["lights"]])):
        write_parquet(packed / "sessions.parquet", changed)
        with pytest.raises(UserError, match="other lights than those of the 4 frames in"):
            store_of(packed, ["a", "b", "c"])
