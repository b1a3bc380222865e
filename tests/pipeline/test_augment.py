"""Augmentation against shapes whose turned, tilted or zoomed form is known in closed form."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from pipeline.augment import EYES, Draw, _warp, apply, augment, draw
from pipeline.faces import DEPTH_GAIN, MODALITIES, mirror, preprocess
from pipeline.params import Augment

SIDE = 64
CHANNELS = {"albedo": 1, "normal": 3, "depth": 1, "frame": 1, "frames": 4}
REVERSED = torch.tensor([[3, 2, 1, 0]] * 3)
STILL = Augment(mirror=0, rotate=0, zoom=0, shift=0, tilt=0, light=0, patches=0, cut=0)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def still(count: int = 1, **changes: Tensor) -> Draw:
    drawn = draw(count, STILL, generator())
    for name, value in changes.items():
        setattr(drawn, name, value)
    return drawn


def grid() -> tuple[np.ndarray, np.ndarray]:
    """x to the right and y up, from the middle, in shares of the side."""
    rows, columns = np.mgrid[0:SIDE, 0:SIDE]
    return (columns + 0.5) / SIDE - 0.5, 0.5 - (rows + 0.5) / SIDE


def surface(a: float, b: float, c: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Depth z = a x^2 + b x y + c y^2 on a disc, its unit normals, and the disc."""
    x, y = grid()
    normal = np.stack([-(2 * a * x + b * y), -(b * x + 2 * c * y), np.ones_like(x)], axis=-1)
    return a * x**2 + b * x * y + c * y**2, normal / np.linalg.norm(normal, axis=-1, keepdims=True), x**2 + y**2 < 0.16


def faces(a: float = -1.0, b: float = 0.7, c: float = -0.5) -> dict[str, Tensor]:
    depth, normal, disc = surface(a, b, c)
    depth = (depth - depth[disc].mean()) / EYES
    mask = disc[None].astype(np.uint8)
    packed = {"normal": normal[None], "depth": depth[None, ..., None]}
    return {name: torch.from_numpy(preprocess(array, mask, name)) for name, array in packed.items()}


def middle(x: Tensor) -> Tensor:
    return x[..., 16:48, 16:48]  # well inside the disc


@pytest.mark.parametrize("modality", MODALITIES)
def test_no_change_is_no_change(modality: str) -> None:
    x = torch.rand((2, CHANNELS[modality], SIDE, SIDE), generator=generator())
    mask = np.ones((2, SIDE, SIDE), dtype=np.uint8)
    array = x.permute(0, 2, 3, 1).numpy()
    if modality == "normal":
        array = array / np.linalg.norm(array, axis=-1, keepdims=True)
    elif modality == "depth":
        array = array - array.mean(axis=(1, 2, 3), keepdims=True)
    batch = torch.from_numpy(preprocess(array, mask, modality))
    torch.testing.assert_close(apply(still(2, swap=REVERSED[:2]), batch, modality), batch, atol=2e-5, rtol=1e-4)


def test_mirror_is_the_one_of_faces() -> None:
    flag = torch.tensor([True])
    for name, x in faces().items():
        torch.testing.assert_close(apply(still(mirrored=flag), x, name), mirror(x, name), atol=2e-5, rtol=1e-4)


def test_as_many_are_mirrored_as_is_asked() -> None:
    """Regression: the thesis's faces were never mirrored (its twelfth defect); the default mirrors every other one."""
    for share in (0.0, 0.25, Augment().mirror, 1.0):
        how = Augment(**{**STILL.model_dump(), "mirror": share})
        assert float(draw(4000, how, generator()).mirrored.float().mean()) == pytest.approx(share, abs=0.03)
    assert Augment().mirror == 0.5
    always = Augment(**{**STILL.model_dump(), "mirror": 1.0})
    for name, x in augment(faces(), always, generator()).items():
        torch.testing.assert_close(x, mirror(faces()[name], name), atol=2e-5, rtol=1e-4)


