"""The pictures of real faces: subjects and flashes of Extended Yale B that a rule picks, not their looks.

python docs/real_pictures.py /path/to/CroppedYale [solvers thresholding integration relight uncalibrated quality masks]

Subjects are the first two that the protocol of held-out relighting scores (benchmarks/relight.py; no constant was
chosen on them), flashes the first four or nine of its training, its two most oblique ones those that are foretold; the
sessions of `quality` are the extremes of the 120 of benchmarks/quality.py. Shape and errors go to docs/img. What is a
photograph, or as good as one (frames, albedo, relit pictures), is free for research but not ours to publish: it goes to
data/pictures, which git ignores.

Source: Extended Yale Face Database B. A. Georghiades, P. Belhumeur, D. Kriegman, IEEE TPAMI 23(6), 2001; K.-C. Lee,
J. Ho, D. Kriegman, IEEE TPAMI 27(5), 2005.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks.quality import DEALT
from benchmarks.relight import HELD, SUBJECTS, TRAIN, name_of
from benchmarks.uncalibrated import angle, found_lights
from docs.pictures import ROOT, check_names, coloured, show
from pipeline.images import read_frame
from pipeline.maps import Maps
from pipeline.maskdesigns import TYPES, draw_design
from pipeline.maskpaint import wear
from pipeline.meshes import cleaned, surface
from pipeline.params import Reconstruct
from pipeline.rig import Camera
from stages.crop.looks import find_faces
from stages.ingest.yaleb import light_of
from stages.reconstruct.integration import integrate
from stages.reconstruct.relight import relit
from stages.reconstruct.session import Photographs, reconstruct
from stages.reconstruct.solvers import least_squares
from stages.reconstruct.trust import Trust, judge

WHO = SUBJECTS[:2]
FLASHES = [name_of(flash) for flash in TRAIN]
OBLIQUE = sorted(map(name_of, HELD), key=lambda flash: light_of(flash)[2])[:2]
OURS, THEIRS = ROOT / "docs" / "img", ROOT / "data" / "pictures"
VIEW = (208, 184)  # px, height and width of a mesh's picture


def given(root: Path, subject: str, flashes: Iterable[str]) -> Photographs:
    """A subject under flashes by their names, to be solved over the whole crop."""
    taken = [read_frame(root / subject / f"{subject}_P00{flash}.pgm") for flash in flashes]
    lights = np.stack([light_of(flash) for flash in flashes])
    return Photographs(np.stack(taken), lights, np.ones(len(taken)), mask=np.ones(taken[0].shape, bool))


def solved(session: Photographs, solver: str, *, residuals: bool = False) -> Maps:
    """The maps by a solver of the product, or normals and albedo alone by `least squares` of the frames as taken."""
    if solver != "least squares":
        return reconstruct(session, Reconstruct.model_validate({"solver": solver}), residuals=residuals)[0]
    shape, k = session.frames.shape[1:], len(session.frames)
    normal, albedo = least_squares(session.frames.reshape(k, -1), session.lights, session.strengths)
    whole = np.ones(shape, bool)
    return Maps(normal.T.reshape(*shape, 3), albedo.reshape(shape), np.zeros(shape, np.float32), whole)


def save(figure: Figure, name: str, folder: Path = OURS) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.jpg"
    figure.savefig(path, dpi=110, pil_kwargs={"quality": 85})
    print(f"wrote {path.relative_to(ROOT)} ({path.stat().st_size // 1000} kB)")


def grid(rows: int, columns: int, height: float) -> tuple[Figure, np.ndarray]:
    figure = Figure(figsize=(10, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False)


def grey(panel: object, image: np.ndarray, title: str) -> None:
    """A linear picture as it is displayed, white at its 99th percentile."""
    top = np.percentile(image, 99)
    show(panel, np.clip(image / top, 0, 1) ** (1 / 2.2), title, cmap="gray", vmin=0, vmax=1)


def solvers(root: Path) -> None:
    """Normals, and apart from them albedo, from four and from nine flashes by three solvers."""
    names = ("least squares", "weighted", "marching")
    shape, shade = grid(2, 6, 4.2), grid(2, 7, 3.6)
    for line, subject in enumerate(WHO):
        for column, k in enumerate((4, 9)):
            session = given(root, subject, FLASHES[:k])
            for at, name in enumerate(names):
                maps = solved(session, name)
                show(shape[1][line, 3 * column + at], coloured(maps.normal, maps.mask), f"{name}, {k} flashes")
                grey(shade[1][line, 1 + 3 * column + at], maps.albedo, f"{name}, {k}")
        grey(shade[1][line, 0], session.frames[0], "one frame")
    save(shape[0], "real-solvers")
    save(shade[0], "albedo", THEIRS)


def thresholding(root: Path) -> None:
    """Normals from all flashes before a face by three solvers, and from nine by marching."""
    figure, panels = grid(2, 5, 4.9)
    for line, subject in zip(panels, WHO, strict=True):
        flashes = sorted(path.stem[-9:] for path in (root / subject).glob(f"{subject}_P00A*.pgm"))
        flashes = [flash for flash in flashes if light_of(flash)[2] > 0.01]  # the others stand beside and behind it
        session = given(root, subject, flashes)
        made = {name: solved(session, name) for name in ("least squares", "weighted", "thresholding")}
        for panel, (name, maps) in zip(line, made.items(), strict=False):
            show(panel, coloured(maps.normal, maps.mask), f"{name}, {len(flashes)} flashes")
        few = solved(given(root, subject, FLASHES[:9]), "marching")
        show(line[3], coloured(few.normal, few.mask), "marching, 9 flashes")
        apart = angle(few.normal, made["thresholding"].normal)
        show(line[4], apart, f"the last two: {apart.mean():.1f}° apart", cmap="magma", vmin=0, vmax=40)
    save(figure, "real-thresholding")


def from_side(maps: Maps, turn: float) -> np.ndarray:
    """(h, w) a mesh of the maps turned by ``turn`` degrees about the vertical, lit from the camera's upper left."""
    import open3d as o3d

    mesh = cleaned(*surface(maps, Camera()))
    mesh.rotate(o3d.geometry.get_rotation_matrix_from_xyz((0, np.deg2rad(turn), 0)), mesh.get_center())
    mesh.translate(-mesh.get_axis_aligned_bounding_box().get_center())
    mesh.compute_triangle_normals()
    scene = o3d.t.geometry.RaycastingScene()
    scene.add_triangles(o3d.t.geometry.TriangleMesh.from_legacy(mesh))
    fine = 2 * np.array(VIEW)  # two rays a px each way
    y, x = np.mgrid[: fine[0], : fine[1]]
    x, y = (x + 0.5 - fine[1] / 2) / 2, (fine[0] / 2 - y - 0.5) / 2
    rays = np.stack([x, y, np.full_like(x, 500), 0 * x, 0 * x, 0 * x - 1], axis=-1).astype(np.float32)
    hit = scene.cast_rays(o3d.core.Tensor(rays))
    light = np.array([-0.5, 0.45, 0.74])
    facing = np.abs(hit["primitive_normals"].numpy() @ light)
    image = np.where(np.isfinite(hit["t_hit"].numpy()), 0.12 + 0.8 * facing, 1)
    return image.reshape(VIEW[0], 2, VIEW[1], 2).mean(axis=(1, 3))


