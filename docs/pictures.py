"""The pictures of docs/img that show methods: drawn from closed forms and simulated faces, the same on every run; and
the ROC of `make yale`.

python docs/pictures.py [ages integration marching thresholding uncalibrated quality flat masks yale]  # all without one

All pictures again after a change of the solvers or of the model of faces (those of real faces, docs/real_pictures.py;
`yale` needs what `make yale` leaves):

python docs/pictures.py ages integration marching thresholding uncalibrated quality flat masks
python docs/real_pictures.py /path/to/CroppedYale
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks import robust_peers as peers
from benchmarks.flat_attack import maps_of
from benchmarks.integrate import staircase
from benchmarks.many_lights import angles, product, seen, shots
from pipeline.geometry import estimate_similarity, invert, warp_map
from pipeline.maps import Maps
from pipeline.maskdesigns import PATTERNS, TYPES
from pipeline.maskpaint import wear
from pipeline.params import Ages, Reconstruct, Simulate, section
from stages.reconstruct.face.model import face_model, landmarks
from stages.reconstruct.flatness import flatness
from stages.reconstruct.integration import integrate
from stages.reconstruct.session import Photographs, reconstruct
from stages.reconstruct.trust import judge
from stages.reconstruct.view import relief
from stages.simulate.attacks import SPECIES, draw_attack, photograph_attack
from stages.simulate.photoface import five_landmarks
from stages.simulate.render import Shot, photograph
from stages.simulate.skin import R_SKIN
from stages.simulate.subject import draw_subject
from stages.simulate.visit import at_age, draw_masks, draw_visit

ROOT = Path(__file__).resolve().parent.parent
SIZE = 160  # px of the simulated sessions
YEARS, AGEING = (5, 10, 16, 25, 40, 55, 75), (3, 6, 12, 14)  # subjects of the rendered ages
SUBJECT = 40_000  # nobody that a constant was fitted on


def row_of(count: int, height: float = 2.4) -> tuple[Figure, list[Axes]]:
    """A figure with one row of pictures."""
    figure = Figure(figsize=(10, height), layout="constrained")
    return figure, list(figure.subplots(1, count))


def show(axes: Axes, image: np.ndarray, title: str, **options: object) -> None:
    """A picture with a caption and no ticks."""
    axes.imshow(image, **options)
    axes.set_title(title, fontsize=9)
    axes.set_axis_off()


def save(figure: Figure, name: str) -> None:
    path = ROOT / "docs" / "img" / f"{name}.jpg"
    figure.savefig(path, dpi=110, pil_kwargs={"quality": 82})
    print(f"wrote {path.relative_to(ROOT)} ({path.stat().st_size // 1000} kB)")


def coloured(normal: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Normals (H, W, 3) as colours, white outside the mask."""
    return np.where(mask[..., None], 0.5 + 0.5 * normal, 1)


def integration() -> None:
    """Steps of 1 px without risers, by both methods."""
    normal, truth = staircase(1.0)
    mask = np.ones(truth.shape, bool)
    figure, axes = row_of(4)
    depths = {"truth": truth} | {method: integrate(normal, mask, method=method) for method in ("smooth", "bilateral")}
    for panel, (name, depth) in zip(axes, depths.items(), strict=False):
        show(panel, relief(8 * depth.astype(np.float32), mask), f"{name}, heights times 8")
        axes[3].plot((depth - depth.mean())[:, 60], label=name, lw=3 if name == "truth" else 1.2)
    axes[3].set_title("px of height down the middle", fontsize=9)
    axes[3].legend(fontsize=8)
    save(figure, "integration")


def marching() -> None:
    """A face under four flashes: what reaches it, albedo and error of two solvers, and a fifth flash foretold."""
    params, settings = settings_of()
    who = draw_subject(params, SUBJECT)
    visit = draw_visit(params, who, 0)
    shot = photograph(who, visit, SIZE, params.effects, params.seed)
    figure, axes = row_of(6, 2.1)
    show(axes[0], np.clip(shot.frames[0], 0, 1), "one of 4 frames", cmap="gray")
    for solver, panels in {"weighted": axes[1::3], "marching": axes[2::3]}.items():
        maps = maps_of(shot, visit, settings.model_copy(update={"solver": solver}))
        if maps is None:
            raise SystemExit("the session was rejected")
        where = maps.mask & shot.truth.mask
        off = np.full(where.shape, np.nan)
        off[where] = angles(maps.normal[where].T, shot.truth.normal[where].T)
        skin = where & (shot.regions == R_SKIN)
        show(panels[0], maps.albedo, f"albedo, {solver}", cmap="gray", vmin=0, vmax=0.9)
        show(panels[1], off, f"{solver}: {off[skin].mean():.1f}° on skin", cmap="magma", vmin=0, vmax=25)
    assert maps is not None
    assert maps.visibility is not None
    show(axes[3], maps.visibility, "flashes that reach it", cmap="gray", vmin=0, vmax=1)
    save(figure, "marching")


