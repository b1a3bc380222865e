"""The detector against the `mtcnn` package's own TensorFlow code, and its parts against plain loops."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import PsfaceError
from stages.crop import boxes as bx
from stages.crop import weights
from stages.crop.detect import read_picture
from stages.crop.detector import Detector, patches
from stages.crop.pyramid import level, planes, strips

DATA = Path(__file__).parents[2] / "data"
REFERENCE = json.loads((DATA / "mtcnn_reference.json").read_text(encoding="utf-8"))
YALE = [name for name in REFERENCE if name.startswith("yale_")]
FILES = [name for name in REFERENCE if name.endswith(".png")]
ARRAYS = [name for name in REFERENCE if name not in (*YALE, *FILES)]
seeds = st.integers(0, 2**32 - 1)


@pytest.fixture(scope="module")
def cases() -> ModuleType:
    """`tests/data/mtcnn_cases.py`, which the reference was made from."""
    spec = importlib.util.spec_from_file_location("mtcnn_cases", DATA / "mtcnn_cases.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector()


@pytest.fixture(scope="module")
def pictures(cases) -> dict[str, np.ndarray]:
    return cases.arrays()


def agree(faces, name) -> None:
    """As many faces, boxes that overlap by 95 %, landmarks within 1.5 px: what was asked for."""
    expected = list(REFERENCE[name]["faces"])
    assert len(faces) == len(expected)
    for face in faces:
        common, area = bx.overlap(face.box[None], np.array([e["box"] for e in expected]), "union")
        shares = (common / area)[0]
        other = expected.pop(int(shares.argmax()))
        assert shares.max() >= 0.95
        assert np.linalg.norm(face.landmarks - other["landmarks"], axis=1).max() <= 1.5
        assert face.confidence == pytest.approx(other["confidence"], abs=0.001)


def test_the_reference_has_all_kinds():
    assert len(REFERENCE) >= 60
    counts = {name: len(entry["faces"]) for name, entry in REFERENCE.items()}
    assert sum(count == 0 for count in counts.values()) >= 10
    assert sum(count > 1 for count in counts.values()) >= 5
    assert sum(counts.values()) > 100


@pytest.mark.parametrize("name", ARRAYS)
def test_finds_what_the_package_finds(name, cases, detector, pictures):
    assert cases.fingerprint(pictures[name]) == REFERENCE[name]["input"], "not the pixels that the package was given"
    agree(detector.detect([pictures[name]])[0], name)


@pytest.mark.parametrize("name", FILES)
def test_finds_in_files_what_the_package_finds(name, cases, detector, tmp_path):
    """Of 16 bits, grey, with an alpha channel: each side reads them in its own way."""
    (tmp_path / name).write_bytes(cases.files()[name])
    agree(detector.detect([read_picture(str(tmp_path / name))])[0], name)


@pytest.mark.data
def test_finds_what_the_package_finds_in_bordered_crops(data_root, cases, detector):
    crops = cases.yale(data_root)
    for name, faces in zip(YALE, detector.detect([crops[n] for n in YALE]), strict=True):
        assert cases.fingerprint(crops[name]) == REFERENCE[name]["input"]
        agree(faces, name)


def test_a_batch_finds_what_single_images_find(detector, pictures):
    """Of mixed sizes and grey among them; the package pads them to one size and finds other faces for it."""
    names = ["face_only", "portrait", "small_128", "grey", "none_flat"]
    images = [pictures[n][..., 0] if n == "grey" else pictures[n] for n in names]
    for name, faces in zip(names, detector.detect(images), strict=True):
        agree(faces, name)


def test_simulated_sessions_in_one_batch(detector, pictures):
    names = [name for name in ARRAYS if name.startswith("sim")]
    for name, faces in zip(names, detector.detect([pictures[n] for n in names]), strict=True):
        agree(faces, name)


def test_grey_is_colour_with_three_equal_channels(detector, pictures):
    image = pictures["grey"]
    one, three = detector.detect([image[..., 0]])[0], detector.detect([image])[0]
    np.testing.assert_allclose(one[0].landmarks, three[0].landmarks, atol=1e-3)


def test_candidates_are_bounded(monkeypatch, detector, pictures):
    monkeypatch.setattr("stages.crop.detector.MAX_PROPOSALS", 5)
    monkeypatch.setattr("stages.crop.detector.MAX_PATCHES", 2)
    agree(detector.detect([pictures["portrait"]])[0], "portrait")


def test_parts_of_a_level_find_what_the_whole_finds(detector, pictures):
    """However large an image is, few rows of it run through the network at once; of small ones several."""
    turned = [planes(pictures[n]) for n in ("portrait", "mirrored", "dark")]
    small = torch.from_numpy(level(turned, 0.12)).movedim(-1, 1)
    whole, scores, offsets = detector.pnet(small, 0.3)
    assert len(whole) > 10
    for pixels in (1, 1000, 2 * 61 * 61, 10**6):
        found = [(part, image, row, detector.pnet(part, 0.3)) for image, row, part in strips(small, pixels)]
        assert all(part[:, 0].numel() <= pixels + 12 * 61 for part, *_ in found)
        where = torch.cat([own + torch.tensor([image, row, 0]) for _, image, row, (own, _, _) in found])
        assert torch.equal(where, whole)
        torch.testing.assert_close(torch.cat([own[1] for *_, own in found]), scores, atol=1e-5, rtol=0)
        torch.testing.assert_close(torch.cat([own[2] for *_, own in found]), offsets, atol=1e-5, rtol=0)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts page faults, which are few with glibc alone")
def test_memory_is_kept_from_picture_to_picture(monkeypatch, detector, pictures):
    """To ask the system for it anew for each layer took half of the time."""
    import resource

    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        detector._detect([pictures["portrait"]])
        faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    assert faults < 1000


OF_NEW_SIZES = """
import psutil, torch
from skimage import data
from stages.crop.detector import Detector
torch.set_num_threads(1)
photograph, detector, memory = data.astronaut(), Detector(), []
for count in range(400):
    detector.detect([photograph[: 130 + count * 37 % 121, 150 : 290 + count * 53 % 137]])
    if count in (99, 399):
        memory.append(psutil.Process().memory_info().rss / 2**20)
