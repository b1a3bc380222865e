"""Fifty flashes: thresholding beside least squares, L1, sparse Bayesian learning and low rank.

    python benchmarks/many_lights.py [--subjects 4] [--size 192] [--repeat 3]

Faces are rendered by the simulator under fifty distant flashes up to 65 degrees off the axis, with attached and cast
shadows and highlights, without noise and motion; two sets, the default highlights and full ones. Errors are means over
subjects of the mean angle to the true normals over the face; the product's constants were chosen on other subjects
(seed 11). Seconds are CPU seconds of one thread for all subjects, each solver in turn, the least of several rounds.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks import robust_peers as peers
from pipeline.params import Simulate
from stages.reconstruct.solvers import solve
from stages.simulate.render import Shot, photograph
from stages.simulate.subject import draw_subject
from stages.simulate.visit import draw_visit

LIGHTS = 50
WIDEST = 65.0  # degrees off the axis
STILL = {"motion": 0, "noise": 0, "quantise": False, "light_error": 0, "ambient": 0, "strobe_gains": 0, "distance": 0}
PLAIN = {"spectacles": {"no": 1}, "quality": {"ok": 1}, "occlusion": {"": 1}, "pose": {"1": 1}}


def rig() -> dict[str, object]:
    """Fifty directions spread evenly over a cap, by the golden angle."""
    steps = (np.arange(LIGHTS) + 0.5) / LIGHTS
    zenith = np.rad2deg(np.arccos(1 - steps * (1 - np.cos(np.deg2rad(WIDEST)))))
    azimuth = (np.arange(LIGHTS) * 180 * (3 - np.sqrt(5)) + 180) % 360 - 180
    return {"name": "dome", "lights": [{"zenith": z, "azimuth": a} for z, a in zip(zenith, azimuth, strict=True)]}


def shots(subjects: int, size: int, specular: float) -> list[tuple[Shot, np.ndarray]]:
    """What the rig sees of each subject, and its lights (k, 3)."""
    values = {"seed": 12, "subjects": subjects, "sessions": 1, "size": size, "rigs": [rig()], "frequencies": PLAIN}
    params = Simulate.model_validate(values | {"effects": STILL | {"specular": specular}})
    taken = []
    for index in range(subjects):
        subject = draw_subject(params, index)
        visit = draw_visit(params, subject, 0)
        taken.append((photograph(subject, visit, size, params.effects, params.seed), visit.lights))
    return taken


def seen(shot: Shot) -> tuple[np.ndarray, np.ndarray]:
    """Samples (k, P) and true normals (3, P) of the face."""
    mask = shot.truth.mask
    return np.ascontiguousarray(np.stack(shot.frames)[:, mask], np.float32), shot.truth.normal[mask].T


def product(samples: np.ndarray, lights: np.ndarray) -> np.ndarray:
    """What psface takes for so many lights."""
    scaled: np.ndarray = solve(samples, lights, np.ones(len(lights)), method="thresholding").scaled
    return scaled


def angles(scaled: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Degrees (P,) between scaled normals (3, P) and unit normals (3, P)."""
    length = np.maximum(np.linalg.norm(scaled, axis=0), 1e-9)
    degrees: np.ndarray = np.rad2deg(np.arccos(np.clip((scaled / length * truth).sum(axis=0), -1, 1)))
    return degrees


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subjects", type=int, default=4)
    parser.add_argument("--size", type=int, default=192)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    solvers: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
        "thresholding": product,
        "least squares": peers.least_squares,
        "L1": peers.l1,
        "sparse Bayesian": peers.sparse_bayesian,
        "low rank": peers.low_rank,
    }
    threadpool_limits(1)
    for specular in (0.4, 1.0):
        sets = [(*seen(shot), lights) for shot, lights in shots(options.subjects, options.size, specular)]
        print(f"highlights {specular:g}: {sum(s.shape[1] for s, _, _ in sets)} pixels, {LIGHTS} lights", flush=True)
        taken: dict[str, list[float]] = {name: [] for name in solvers}
        errors: dict[str, float] = {}
        for _ in range(options.repeat):
            for name, solver in solvers.items():
                start = time.process_time()
                solved = [solver(samples, lights) for samples, _, lights in sets]
                taken[name].append(time.process_time() - start)
                errors[name] = float(np.mean([angles(b, t).mean() for b, (_, t, _) in zip(solved, sets, strict=True)]))
        ours = min(taken["thresholding"])
        for name, seconds in taken.items():
            print(f"  {name:22s} {errors[name]:6.2f} degrees  {min(seconds):8.3f} s  {min(seconds) / ours:6.1f} x")


if __name__ == "__main__":
    main()
