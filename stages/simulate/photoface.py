"""A session's folder in the layout of the Photoface database, with the truth beside it.

im0.bmp ..      8-bit frames, grey or RGB (im0.exr .. when quantisation is off)
ambient.bmp     the scene without a flash
LightSource.m   zenith and azimuth of each flash in degrees, one bracketed Matlab matrix
metadata.txt    eleven landmarks, ``x y`` a line
metadataII.txt  gender, spectacles, facial hair, pose, quality, occlusion, emotion and an extra field, on one line;
                in a data set with masks also which one is worn, as `mask no` or `mask type/pattern`
truth.exr       the true maps of the first frame
regions.png     what each pixel shows, an index into `skin.REGIONS`
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from pipeline.images import write_picture
from pipeline.lights import to_angles
from pipeline.maps import Maps, write_maps
from stages.simulate.fields import LANDMARKS
from stages.simulate.render import Shot
from stages.simulate.visit import Visit


def write_session(folder: Path, visit: Visit, shot: Shot, *, quantise: bool, seed: int) -> None:
    """Write one session; the folder must exist and be the caller's own."""
    for i, frame in enumerate(shot.frames):
        _write_frame(folder / f"im{i}", frame, quantise)
    _write_frame(folder / "ambient", shot.ambient, quantise)
    zenith, azimuth = to_angles(visit.recorded)
    rows = ";\n    ".join(f"{z:.3f} {a:.3f}" for z, a in zip(zenith, azimuth, strict=True))
    _write(
        folder / "LightSource.m",
        f"% rig {visit.rig}\n% zenith and azimuth in degrees, a row a flash\nLightSource = [\n    {rows}];\n",
    )
    _write(folder / "metadata.txt", "".join(f"{x:.2f} {y:.2f}\n" for x, y in shot.landmarks))
    extra = "eyes closed" if visit.eyes_closed else "mouth ajar" if visit.actions.get("jawOpen", 0) > 0.15 else ""
    person = (visit.gender, visit.spectacles, visit.facial_hair)
    picture = (visit.pose, visit.quality, visit.occlusion, visit.expression, extra)
    worn = () if visit.masked is None else ("mask no",) if visit.mask is None else (f"mask {visit.mask.name}",)
    _write(folder / "metadataII.txt", ", ".join(person + picture + worn) + "\n")
    five = {name: [round(float(v), 3) for v in xy] for name, xy in five_landmarks(shot.landmarks).items()}
    attributes = {
        "landmarks": json.dumps(five),
        "rig": visit.rig,
        "age": f"{visit.age:.2f}",
        "seed": str(seed),
        "lights": json.dumps(np.round(visit.lights, 6).tolist()),
        "gains": json.dumps(np.round(visit.gains, 6).tolist()),
        "exposure": f"{visit.exposure:.6f}",
        "yaw_pitch_roll": json.dumps(np.round(visit.angles, 3).tolist()),
        "drift": json.dumps(np.round(visit.drift, 4).tolist()),
    }
    truth = shot.truth
    attributes |= truth.attributes
    write_maps(folder / "truth.exr", Maps(truth.normal, truth.albedo, truth.depth, truth.mask, attributes))
    write_picture(folder / "regions.png", shot.regions)


def five_landmarks(eleven: np.ndarray) -> dict[str, np.ndarray]:
    """The five points (x, y) of MTCNN from Photoface's eleven (11, 2); an eye is half way between its corners."""
    at = dict(zip(LANDMARKS, eleven, strict=True))
    return {
        "left_eye": (at["left_eye_outer"] + at["left_eye_inner"]) / 2,
        "right_eye": (at["right_eye_outer"] + at["right_eye_inner"]) / 2,
        "nose": at["nose_tip"],
        "mouth_left": at["mouth_left"],
        "mouth_right": at["mouth_right"],
    }


def _write_frame(stem: Path, frame: np.ndarray, quantise: bool) -> None:
    if quantise:
        write_picture(f"{stem}.bmp", frame)
        return
    import OpenEXR

    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    planes = {"Y": frame} if frame.ndim == 2 else dict(zip("RGB", np.moveaxis(frame, 2, 0), strict=True))
    channels = {name: np.ascontiguousarray(plane, np.float32) for name, plane in planes.items()}
    OpenEXR.File(header, channels).write(f"{stem}.exr")


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")