print(memory[1] - memory[0])
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="resident memory is counted otherwise elsewhere")
def test_memory_does_not_grow_with_pictures_of_new_sizes():
    """oneDNN keeps what it prepared for 1024 layers of some size, which takes 50 MB and scatters what else is freed."""
    environment = {name: value for name, value in os.environ.items() if name != "ONEDNN_PRIMITIVE_CACHE_CAPACITY"}
    ran = subprocess.run(
        [sys.executable, "-c", OF_NEW_SIZES], env=environment, capture_output=True, text=True, check=True
    )
    assert float(ran.stdout) < 18


def test_threads_are_left_as_they_were(detector):
    threads = torch.get_num_threads()
    detector.detect([np.zeros((40, 40), np.uint8)])
    assert torch.get_num_threads() == threads


def test_tiny_images_hold_no_face(detector):
    assert detector.detect([np.zeros((8, 8), np.uint8), np.zeros((12, 400, 3), np.uint8)]) == [[], []]
    assert detector.detect([]) == []


def test_mistakes_say_what_was_expected(detector):
    with pytest.raises(ValueError, match=r"\(H, W, 3\), got \(4, 4, 2\)"):
        detector.detect([np.zeros((4, 4, 2))])
    with pytest.raises(ValueError, match="12 px"):
        Detector(min_face=8)


@given(seed=seeds, count=st.integers(0, 30), over=st.sampled_from(["union", "smaller"]))
def test_suppression_by_a_plain_loop(seed, count, over):
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 20, (count, 2))
    rows = np.column_stack([rng.integers(0, 3, count), low, low + rng.uniform(2, 15, (count, 2)), rng.random(count)])

    def covered(box, other) -> bool:
        width = min(box[3], other[3]) - max(box[1], other[1])
        height = min(box[4], other[4]) - max(box[2], other[2])
        common = max(width, 0) * max(height, 0)
        areas = [(b[3] - b[1]) * (b[4] - b[2]) for b in (box, other)]
        return common / (sum(areas) - common if over == "union" else min(areas)) > 0.4

    kept = [
        row
        for row in rows
        if not any(other[0] == row[0] and other[5] > row[5] and covered(row, other) for other in rows)
    ]
    kept.sort(key=lambda row: (row[0], -row[5]))
    np.testing.assert_allclose(bx.suppress(rows, 0.4, over), np.array(kept).reshape(-1, 6))


