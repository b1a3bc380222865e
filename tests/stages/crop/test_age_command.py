"""`psface age` with generators that change nothing or add a constant, so that what comes out is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from models import Recogniser, create_model
from models.generator import generator_arguments, make_generator
from pipeline.ageing import AgeingContract, AgeingRun, save_ageing
from pipeline.cli import main
from pipeline.contract import Contract, Network
from pipeline.faces import PREPROCESSING
from pipeline.maps import read_maps, write_maps
from pipeline.sessions import Session

SIZE = 64
CHANNELS = {"albedo": 1, "normal": 3, "depth": 1, "frame": 1, "colour": 3}
MAPS = ("albedo", "normal", "depth")


def make_run(folder: str, modalities: Sequence[str], added: float = 0.0, groups: Sequence[int] = (0, 1, 2, 3)) -> None:
    """A run whose generator adds a constant to what networks see."""
    channels = {name: CHANNELS[name] for name in modalities}
    kwargs = {"channels": channels, "size": SIZE, "attributes": {"age": 101}, "width": 8, "dimension": 16}
    kwargs |= {"age_groups": 4}
    recogniser = create_model("iresnet18", **kwargs)
    assert isinstance(recogniser, Recogniser)
    generator = make_generator(recogniser, groups=4, filters=4)
    torch.nn.init.zeros_(generator.last.weight)
    assert generator.last.bias is not None
    torch.nn.init.constant_(generator.last.bias, added)
    contract = AgeingContract(
        run="old",
        recogniser=Contract(
            run="seeing",
            modalities=list(modalities),
            size=SIZE,
            channels=channels,
            normalisation={name: PREPROCESSING[name] for name in modalities},
            network=Network(name="iresnet18", kwargs=kwargs),
            attributes={"age": 101},
        ),
        network=Network(name="generator", kwargs=generator_arguments(recogniser, groups=4, filters=4)),
        bounds=[30, 40, 50],
        groups=list(groups),
    )
    save_ageing(Path(folder), AgeingRun(contract, generator.state_dict(), recogniser.state_dict()))


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as end:
        main(["age", *arguments])
    assert end.value.code == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    return said


def test_a_photograph_becomes_a_picture_and_a_strip(photographed: Callable[..., list[Session]]) -> None:
    photographed(1)
    make_run("runs/old/synthesise", ["frame"], added=0.5)
    make_run("runs/same/synthesise", ["frame"])
    image = "data/frames/0/im0.png"
    main(["age", image, "--run", "old", "--to", "65", "-o", "old.png"])
    main(["age", image, "--run", "same", "--to", "51+", "-o", "same.jpg", "-o", "same.png"])
    old, same = (cv2.imread(name).astype(int) for name in ("old.png", "same.png"))
    assert old.shape == same.shape == (SIZE, SIZE, 3)
    middle = slice(SIZE // 3, 2 * SIZE // 3)
    assert (old[middle, middle] > same[middle, middle]).mean() > 0.95  # brighter by half of the mean
    main(["age", image, "--run", "old", "--strip", "-o", "strip.png"])
    strip = cv2.imread("strip.png")
    assert strip.shape[1] == 5 * (SIZE + 2)
    assert Path("same.jpg").exists()


def test_maps_that_do_not_age_come_back(photographed: Callable[..., list[Session]]) -> None:
    """The maps of a plane whose depth rises by half a pixel a pixel, at the aligned face's scale."""
    session = photographed(1)[0]
    make_run("same", MAPS)
    path = f"data/maps/{session.id}.exr"
    main(["age", path, "--run", "same", "--to", "20", "-o", "same.exr"])
    before, after = read_maps(path), read_maps("same.exr")
    assert after.shape == (SIZE, SIZE)
    assert after.attributes == {"age": "0-30"}
    slope = (after.depth[:, 1:] - after.depth[:, :-1])[after.mask[:, 1:] & after.mask[:, :-1]]
    turned = after.normal[after.mask].mean(axis=0)
    assert np.median(slope) == pytest.approx(-turned[0] / turned[2], abs=0.02)
    assert np.linalg.norm(turned - before.normal[before.mask].mean(axis=0)) < 0.1
    albedo = after.albedo[after.mask]
    assert albedo.mean() == pytest.approx(before.albedo[before.mask].mean(), rel=0.3)