def thresholding() -> None:
    """Where four solvers are wrong under fifty flashes with full highlights."""
    ((shot, lights),) = shots(1, SIZE, 1.0)
    samples, truth = seen(shot)
    solvers = {
        "least squares": peers.least_squares,
        "L1": peers.l1,
        "low rank": peers.low_rank,
        "thresholding": product,
    }
    figure, axes = row_of(5)
    show(axes[0], np.clip(shot.frames[20], 0, 1), "one of 50 frames", cmap="gray")
    for panel, (name, solver) in zip(axes[1:], solvers.items(), strict=True):
        off = angles(solver(samples, lights), truth)
        image = np.full(shot.truth.mask.shape, np.nan)
        image[shot.truth.mask] = off
        show(panel, image, f"{name}: {off.mean():.1f}°", cmap="magma", vmin=0, vmax=15)
    figure.colorbar(axes[-1].images[0], ax=axes, label="degrees", shrink=0.8)
    save(figure, "thresholding")


def uncalibrated() -> None:
    """Two faces under known and under estimated lights, beside the truth and the model's mean face."""
    params, settings = settings_of()
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    panels = figure.subplots(2, 6)
    for row, index in zip(panels, (SUBJECT, SUBJECT + 1), strict=True):
        who = draw_subject(params, index)
        visit = draw_visit(params, who, 0)
        shot = photograph(who, visit, SIZE, params.effects, params.seed)
        truth, known = shot.truth, maps_of(shot, visit, settings)
        if known is None:
            raise SystemExit("the session was rejected")
        for panel, which in zip(row, (0, 2), strict=False):
            show(panel, np.clip(shot.frames[which], 0, 1) ** (1 / 2.2), f"flash {which + 1}", cmap="gray", vmin=0)
        show(row[2], coloured(truth.normal, truth.mask), "true normals")
        for panel, maps, name in ((row[3], known, "known"), (row[4], unknown(shot, settings), "estimated")):
            where = maps.mask & truth.mask
            off = angles(maps.normal[where].T, truth.normal[where].T).mean()
            show(panel, coloured(maps.normal, maps.mask), f"lights {name}: {off:.1f}°")
        points = np.stack(list(five_landmarks(shot.landmarks).values()))
        onto, mean = invert(estimate_similarity(points, landmarks())), face_model()
        laid = warp_map("normal", mean.normal, onto, SIZE, mask=mean.weight > 0.3)
        show(row[5], coloured(laid, np.linalg.norm(laid, axis=-1) > 0.5), "the mean face")
    save(figure, "uncalibrated")


def unknown(shot: Shot, settings: Reconstruct) -> Maps:
    """The maps of a session whose lights nobody wrote down."""
    frames, dark = (np.rint(np.clip(x, 0, 1) * 255).astype(np.float32) / 255 for x in (shot.frames, shot.ambient))
    return reconstruct(Photographs(frames, None, np.ones(len(frames)), dark), settings)[0]


def quality() -> None:
    """Sessions of one subject with a trouble each: normals, the predicted error, the true one of the skin."""
    params, settings = settings_of()
    who = draw_subject(params, SUBJECT)
    figure, axes = row_of(4, 3.1)
    troubles = {
        "as it is": {},
        "half a flash": {},
        "lights are wrong": {"light_error": 9.0},
        "highlights": {"specular": 1.6},
    }
    for panel, (name, effects) in zip(axes, troubles.items(), strict=True):
        own = params.model_copy(update={"effects": params.effects.model_copy(update=effects)})
        visit = draw_visit(own, who, 0)
        shot = photograph(who, visit, SIZE, own.effects, own.seed)
        if name == "half a flash":
            shot.frames[1, 1::2] *= 0.5  # it fired during one field of the frame
        maps = maps_of(shot, visit, settings)
        if maps is None:
            raise SystemExit(f"the session with the trouble `{name}` was rejected")
        skin = (shot.regions == R_SKIN) & shot.truth.mask & maps.mask
        off = angles(maps.normal[skin].T, shot.truth.normal[skin].T).mean()
        frames, dark = (np.clip(x, 0, 1) for x in (shot.frames, shot.ambient))
        trust = judge(maps, np.maximum(frames - dark, 0))
        title = f"{name}: {trust.error:.1f}° ({trust.why})\ntrue error {off:.1f}°"
        show(panel, coloured(maps.normal, maps.mask), title)
    save(figure, "quality")


def flat() -> None:
    """A face and an attack of each species: one frame, the normals, the score."""
    params, settings = settings_of()
    who = draw_subject(params, SUBJECT)
    visit = draw_visit(params, who, 0)
    taken = {"face": (photograph(who, visit, SIZE, params.effects, params.seed), visit)}
    for species in SPECIES:
        attack = draw_attack(params, SUBJECT + 2, 0, species)
        taken[species] = (photograph_attack(attack, params), attack.visit)
    figure = Figure(figsize=(10, 4.4), layout="constrained")
    for column, (name, (shot, its)) in enumerate(taken.items()):
        maps = maps_of(shot, its, settings)
        if maps is None:
            raise SystemExit(f"the session `{name}` was rejected")
        above, below = (figure.add_subplot(2, len(taken), 1 + column + line * len(taken)) for line in (0, 1))
        show(above, np.clip(shot.frames[0], 0, 1) ** (1 / 2.2), name, cmap="gray", vmin=0, vmax=1)
        show(below, coloured(maps.normal, maps.mask), f"planarity {flatness(maps):.2f}")
    save(figure, "flat-attack")