def test_rotation_turns_normals_and_depth_as_the_surface_turned() -> None:
    """A quadratic surface turned by an angle is another quadratic surface: R Q R^T."""
    angle = np.deg2rad(20.0)
    a, b, c = -1.0, 0.7, -0.5
    r = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    turned = r @ np.array([[a, b / 2], [b / 2, c]]) @ r.T
    expected = faces(turned[0, 0], 2 * turned[0, 1], turned[1, 1])
    drawn = still(angle=torch.tensor([angle], dtype=torch.float32))
    for name, x in faces(a, b, c).items():
        torch.testing.assert_close(middle(apply(drawn, x, name)), middle(expected[name]), atol=4e-3, rtol=0)


def test_zoom_scales_depth_and_keeps_normals() -> None:
    """A surface zoomed by s in all three directions: z(x / s) s, whose coefficients are divided by s."""
    zoom = 1.2
    expected = faces(-1 / zoom, 0.7 / zoom, -0.5 / zoom)
    drawn = still(zoom=torch.tensor([zoom]))
    got = {name: apply(drawn, x, name) for name, x in faces().items()}
    torch.testing.assert_close(middle(got["normal"]), middle(expected["normal"]), atol=4e-3, rtol=0)
    for depth in (got["depth"], expected["depth"]):
        depth -= middle(depth).mean()  # the zoomed disc is larger, and its mean another
    torch.testing.assert_close(middle(got["depth"]), middle(expected["depth"]), atol=6e-3, rtol=0)


def test_tilt_adds_a_plane_to_depth_and_shears_normals_alike() -> None:
    slopes = torch.tensor([[0.1, -0.2]])
    depth, _, disc = surface(-1, 0.7, -0.5)
    x, y = grid()
    tilted = depth + 0.1 * x - 0.2 * y
    tilted = DEPTH_GAIN * (tilted - tilted[disc].mean()) / EYES * disc
    got = {name: apply(still(slopes=slopes), face, name) for name, face in faces().items()}
    np.testing.assert_allclose(got["depth"][0, 0].numpy(), tilted, atol=1e-4)
    slope = np.stack([-(-2 * x + 0.7 * y + 0.1), -(0.7 * x - y - 0.2), np.ones_like(x)])
    slope = slope / np.linalg.norm(slope, axis=0) * disc
    np.testing.assert_allclose(got["normal"][0].numpy(), slope, atol=1e-4)


def test_shift_moves_right_and_down() -> None:
    x = torch.zeros(1, 3, SIDE, SIDE)
    x[0, 2, 20:22, 30:32] = 1.0
    moved = apply(still(shift=torch.tensor([[8 / SIDE, 4 / SIDE]])), x, "normal")
    torch.testing.assert_close(moved, torch.roll(x, (4, 8), dims=(2, 3)), atol=1e-4, rtol=0)