def integration(root: Path) -> None:
    """The depth of nine flashes as a mesh from two sides, smooth and bilateral."""
    figure, panels = grid(2, 4, 5.8)
    for line, subject in zip(panels, WHO, strict=True):
        maps = solved(given(root, subject, FLASHES[:9]), "marching")
        for at, method in enumerate(("smooth", "bilateral")):
            bent = replace(maps, depth=integrate(maps.normal, maps.mask, method=method).astype(np.float32))
            for panel, turn in zip(line[at::2], (40, 75), strict=True):
                show(panel, from_side(bent, turn), f"{method}, turned by {turn}°", cmap="gray", vmin=0, vmax=1)
    save(figure, "real-integration")


def relight(root: Path) -> None:
    """The two most oblique held-out flashes, foretold from four flashes by least squares and by the product."""
    names = {"least squares": "least squares", "marching": "relight"}
    errors, pictures = grid(2, 4, 5.8), grid(2, 6, 4.2)
    for line, subject in enumerate(WHO):
        session, held = given(root, subject, FLASHES[:4]), given(root, subject, OBLIQUE)
        for at, (solver, name) in enumerate(names.items()):
            maps = solved(session, solver, residuals=True)
            for side, (photo, light) in enumerate(zip(held.frames, held.lights, strict=True)):
                bare = (maps.normal * maps.albedo[..., None]) @ light
                made = np.clip(relit(maps, light) if solver == "marching" else bare, 0, 1)
                off = 255 * (made - photo)
                title = f"{OBLIQUE[side]}\n{name}: {20 * np.log10(255 / np.sqrt(np.mean(off**2))):.1f} dB"
                panel = errors[1][line, 2 * side + at]
                show(panel, off, title, cmap="RdBu_r", vmin=-128, vmax=128)
                lit = {"cmap": "gray", "vmin": 0, "vmax": 1}
                show(pictures[1][line, 3 * side], photo ** (1 / 2.2), f"photograph {OBLIQUE[side]}", **lit)
                show(pictures[1][line, 3 * side + 1 + at], made ** (1 / 2.2), title.partition("\n")[2], **lit)
    errors[0].colorbar(
        errors[1][0, 0].images[0], ax=errors[1], label="prediction minus photograph, levels of 255", shrink=0.8
    )
    save(errors[0], "real-relight")
    save(pictures[0], "relight", THEIRS)