def ages() -> None:
    """Four people from child to old: mean of the frames, the same session but for the age; normals of the last."""
    settings, _ = settings_of()
    settings = settings.model_copy(update={"ages": Ages(), "size": 200})
    figure = Figure(figsize=(10, 7.4), layout="constrained")
    axes = figure.subplots(5, len(YEARS))
    for row, index in enumerate(AGEING):
        subject = draw_subject(settings, index)
        plain = {"actions": {}, "spectacles": "no", "occlusion": "", "quality": "ok", "blur": 0.0, "exposure": 1.0}
        visit = replace(draw_visit(settings, subject, 0), angles=np.array([6.0, 0, 0]), **plain)
        for column, years in enumerate(YEARS):
            shot = photograph(subject, at_age(visit, subject, years), settings.size, settings.effects, settings.seed)
            grey = shot.frames.mean(axis=0)
            bright = np.clip(grey / np.percentile(grey[shot.truth.mask], 97), 0, 1) ** (1 / 2.2)
            show(axes[row, column], bright, f"{years:g} years" if row == 0 else "", cmap="gray", vmin=0, vmax=1)
            if index == AGEING[-1]:
                show(axes[-1, column], coloured(shot.truth.normal, shot.truth.mask), "")
    save(figure, "ages")


def masks() -> None:
    """Masks worn at the simulated rig, and painted on bare frames of others by their five landmarks."""
    settings = settings_of()[0]
    figure = Figure(figsize=(10, 8.2), layout="constrained")
    grid = figure.subplots(4, len(TYPES))
    for column, kind in enumerate(TYPES):
        params = settings.model_copy(update={"masks": 1.0, "mask_designs": (f"{kind}/{PATTERNS[column]}",)})
        who = draw_subject(params, SUBJECT + column)
        visit = draw_visit(params, who, 0)
        (worn,) = draw_masks(params, visit)
        shot = photograph(who, worn, SIZE, params.effects, params.seed)
        assert worn.mask is not None
        show(grid[0, column], np.clip(shot.frames[0], 0, 1) ** (1 / 2.2), worn.mask.name, cmap="gray", vmin=0, vmax=1)
        show(grid[1, column], shot.truth.albedo, "", cmap="gray", vmin=0, vmax=0.9)
        show(grid[2, column], coloured(shot.truth.normal, shot.truth.mask), "")
        other = draw_subject(params, SUBJECT + 10 + column)
        bare = draw_visit(params, other, 1)
        seen = photograph(other, bare, SIZE, params.effects, params.seed)
        five = np.array(list(five_landmarks(seen.landmarks).values()))
        painted = wear(worn.mask, np.clip(seen.frames, 0, 1), five)
        show(grid[3, column], painted[0] ** (1 / 2.2), "painted", cmap="gray", vmin=0, vmax=1)
    save(figure, "masks")


def yale() -> None:
    """The ROC of all runs on Extended Yale B, of what `make yale` left in recipes/yale."""
    figure = Figure(figsize=(6, 4.2), layout="constrained")
    axes = figure.subplots()
    for run in ("frame", "frames", "albedo", "normal", "depth", "albedo-depth", "normal-depth", "normal-albedo", "all"):
        path = ROOT / "recipes" / "yale" / "runs" / run / "evaluate" / "roc.csv"
        if not path.exists():
            raise SystemExit(f"{path.relative_to(ROOT)} is not there: make yale DATA=... first")
        curve = pd.read_csv(path)
        axes.semilogx(
            curve["fmr"].clip(lower=1e-4), curve["tmr"], "--" if "-" in run or run == "all" else "-", label=run
        )
    axes.set(xlim=(1e-4, 1), ylim=(0, 1), xlabel="false match rate", ylabel="true match rate")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    save(figure, "yale-roc")


def settings_of() -> tuple[Simulate, Reconstruct]:
    """The default workspace's rig at the pictures' size, and its reconstruction."""
    params = section(ROOT / "params.yaml", "simulate", Simulate).model_copy(update={"size": SIZE})
    return params, section(ROOT / "params.yaml", "reconstruct", Reconstruct)


PICTURES = {
    "ages": ages,
    "integration": integration,
    "marching": marching,
    "thresholding": thresholding,
    "uncalibrated": uncalibrated,
    "quality": quality,
    "flat": flat,
    "masks": masks,
    "yale": yale,
}


def check_names(parser: argparse.ArgumentParser, names: Collection[str], known: Collection[str]) -> None:
    """End with one line where a picture is asked for that there is not."""
    if unknown := set(names) - set(known):
        parser.error(f"no picture {', '.join(sorted(unknown))}; there are {', '.join(known)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(PICTURES)}")
    names = parser.parse_args().names
    check_names(parser, names, PICTURES)
    for name in names or PICTURES:
        PICTURES[name]()


if __name__ == "__main__":
    main()