def test_gain_makes_the_albedo_brighter_as_a_whole_and_leaves_shapes_alone() -> None:
    brightness = torch.tensor([1.25])
    x = torch.tensor([-0.2, 0.2]).repeat(1, 1, SIDE, SIDE // 2)  # brightness 0.8 and 1.2
    torch.testing.assert_close(apply(still(brightness=brightness), x, "albedo"), 1.25 * (x + 1) - 1)
    for name, face in faces().items():
        torch.testing.assert_close(apply(still(brightness=brightness), face, name), apply(still(), face, name))
    drawn = draw(500, Augment(gain=0.2), generator()).brightness
    assert 0.8 < float(drawn.min()) < 0.85 < 1.2 < float(drawn.max()) < 1.23
    assert torch.equal(draw(2, Augment(), generator()).noise, draw(2, Augment(gain=0.0), generator()).noise)


def test_normals_that_do_not_turn_move_as_pixels_do() -> None:
    """For comparison alone: each component of the normals is a picture of its own, mirrored and rotated."""
    angle = torch.deg2rad(torch.tensor([20.0]))
    x = faces()["normal"]
    for changes in ({"mirrored": torch.tensor([True])}, {"angle": angle}):
        turned, plain = (apply(still(turn=turn, **changes), x, "normal") for turn in (True, False))
        grey = torch.cat([apply(still(**changes), x[:, i : i + 1], "depth") for i in range(3)], dim=1)
        grey = grey + (middle(plain) - middle(grey)).mean(dim=(2, 3), keepdim=True)  # of depth the mean is taken off
        torch.testing.assert_close(middle(plain), middle(grey), atol=2e-2, rtol=0)
        assert float((middle(turned) - middle(plain)).abs().max()) > 0.1
    depth = faces()["depth"]
    mirrored = {"mirrored": torch.tensor([True])}
    plain, turned = (apply(still(turn=turn, **mirrored), depth, "depth") for turn in (False, True))
    assert torch.equal(plain, turned)


@given(st.integers(0, 1000))
def test_all_kept_promises(seed: int) -> None:
    """Whatever is drawn: unit normals, relative brightness in its range, 0 outside."""
    how = Augment(rotate=20, zoom=0.2, shift=0.1, tilt=10, light=0.3, patches=1, cut=0.5)
    rng = np.random.default_rng(seed)
    _, normal, disc = surface(-1, 0.5, -1)
    mask = np.repeat(disc[None].astype(np.uint8), 3, axis=0)
    raw = {
        "normal": np.repeat(normal[None], 3, axis=0),
        "frames": rng.uniform(0.4, 0.6, (3, SIDE, SIDE, 4)),
        "depth": rng.normal(size=(3, SIDE, SIDE, 1)),
    }
    seen = {k: torch.from_numpy(preprocess(v, mask, k)) for k, v in raw.items()}
    got = augment(seen, how, generator(seed), swap=REVERSED)
    length = got["normal"].norm(dim=1)
    assert float(length.max()) < 1 + 1e-5
    assert bool(((length - 1).abs().lt(1e-4) | length.eq(0)).all())
    assert all(bool(torch.isfinite(x).all()) for x in got.values())
    assert -1 <= float(got["frames"].min()) <= float(got["frames"].max()) <= 3
    assert bool((got["normal"][..., 0, 0] == 0).all())


def test_a_session_is_varied_once() -> None:
    """The same draw for each modality: where one is cut out, the other is too."""
    how = Augment(cut=1.0, patches=0)
    pair = augment({"albedo": torch.ones(4, 1, SIDE, SIDE), "frame": torch.ones(4, 1, SIDE, SIDE)}, how, generator(3))
    torch.testing.assert_close(pair["albedo"], pair["frame"])


def test_seeded_and_sized() -> None:
    one, two = (augment(faces(), Augment(), generator(5)) for _ in range(2))
    assert all(torch.equal(one[name], two[name]) for name in one)
    with pytest.raises(ValueError, match="expected 1 faces"):
        apply(still(), torch.zeros(2, 1, SIDE, SIDE), "albedo")


def test_faces_are_moved_as_torchs_own_grid_moves_them() -> None:
    drawn = draw(6, Augment(), generator(4))
    x = torch.randn(6, 3, SIDE, SIDE, generator=generator(5), dtype=torch.float64)
    x[:, :, :9] = 0
    seen = torch.cat([x, (x != 0).any(dim=1, keepdim=True)], dim=1)
    cos, sin = torch.cos(drawn.angle) / drawn.zoom, torch.sin(drawn.angle) / drawn.zoom
    turned = torch.stack([cos, -sin, sin, cos], dim=1).reshape(-1, 2, 2).double()
    theta = torch.cat([turned, -turned @ (2 * drawn.shift[:, :, None]).double()], dim=2)
    own = F.affine_grid(theta, list(seen.shape), align_corners=False)
    moved = F.grid_sample(seen, own, align_corners=False)
    found, inside = _warp(x, drawn)
    torch.testing.assert_close(found, moved[:, :-1] / moved[:, -1:].clamp(min=0.5), rtol=0, atol=1e-4)
    assert torch.equal(inside, moved[:, -1:] > 0.5)


@pytest.mark.parametrize("device", ["cpu", *(["cuda"] if torch.cuda.is_available() else [])])
@pytest.mark.parametrize("modality", MODALITIES)
def test_the_device_changes_nothing_but_rounding(modality: str, device: str) -> None:
    x = torch.rand((8, CHANNELS[modality], SIDE, SIDE), generator=generator())
    how = Augment(patches=1, cut=0.5)
    swap = REVERSED[:1].expand(len(x), -1)
    here = augment({modality: x}, how, generator(3), swap=swap)[modality]
    there = augment({modality: x}, how, generator(3), device, swap=swap)[modality]
    assert there.device.type == device
    torch.testing.assert_close(there.cpu(), here, atol=1e-4, rtol=1e-4)
