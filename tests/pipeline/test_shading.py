"""Lambert and Blinn-Phong against closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.shading import dot, highlight, lengths, render

Z = np.array([0.0, 0.0, 1.0])


def test_render_is_the_cosine_times_the_albedo() -> None:
    angles = np.deg2rad([0.0, 30.0, 60.0, 90.0])
    normal = np.stack([np.sin(angles), np.zeros(4), np.cos(angles)], axis=1)
    assert render(normal, np.full(4, 0.5), Z) == pytest.approx([0.5, 0.5 * np.sqrt(3) / 2, 0.25, 0.0], abs=1e-12)


def test_attached_shadow_can_be_switched_off() -> None:
    away = np.array([[0.0, 0.0, -1.0]])
    assert render(away, np.ones(1), Z) == 0
    assert render(away, np.ones(1), Z, attached_shadows=False) == -1


def test_strength_is_the_lights_length_and_near_lights_are_per_point() -> None:
    normal = np.tile(Z, (2, 1))
    near = np.array([[0.0, 0.0, 2.0], [0.0, 3.0, 0.0]])
    assert render(normal, np.ones(2), near) == pytest.approx([2.0, 0.0])


def test_highlight_peaks_half_way_and_holds_its_lobe() -> None:
    light = np.array([np.sin(0.6), 0.0, np.cos(0.6)])
    tilt = np.linspace(-0.3, 0.9, 121)
    normal = np.stack([np.sin(tilt), np.zeros_like(tilt), np.cos(tilt)], axis=1)
    lobe = highlight(normal, light, np.tile(Z, (121, 1)), 200.0)
    assert tilt[np.argmax(lobe)] == pytest.approx(0.3, abs=0.011)
    mirror = highlight(np.array([[np.sin(0.3), 0.0, np.cos(0.3)]]), 2 * light, Z[None], 200.0)
    assert mirror == pytest.approx(2 * 208 / 8 * np.cos(0.3))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("order", "CF")
def test_lengths_and_products_are_numpys_to_the_bit(rng: np.random.Generator, dtype: type, order: str) -> None:
    one, other = (np.asarray(rng.normal(size=(1000, 3)), dtype, order) for _ in range(2))
    assert np.array_equal(lengths(one), np.linalg.norm(one, axis=1))
    assert dot(one, other) == pytest.approx(np.einsum("nc,nc->n", one, other), abs=1e-6)
    assert lengths(one).dtype == dot(one, other).dtype == dtype
