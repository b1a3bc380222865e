"""Makes the model of faces that marching and uncalibrated sessions rest on: stages/reconstruct/face/model.npz.

    python benchmarks/face_model.py [--subjects 400] [--first 20000] [--jobs 2]

One session of each of so many simulated subjects, as params.yaml draws them (the pipeline's own subjects begin at 0,
those of benchmarks/difficulty.py at 1000, none is shared), its true normals and albedo aligned by the true landmarks,
each with its mirror image: the model is symmetric. Prints how far faces are from the mean and from the model's span.
"""

from __future__ import annotations

import argparse
import io
from functools import partial
from pathlib import Path

import numpy as np

from pipeline.geometry import estimate_similarity, mirror_map, warp_map
from pipeline.parallel import map_sessions
from pipeline.params import Simulate, section
from pipeline.tables import write_atomic
from stages.reconstruct.face.model import COVERED, FILE, SIDE, landmarks
from stages.simulate.photoface import five_landmarks
from stages.simulate.render import photograph
from stages.simulate.skin import REGIONS
from stages.simulate.subject import draw_subject
from stages.simulate.visit import draw_visit

POSES = ("1", "2", "3")  # what ingest keeps by default
SKIN = tuple(REGIONS.index(name) for name in ("skin", "eye", "mouth"))


def face(params: Simulate, size: int, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Aligned normals, albedo and skin of a subject's first session; none where ingest would leave it out."""
    subject = draw_subject(params, number)
    visit = draw_visit(params, subject, 0)
    if visit.pose not in POSES or visit.occlusion:
        return None
    shot = photograph(subject, visit, size, params.effects, params.seed)
    matrix = estimate_similarity(np.stack(list(five_landmarks(shot.landmarks).values())), landmarks())
    skin = shot.truth.mask & np.isin(shot.regions, SKIN)
    normal = warp_map("normal", shot.truth.normal, matrix, SIDE, mask=skin)
    albedo = warp_map("albedo", shot.truth.albedo, matrix, SIDE, mask=skin)
    inside = warp_map("mask", skin, matrix, SIDE)
    return normal, albedo / np.median(albedo[inside]), inside


def model(faces: list[tuple[np.ndarray, np.ndarray, np.ndarray]], count: int) -> dict[str, np.ndarray]:
    """Arrays of the file: means over the faces that show skin at a pixel, principal components of the normals."""
    normal = np.stack([n for n, _, _ in faces] + [mirror_map("normal", n) for n, _, _ in faces]).astype(float)
    albedo = np.stack([a for _, a, _ in faces] + [a[:, ::-1] for _, a, _ in faces]).astype(float)
    inside = np.stack([m for _, _, m in faces] + [m[:, ::-1] for _, _, m in faces])
    seen = np.maximum(inside.sum(axis=0), 1)
    mean = (normal * inside[..., None]).sum(axis=0) / seen[..., None]
    tone = np.exp((np.log(np.maximum(albedo, 0.05)) * inside).sum(axis=0) / seen) * (inside.sum(axis=0) > 0)
    where = inside.mean(axis=0) > COVERED
    deviation = np.where(inside[..., None], normal - mean, 0)[:, where].reshape(len(normal), -1)
    _, values, components = np.linalg.svd(deviation, full_matrices=False)
    spread = values[:count] / np.sqrt(len(normal))
    left = np.sqrt((values[count:] ** 2).sum() / len(normal) / where.sum())
    whole = np.sqrt((values**2).sum() / len(normal) / where.sum())
    print(
        f"{len(faces)} faces, {where.sum()} pixels: {np.rad2deg(whole):.1f} degrees from the mean, "
        f"{np.rad2deg(left):.1f} from the span of {count} components (root mean square)"
    )
    scaled = (components[:count] * spread[:, None]).reshape(count, -1, 3).transpose(1, 2, 0)
    arrays = {"normal": mean, "albedo": tone, "weight": inside.mean(axis=0), "components": scaled}
    return {name: values.astype(np.float16) for name, values in arrays.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--params", default="params.yaml")
    parser.add_argument("--subjects", type=int, default=400)
    parser.add_argument("--first", type=int, default=20000)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--components", type=int, default=20)
    parser.add_argument("--jobs", type=int, default=-1)
    parser.add_argument("-o", "--out", type=Path, default=FILE)
    options = parser.parse_args()
    params = section(options.params, "simulate", Simulate)
    numbers = range(options.first, options.first + options.subjects)
    found = map_sessions(partial(face, params, options.size), numbers, jobs=options.jobs, label="face model")
    stored = io.BytesIO()
    np.savez_compressed(stored, **model([x for x in found if isinstance(x, tuple)], options.components))
    write_atomic(options.out, lambda beside: beside.write_bytes(stored.getvalue()))
    print(f"wrote {options.out}: {len(stored.getvalue()) / 1000:.0f} kB")


if __name__ == "__main__":
    main()
