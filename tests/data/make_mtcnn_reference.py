"""Write `mtcnn_reference.json`: what the `mtcnn` package's own TensorFlow code finds in the pictures of `cases()`.

Not part of the tests' environment: it needs TensorFlow. Made with mtcnn 1.0.0 and tensorflow-cpu 2.21, apart::

    python -m venv tf && tf/bin/pip install tensorflow-cpu mtcnn scikit-image opencv-python-headless
    tf/bin/python tests/data/make_mtcnn_reference.py ../shared/data tests/data/mtcnn_reference.json

The tests import `cases()` from here, so that both sides see the same pixels.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import cv2
import numpy as np
from skimage import data


def _resized(image: np.ndarray, side: int) -> np.ndarray:
    return cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)


def _rotated(image: np.ndarray, degrees: float) -> np.ndarray:
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1.0)
    return cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_NEAREST)


def _several(portrait: np.ndarray) -> np.ndarray:
    """Four portraits of different sizes on one canvas of odd height."""
    canvas = np.full((601, 800, 3), 90, np.uint8)
    for side, top, left in ((360, 10, 20), (250, 20, 420), (180, 390, 60), (130, 420, 500)):
        canvas[top : top + side, left : left + side] = _resized(portrait, side)
    return canvas


def _yale(root: Path) -> dict[str, np.ndarray]:
    """The mean of five mild flashes of four subjects in a black border of a quarter of the height."""
    flashes = ("A+000E+00", "A-010E+00", "A+010E+00", "A+000E+20", "A-005E+10")
    pictures = {}
    for subject in ("yaleB01", "yaleB05", "yaleB15", "yaleB22"):
        folder = root / "CroppedYale" / subject
        paths = [folder / f"{subject}_P00{flash}.pgm" for flash in flashes]
        frames = [cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in paths if path.exists()]
        if not frames:
            continue
        mean = np.mean(frames, axis=0).round().astype(np.uint8)
        border = round(0.25 * mean.shape[0])
        pictures[f"yale_{subject}"] = np.dstack([cv2.copyMakeBorder(mean, *[border] * 4, cv2.BORDER_CONSTANT)] * 3)
    return pictures


def cases(data_root: Path) -> dict[str, np.ndarray]:
    """Pictures by name, (H, W, 3) uint8 RGB. Yale's are there only where the data set is."""
    portrait = data.astronaut()
    grey = np.dstack([cv2.cvtColor(portrait, cv2.COLOR_RGB2GRAY)] * 3)
    return {
        "portrait": portrait,
        "grey": grey,
        "mirrored": portrait[:, ::-1].copy(),
        "tilted": _rotated(portrait, 15),
        "dark": (portrait // 4).astype(np.uint8),
        "face_only": portrait[30:230, 130:311].copy(),
        "small": _resized(portrait, 128),
        "tiny": _resized(portrait, 48),
        "several": _several(portrait),
        "none_texture": np.dstack([data.brick()] * 3),
        "none_flat": np.full((90, 120, 3), 128, np.uint8),
        "camera": np.dstack([data.camera()] * 3),
        **_yale(data_root),
    }


def main(data_root: str, out: str) -> None:
    """Run the package on every case and write boxes (x1, y1, x2, y2), confidences and landmarks (x, y)."""
    from mtcnn import MTCNN

    detector = MTCNN()
    reference = {}
    for name, picture in cases(Path(data_root)).items():
        found = detector.detect_faces(picture, box_format="xyxy", output_type="numpy")
        reference[name] = [
            {
                "box": [round(float(v), 3) for v in row[1:5]],
                "confidence": round(float(row[5]), 5),
                "landmarks": [
                    [round(float(x), 3), round(float(y), 3)] for x, y in zip(row[6:11], row[11:16], strict=True)
                ],
            }
            for row in np.atleast_2d(found)
            if row.size
        ]
        print(f"{name}: {len(reference[name])}")
    Path(out).write_text(json.dumps(reference, indent=1) + "\n", encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main(*sys.argv[1:3])
