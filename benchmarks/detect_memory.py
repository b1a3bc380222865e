"""Resident memory of the detector over pictures of ever new sizes, after 100 of them, 500 and so on.

    python benchmarks/detect_memory.py [--pictures 4000]

New sizes are the hard case: what is prepared for one picture's layers serves no other.
"""

from __future__ import annotations

import argparse

import psutil
from skimage import data

from stages.crop.detector import Detector

LOOKS = (100, 500, 1000, 2000, 4000, 8000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=4000)
    options = parser.parse_args()
    photograph, detector, process = data.astronaut(), Detector(), psutil.Process()
    for count in range(1, options.pictures + 1):
        height, width = 60 + count * 37 % 200, 60 + count * 53 % 220
        detector.detect([photograph[:height, 150 : 150 + width]])
        if count in LOOKS:
            print(f"{count:5d} pictures: {process.memory_info().rss >> 20} MiB", flush=True)


if __name__ == "__main__":
    main()
