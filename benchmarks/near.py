"""Near flashes on the simulator: the rig's positions against its directions, by the flashes' distance.

    python benchmarks/near.py [--subjects 12] [--size 192] [--distances 500 1000 2000]

Faces are rendered under four flashes 35 degrees off the axis, through a pinhole 2.5 m away; light falls off by the
inverse square from where the flashes stand. "alone": no other effect than that; "all": the simulator's defaults as well
(cast shadows, highlights, ambient light, strobes, motion, noise, recorded lights that are off). Heads sit where the
simulator puts them: beside the camera's axis, and nearer or farther than the rig believes. Errors are means over
subjects of the mean angle to the true normals of the skin that all flashes light.

The last column is positions again, all of them recorded 20 mm too near to the camera.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from pipeline.params import Reconstruct, Simulate
from pipeline.rig import Camera
from stages.reconstruct.session import Photographs, reconstruct
from stages.simulate import skin
from stages.simulate.render import Shot, photograph
from stages.simulate.subject import draw_subject
from stages.simulate.visit import draw_visit

CAMERA = 2500.0  # mm
RIG = {"name": "ring", "lights": [{"zenith": 35, "azimuth": azimuth} for azimuth in (45, 135, 225, 315)]}
FACES = {"spectacles": {"no": 1}, "quality": {"ok": 1}, "occlusion": {"": 1}, "pose": {"1": 1}}
ALONE = {"cast_shadows": False, "specular": 0, "ambient": 0, "strobe_gains": 0, "motion": 0, "noise": 0,
         "quantise": False, "light_error": 0}  # fmt: skip
LIT = 0.02  # of white, in every frame


def shots(subjects: int, size: int, effects: dict[str, object]) -> list[tuple[Shot, Photographs]]:
    """What the rig sees of each subject, and what its owner knows: recorded directions and the camera."""
    values = {"seed": 21, "subjects": subjects, "sessions": 1, "size": size, "rigs": [RIG], "frequencies": FACES}
    params = Simulate.model_validate(values | {"effects": effects | {"distance": CAMERA}})
    taken = []
    for index in range(subjects):
        subject = draw_subject(params, index)
        visit = draw_visit(params, subject, 0)
        shot = photograph(subject, visit, size, params.effects, params.seed)
        focal, middle = CAMERA * size / visit.field, (size - 1) / 2
        camera = Camera(intrinsics=(focal, focal, middle, middle), distance=CAMERA)
        ambient = shot.ambient if params.effects.ambient > 0 else None
        known = Photographs(shot.frames, visit.recorded, np.ones(len(visit.lights)), ambient=ambient, camera=camera)
        taken.append((shot, known))
    return taken


def error(shot: Shot, known: Photographs, positions: np.ndarray | None, settings: Reconstruct) -> float:
    """Mean angle in degrees to the true normals of lit skin."""
    maps, _ = reconstruct(replace(known, positions=positions), settings)
    lit = (shot.frames > LIT).all(axis=0) & (shot.regions == skin.R_SKIN) & shot.truth.mask & maps.mask
    cosines = (maps.normal[lit] * shot.truth.normal[lit]).sum(axis=-1)
    return float(np.rad2deg(np.arccos(np.clip(cosines, -1, 1))).mean())


def errors(subjects: int, size: int, distance: float, effects: dict[str, object]) -> dict[str, float]:
    """Mean errors over subjects with flashes at ``distance`` mm: by directions, positions, positions 20 mm off."""
    settings = Reconstruct(registration=effects.get("motion") != 0)
    sums = dict.fromkeys(("directions", "positions", "20 mm off"), 0.0)
    for shot, known in shots(subjects, size, effects | {"falloff": distance}):
        assert known.lights is not None
        places = {"directions": None, "positions": distance * known.lights}
        places["20 mm off"] = distance * known.lights + [0, 0, 20]
        for name, positions in places.items():
            sums[name] += error(shot, known, positions, settings) / subjects
    return sums


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subjects", type=int, default=12)
    parser.add_argument("--size", type=int, default=192)
    parser.add_argument("--distances", type=float, nargs="+", default=[500, 1000, 2000])
    options = parser.parse_args()
    for name, effects in {"alone": ALONE, "all": {}}.items():
        for distance in options.distances:
            found = errors(options.subjects, options.size, distance, effects)
            print(f"{name:6s} {distance:5.0f} mm ", *(f"{k} {v:5.2f}" for k, v in found.items()), flush=True)


if __name__ == "__main__":
    main()
