"""The file of a rig, `rig.json`: where its flashes are, how strong, which frame each lights, and the camera.

    {"lights": [{"frame": "im0.*", "direction": [-0.4, 0.4, 0.82], "strength": 1.04},
                {"frame": "im1.*", "position": [310, 240, 950]}, ...],
     "ambient": "ambient.*", "camera": {"pitch": 0.62, "distance": 2500}}

Frame: x to the right of the image, y up, z to the camera; directions point from the face TOWARDS the flash, positions
are in mm from where the camera's axis (the middle of the picture, or cx, cy of the intrinsics) meets the face, a point
that stays where it is when the head moves aside. A strength is the light that arrives at that point, relative, so that
a near flash and a far one of the same direction and strength agree there. ``frame`` is a pattern for the file's name
(* and ?); where no light has one, frames in order of their names take the lights in order.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Self

import numpy as np
from pydantic import Field, ValidationError, model_validator

from pipeline.errors import PsfaceError, UserError
from pipeline.faults import explain
from pipeline.lights import MAX_SIZE, MAX_STRENGTH, check_lights
from pipeline.params.base import Section, Transfer
from pipeline.tables import read_text, write_json

RIG = "rig.json"
NEAREST = 50.0  # mm: a flash within a face is a mistake of units
Coordinate = Annotated[float, Field(ge=-MAX_SIZE, le=MAX_SIZE)]
Vector = tuple[Coordinate, Coordinate, Coordinate]
Length = Annotated[float, Field(gt=0, le=MAX_SIZE)]
Pattern = Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[^/\x00-\x1f]+$")]


class Light(Section):
    """A flash: a direction of any length, or a position in mm; ``error`` is the standard error of its strength."""

    frame: Pattern | None = None
    direction: Vector | None = None
    position: Vector | None = None
    strength: Annotated[float, Field(ge=1 / MAX_STRENGTH, le=MAX_STRENGTH)] = 1.0
    error: Annotated[float, Field(ge=0)] | None = None

    @model_validator(mode="after")
    def _somewhere(self) -> Self:
        if (self.direction is None) == (self.position is None):
            raise ValueError("a light has either a direction or a position (mm)")
        length = float(np.linalg.norm(self.vector))
        if length < 1 / MAX_SIZE or (self.position is not None and length < NEAREST):
            raise ValueError(f"a direction must not be zero, a position at least {NEAREST:g} mm from the face (in mm)")
        return self

    @property
    def vector(self) -> np.ndarray:
        """(3,) direction or position."""
        return np.array(self.direction if self.direction is not None else self.position, float)


class Camera(Section):
    """What is known of the camera: ``pitch``, mm that a pixel spans on the face; or ``intrinsics`` fx, fy, cx, cy in
    pixels; ``distance`` to the face in mm; ``transfer``, the tone curve of its files (linear, srgb, or a gamma)."""

    pitch: Length | None = None
    intrinsics: tuple[Length, Length, Coordinate, Coordinate] | None = None
    distance: Length | None = None
    transfer: Transfer | None = None

    @property
    def scale(self) -> float | None:
        """mm that a pixel spans where its axis meets the face, or None where nothing tells."""
        if self.intrinsics is not None and self.distance is not None:
            return 2 * self.distance / (self.intrinsics[0] + self.intrinsics[1])
        return self.pitch

    @property
    def matrix(self) -> np.ndarray | None:
        """(3, 3) camera matrix in pixels, or None for a camera that is taken as orthographic."""
        if self.intrinsics is None:
            return None
        fx, fy, cx, cy = self.intrinsics
        return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])


@dataclass(frozen=True, eq=False)
class RigLights:
    """The lights of given frames: directions (k, 3) unit from the face, strengths (k,), and positions
    (k, 3) in mm, or None where some light has none; and the camera. Order as the frames."""

    directions: np.ndarray
    strengths: np.ndarray
    positions: np.ndarray | None = None
    camera: Camera = field(default_factory=Camera)


class Rig(Section):
    """A rig: three or more lights, the pattern of a frame without flash, the camera, and a word on its origin."""

    name: Annotated[str, Field(max_length=80)] = ""
    lights: Annotated[tuple[Light, ...], Field(min_length=3, max_length=1000)]
    ambient: Pattern = "ambient.*"
    camera: Camera = Camera()
    origin: str = ""

    @model_validator(mode="after")
    def _matched(self) -> Self:
        named = [light.frame for light in self.lights if light.frame is not None]
        if named and len(named) < len(self.lights):
            raise ValueError(f"{len(named)} of {len(self.lights)} lights have a frame; give all or none")
        if len(set(named)) < len(named):
            raise ValueError(f"two lights have the frame {next(name for name in named if named.count(name) > 1)}")
        return self

    def lights_for(
        self, frames: Sequence[str | Path], *, where: str = RIG, error: type[PsfaceError] = UserError
    ) -> RigLights:
        """The light of each frame, by the name of its file, else by the order of names.

        Raises
        ------
        error : a frame fits no light or several, two frames fit one light, or no normals can come from the lights.
        """
        names = [Path(frame).name for frame in frames]
        if self.lights[0].frame is None:
            if len(names) != len(self.lights):
                raise error(
                    f"{where}: {len(self.lights)} lights for {len(names)} frames; "
                    "give each light its `frame`, a pattern for the name"
                )
            ranked = sorted(range(len(names)), key=lambda i: natural_order(names[i]))
            chosen = [self.lights[ranked.index(i)] for i in range(len(names))]
        else:
            at = [self._light_of(name, where, error) for name in names]
            for i, light in enumerate(at):
                if light in at[:i]:
                    raise error(f"{where}: frames {names[at.index(light)]} and {names[i]} are both of light {light}")
            chosen = [self.lights[i] for i in at]
        vectors = np.stack([light.vector for light in chosen])
        near = all(light.position is not None for light in chosen)
        return RigLights(
            check_lights(vectors, where=where, error=error),
            np.array([light.strength for light in chosen]),
            vectors if near else None,
            self.camera,
        )

    def is_ambient(self, frame: str | Path) -> bool:
        """Whether a file is the photograph without flash, by its name."""
        return fnmatchcase(Path(frame).name, self.ambient)

    def _light_of(self, name: str, where: str, error: type[PsfaceError]) -> int:
        fits = [i for i, light in enumerate(self.lights) if fnmatchcase(name, str(light.frame))]
        if len(fits) == 1:
            return fits[0]
        known = ", ".join(str(light.frame) for light in self.lights[:4]) + (", ..." if len(self.lights) > 4 else "")
        if not fits:
            raise error(f"{where}: no light for frame {name}; its lights are for {known}: name them alike")
        raise error(f"{where}: lights {', '.join(map(str, fits))} all fit frame {name}; make their patterns differ")


def read_rig(path: str | Path) -> Rig:
    """Read and check a rig file.

    Raises
    ------
    UserError : it cannot be read or is no rig; one line that names the file and the key.
    """
    try:
        values = json.loads(read_text(path))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; `psface calibrate` writes one") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"{path}: not JSON, in which `psface calibrate` writes a rig ({error}); a table frame,x,y,z is a lights.csv"
        ) from error
    if not isinstance(values, dict):
        raise UserError(f'{path}: not a rig: it must be {{"lights": [...]}}')
    try:
        return Rig.model_validate(values)
    except ValidationError as error:
        raise UserError(f"{path}: {explain(error, values, Rig)}") from error


def write_rig(path: str | Path, rig: Rig) -> Path:
    """Write a rig file; what is not known is left out."""
    return write_json(path, rig.model_dump(mode="json", exclude_none=True, exclude_defaults=True))


def natural_order(name: str) -> tuple[tuple[int, str], ...]:
    """A key that sorts im2 before im10.

    >>> sorted(["im10.png", "im2.png"], key=natural_order)
    ['im2.png', 'im10.png']
    """
    return tuple((int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"([0-9]+)", name))
