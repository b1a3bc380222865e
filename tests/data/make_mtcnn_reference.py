"""Write `mtcnn_reference.json`: what the `mtcnn` package's own TensorFlow code finds in `mtcnn_cases.py`'s pictures.

Not part of the tests' environment: it needs TensorFlow. Made with mtcnn 1.0.0 and tensorflow-cpu 2.21, apart::

    python -m venv tf && tf/bin/pip install tensorflow-cpu mtcnn scikit-image opencv-python-headless
    tf/bin/python tests/data/make_mtcnn_reference.py DATA tests/data/mtcnn_reference.json

Arrays are given to the package as they are, one at a time; files by their path, so that it reads them in its own way.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from mtcnn import MTCNN
from mtcnn_cases import arrays, files, fingerprint, yale


def found(detector: MTCNN, picture: np.ndarray | str) -> list[dict[str, Any]]:
    """Boxes (x1, y1, x2, y2), confidences and landmarks (x, y), the most confident first."""
    rows = detector.detect_faces(picture, box_format="xyxy", output_type="numpy")
    return [
        {
            "box": [round(float(v), 3) for v in row[1:5]],
            "confidence": round(float(row[5]), 5),
            "landmarks": [[round(float(x), 3), round(float(y), 3)] for x, y in zip(row[6:11], row[11:16], strict=True)],
        }
        for row in np.atleast_2d(rows)
        if row.size
    ]


def main(data_root: str, out: str) -> None:
    detector = MTCNN()
    reference: dict[str, Any] = {}
    for name, picture in (arrays() | yale(Path(data_root))).items():
        reference[name] = {"input": fingerprint(picture), "faces": found(detector, picture)}
        print(f"{name}: {len(reference[name]['faces'])}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files().items():
            path = Path(folder) / name
            path.write_bytes(content)
            reference[name] = {"faces": found(detector, str(path))}
            print(f"{name}: {len(reference[name]['faces'])}", flush=True)
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(entry)}" for name, entry in reference.items())
    Path(out).write_text(f"{{\n{lines}\n}}\n", encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main(*sys.argv[1:3])