@pytest.mark.parametrize("scale", [0.6, 0.6 * 0.709, 0.13, 1.0])
@pytest.mark.parametrize("channels", [1, 3])
def test_area_averages_by_a_plain_loop(rng, scale, channels):
    images = rng.integers(0, 256, (2, 41, 29, channels)).astype(np.uint8)
    ours = level([planes(image) for image in images], scale)
    height, width = ours.shape[1:3]
    normal = (images - 127.5) / 128
    fine = np.repeat(np.repeat(normal, height, axis=1), width, axis=2)  # each pixel in height x width parts
    expected = fine.reshape(2, height, 41, width, 29, channels).mean(axis=(2, 4))
    assert (height, width) == (int(41 * scale), int(29 * scale))
    np.testing.assert_allclose(ours, expected, atol=1e-5)


def test_planes_take_levels_of_any_type(rng):
    image = rng.integers(0, 256, (9, 12, 3)).astype(np.uint8)
    expected = ((image - 127.5) / 128).transpose(1, 2, 0)
    for kind in (np.uint8, np.float32, np.float64, np.int64):
        np.testing.assert_allclose(planes(image.astype(kind)[:, ::-1]), expected[::-1], atol=1e-6)
    np.testing.assert_array_equal(planes(image[..., 0])[:, 0], planes(image)[:, 0])


def test_patches_by_a_plain_loop(rng):
    """The rule of TensorFlow's crop_and_resize, pixel by pixel, for boxes inside, across and outside the image."""
    stack = rng.normal(size=(2, 1, 11, 14)).astype(np.float32)
    boxes = np.array([[0, 2.0, 3, 8, 9, 1], [1, -4, -2, 9, 11, 1], [1, 30, 30, 40, 40, 1]])
    size, (height, width) = 6, stack.shape[2:]
    expected = np.zeros((3, 1, size, size))
    for n, (image, x1, y1, x2, y2, _) in enumerate(boxes):
        for i in range(size):
            for j in range(size):
                y = (y1 + (y2 - y1) * i / (size - 1)) / height * (height - 1)
                x = (x1 + (x2 - x1) * j / (size - 1)) / width * (width - 1)
                if 0 <= y <= height - 1 and 0 <= x <= width - 1:
                    top, left, dy, dx = int(y), int(x), y - int(y), x - int(x)
                    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
                    plane = stack[int(image), 0]
                    expected[n, 0, i, j] = (1 - dy) * ((1 - dx) * plane[top, left] + dx * plane[top, right]) + dy * (
                        (1 - dx) * plane[bottom, left] + dx * plane[bottom, right]
                    )
    np.testing.assert_allclose(patches(list(torch.from_numpy(stack)), boxes, size).numpy(), expected, atol=1e-5)


def test_squares_hold_their_boxes_about_the_same_centre(rng):
    low = rng.uniform(0, 20, (20, 2))
    boxes = np.column_stack([np.zeros(20), low, low + rng.uniform(1, 9, (20, 2)), np.ones(20)])
    squares = bx.squared(boxes)
    sides = squares[:, 3:5] - squares[:, 1:3]
    np.testing.assert_allclose(sides[:, 0], sides[:, 1])
    np.testing.assert_allclose(squares[:, 1:3] + squares[:, 3:5], boxes[:, 1:3] + boxes[:, 3:5])
    np.testing.assert_allclose(sides[:, 0], (boxes[:, 3:5] - boxes[:, 1:3]).max(axis=1))


def test_unusable_weights_are_named(monkeypatch, tmp_path):
    broken = tmp_path / "pnet.lz4"
    broken.write_bytes(b"not weights")

    class Files:
        files = (type("F", (), {"name": "pnet.lz4", "locate": lambda self: broken})(),)

    monkeypatch.setattr(weights, "distribution", lambda name: Files)
    with pytest.raises(PsfaceError, match=r"pnet\.lz4 cannot be read"):
        weights._read("pnet")
    with pytest.raises(PsfaceError, match=r"holds no rnet\.lz4"):
        weights._read("rnet")
    with pytest.raises(PsfaceError, match="2 arrays, 13 expected"):
        weights._to_torch([np.zeros(1)] * 2, weights.PNet(), "pnet")