def test_what_is_added_arrives_in_its_units(photographed: Callable[..., list[Session]]) -> None:
    """.2 more of what is seen is a fifth of the mean more albedo; of depth a constant is nothing."""
    session = photographed(1)[0]
    path = f"data/maps/{session.id}.exr"
    for name, added in (("same", 0.0), ("more", 0.2)):
        make_run(name, ["albedo", "depth"], added=added)
        main(["age", path, "--run", name, "--to", "20", "-o", f"{name}.exr"])
    same, more = read_maps("same.exr"), read_maps("more.exr")
    inside = same.mask & (same.albedo > 0.05)
    gained = (more.albedo - same.albedo)[inside]
    assert np.median(gained) == pytest.approx(0.2 * same.albedo[same.mask].mean(), rel=0.02)
    assert more.depth[inside] == pytest.approx(same.depth[inside], abs=1e-3)
    assert np.array_equal(more.normal, same.normal)  # which the run does not see


def test_a_session_s_folder_and_its_mesh(photographed: Callable[..., list[Session]]) -> None:
    open3d = pytest.importorskip("open3d")
    session = photographed(1)[0]
    make_run("old", MAPS)
    folder = Path("frames") / session.id
    folder.parent.mkdir(parents=True)
    Path("data/frames/0").rename(folder)
    main(["age", str(folder), "--run", "old", "--to", "65", "-o", "old.exr", "-o", "old.ply", "-o", "old.png"])
    mesh = open3d.io.read_triangle_mesh("old.ply")
    assert len(mesh.vertices) == read_maps("old.exr").mask.sum()
    assert cv2.imread("old.png").shape == (SIZE, 3 * SIZE, 3)


def test_what_cannot_be_aged_is_told_in_a_line(
    photographed: Callable[..., list[Session]], capsys: pytest.CaptureFixture[str]
) -> None:
    session = photographed(2, blank=(1,))[0]
    make_run("old", ["frame"], groups=(0, 3))
    make_run("maps", ["normal"])
    image, maps = "data/frames/0/im0.png", f"data/maps/{session.id}.exr"
    old, end = ["--run", "old", "--to", "65"], ["-o", "x.png"]
    assert "give either --to YEARS|GROUP or --strip" in refused(capsys, image, "--run", "old", *end)
    assert "give either --to YEARS|GROUP or --strip" in refused(capsys, image, *old, "--strip", *end)
    assert "`ancient` is neither years" in refused(capsys, image, "--run", "old", "--to", "ancient", *end)
    assert "it can make 0-30, 51+" in refused(capsys, image, "--run", "old", "--to", "45", *end)
    assert "a strip is a picture" in refused(capsys, image, "--run", "old", "--strip", "-o", "x.exr")
    assert "has no maps" in refused(capsys, image, *old, "-o", "x.ply")
    assert "there are no maps" in refused(capsys, image, "--run", "maps", "--to", "65", *end)
    assert "the run does not see depth" in refused(capsys, maps, "--run", "maps", "--to", "65", "-o", "x.ply")
    assert "give a photograph" in refused(capsys, maps, *old, *end)
    assert "data/frames/1/im0.png: " in refused(capsys, "data/frames/1/im0.png", *old, *end)
    assert "nope.png" in refused(capsys, "nope.png", *old, *end)
    assert "contract.json is missing" in refused(capsys, image, "--run", "nobody", "--to", "65", *end)
    assert not list(Path().glob("x.*"))