def uncalibrated(root: Path) -> None:
    """Normals of the same session under known and under estimated lights, and the angle between them."""
    figure, panels = grid(2, 6, 4.2)
    for line, subject in zip(panels, WHO, strict=True):
        for at, k in enumerate((4, 9)):
            session = given(root, subject, FLASHES[:k])
            known, free = (solved(replace(session, lights=lights), "auto") for lights in (session.lights, None))
            wrong = angle(found_lights(free), session.lights).mean()
            first, second, third = line[3 * at : 3 * at + 3]
            show(first, coloured(known.normal, known.mask), f"lights known, {k}")
            show(second, coloured(free.normal, free.mask), f"estimated: {wrong:.0f}° off")
            apart = angle(known.normal, free.normal)
            show(third, apart, f"{apart.mean():.0f}° between them", cmap="magma", vmin=0, vmax=40)
    save(figure, "real-uncalibrated")


def quality(root: Path) -> None:
    """Of the sessions of benchmarks/quality.py: the least and the largest error foretold, the first of each finding."""
    judged: list[tuple[str, Maps, Trust]] = []
    for subject in sorted(path.name for path in root.glob("yaleB*")):
        for number, hand in enumerate(DEALT, start=1):
            if all((root / subject / f"{subject}_P00A{flash}.pgm").exists() for flash in hand):
                session = given(root, subject, [f"A{flash}" for flash in hand])
                maps = reconstruct(replace(session, mask=None), Reconstruct())[0]
                judged.append((f"{subject[4:]}, hand {number}", maps, judge(maps, session.frames)))
    plain = sorted((one for one in judged if not one[2].findings), key=lambda one: one[2].error)
    found = [next(one for one in judged if finding in one[2].findings) for finding in ("comb", "tilt")]
    figure, panels = grid(2, 4, 5.2)
    for (above, below), (name, maps, trust) in zip(panels.T, (plain[0], plain[-1], *found), strict=True):
        show(above, coloured(maps.normal, maps.mask), f"{name}: {trust.error:.1f}° ({trust.why})")
        show(below, from_side(maps, 75), "its depth from the side", cmap="gray", vmin=0, vmax=1)
    save(figure, "real-quality")


def masks(root: Path) -> None:
    """Normals of four flashes, bare and with a mask of each type painted on the flashes."""
    figure, panels = grid(2, 1 + len(TYPES), 4.4)
    for number, (line, subject) in enumerate(zip(panels, WHO, strict=True)):
        session = given(root, subject, FLASHES[:4])
        points = find_faces([session.frames.mean(axis=0)], border=0.3, min_face=0.2, confidence=0.9)[0].landmarks
        assert points is not None
        bare = solved(session, "auto")
        show(line[0], coloured(bare.normal, bare.mask), "bare")
        for at, (panel, kind) in enumerate(zip(line[1:], TYPES, strict=True)):
            design = draw_design(np.random.default_rng([number, at]), [kind])
            worn = solved(replace(session, frames=wear(design, session.frames, points)), "auto")
            show(panel, coloured(worn.normal, worn.mask), kind)
    save(figure, "real-masks")


PICTURES = {
    "solvers": solvers,
    "thresholding": thresholding,
    "integration": integration,
    "relight": relight,
    "uncalibrated": uncalibrated,
    "quality": quality,
    "masks": masks,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the folder CroppedYale")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(PICTURES)}; all without one")
    options = parser.parse_args()
    check_names(parser, options.names, PICTURES)
    if missing := [subject for subject in WHO if not (options.data / subject).is_dir()]:
        parser.error(f"{options.data}: no folder {', '.join(missing)}; give the folder CroppedYale as published")
    for name in options.names or PICTURES:
        PICTURES[name](options.data)


if __name__ == "__main__":
    main()