def test_maps_that_do_not_cover_the_face_are_named(
    photographed: Callable[..., list[Session]], capsys: pytest.CaptureFixture[str]
) -> None:
    session = photographed(1)[0]
    make_run("maps", ["normal"])
    path = Path(f"data/maps/{session.id}.exr")
    maps = read_maps(path)
    folder = Path("frames") / session.id
    folder.parent.mkdir(parents=True)
    Path("data/frames/0").rename(folder)
    write_maps(path, replace(maps, mask=np.zeros_like(maps.mask)))
    assert f"{folder}: the maps cover 0%" in refused(capsys, str(folder), "--run", "maps", "--to", "65", "-o", "x.png")


@pytest.mark.parametrize("pitch", ["nan", "0", "-1", "inf", "null", "wide"])
def test_a_pitch_that_means_nothing_is_none(photographed: Callable[..., list[Session]], pitch: str) -> None:
    """It ended the mesh after the picture and the maps were written, and stood in the maps."""
    session = photographed(1)[0]
    make_run("maps", ["albedo", "normal", "depth"])
    path = f"data/maps/{session.id}.exr"
    maps = read_maps(path)
    maps.attributes["pitch"] = pitch
    write_maps(path, maps)
    main(["age", path, "--run", "maps", "--to", "65", "-o", "old.exr", "-o", "old.ply"])
    assert "pitch" not in read_maps("old.exr").attributes
    assert Path("old.ply").is_file()


def test_maps_without_a_face_are_named(
    photographed: Callable[..., list[Session]], capsys: pytest.CaptureFixture[str]
) -> None:
    session = photographed(1)[0]
    make_run("maps", ["normal"])
    path = f"data/maps/{session.id}.exr"
    maps = read_maps(path)
    maps.mask[:] = False
    write_maps(path, maps)
    assert f"{path}: the maps cover 0%" in refused(capsys, path, "--run", "maps", "--to", "65", "-o", "x.png")


def test_what_is_read_stays(photographed: Callable[..., list[Session]], capsys: pytest.CaptureFixture[str]) -> None:
    """`-o` with the photograph's own name put the aged face in its place."""
    session = photographed(1)[0]
    make_run("old", ["frame"])
    make_run("maps", ["albedo", "normal", "depth"])
    image, maps = Path("data/frames/0/im0.png"), Path(f"data/maps/{session.id}.exr")
    before, end = (image.read_bytes(), maps.read_bytes()), ["--to", "65", "-o"]
    for given, out in ((image, "./data/frames/../frames/0/im0.png"), (image.parent, str(image))):
        assert "give another name" in refused(capsys, str(given), "--run", "old", *end, out)
    folder = Path(session.id.split("/")[0]) / session.id.split("/")[1]
    folder.mkdir(parents=True)
    for given in (maps, folder):
        assert "give another name" in refused(capsys, str(given), "--run", "maps", *end, str(maps))
    Path("folder.png").mkdir()
    assert "folder.png is a folder" in refused(capsys, str(image), "--run", "old", *end, "x.png", "-o", "folder.png")
    assert (image.read_bytes(), maps.read_bytes()) == before
    assert not Path("x.png").exists()


def test_a_damaged_run_is_told_in_a_line(
    photographed: Callable[..., list[Session]], capsys: pytest.CaptureFixture[str]
) -> None:
    photographed(1)
    make_run("old", ["frame"])
    ask = ["data/frames/0/im0.png", "--run", "old", "--to", "65", "-o", "x.png"]
    contract = Path("old/contract.json").read_text()
    for before, after, message in (
        ('"age_groups": 4', '"age_groups": 5', "do not fit"),
        ('"filters": 4', '"filters": 8', "do not fit"),
        ('"version": 1', '"version": 2', "is not a contract of `psface synthesise`"),
        ('"run": "old"', '"run": ["old"]', "is not a contract of `psface synthesise`"),
    ):
        assert before in contract
        Path("old/contract.json").write_text(contract.replace(before, after, 1))
        assert message in refused(capsys, *ask)
    Path("old/contract.json").write_text(contract)
    Path("old/weights.safetensors").write_bytes(b"nothing")
    assert "weights.safetensors cannot be read" in refused(capsys, *ask)
