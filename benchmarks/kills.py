"""Kills: `kill -9` at random moments of every stage of a small pipeline, and whether anything is lost or torn.

    python benchmarks/kills.py [--kills 50] [--seed 7] [--folder FOLDER] [--stages simulate crop ...]

A clone of the working tree at a tiny size is run once: its artifacts are the reference. Then, kill by kill, one stage
is run again by DVC and, at a moment drawn from its whole time (DVC's saving included), one of these is killed:

    stage   the stage's own process
    dvc     DVC alone; the stage lives on. `dvc repro` beside it must say so and end, or find it done
    group   the whole process group

`dvc repro` then has to bring the stage to its end with the artifacts of the reference, without a file too many. Every
stage is killed at least once, the rest of the kills go by time. DVC's cache of earlier runs is switched off.

`kept` says how many of the files that lay finished in `.psface/` at the kill were taken up unchanged afterwards; of a
log (`.jsonl`) its whole lines, which later ones follow.

DVC writes dvc.lock in place: where a kill tears it, it is put back as docs/pipeline.md says before anything else is
done, and all the same is asked of what comes out. Such kills are named (`dvc.lock torn, put back`) and counted.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import yaml
from dvc.schema import COMPILED_LOCKFILE_SCHEMA
from voluptuous import Invalid

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from tests.e2e.tiny import make_clone

REPOSITORY = Path(__file__).resolve().parent.parent
WAYS = ("stage", "dvc", "group")
REWRITTEN = {"last.pt"}  # what of the work in progress is replaced as it goes on
TORN = "dvc.lock torn, put back"
LOCKED = re.compile(r"already running here|is busy, it is being blocked")


@dataclass(frozen=True)
class Kill:
    """A moment, in seconds since the stage was started, and what is killed then."""

    stage: str
    moment: float
    way: str


@dataclass
class Outcome:
    """What a kill came to; `fault` is empty where all is well."""

    kill: Kill
    note: str
    fault: str


class Pipeline:
    """A tiny clone of the repository, and the artifacts that it comes to when nobody disturbs it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.lock: dict[str, Any] = {}
        self.seconds: dict[str, float] = {}

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start `dvc repro` as the leader of a process group of its own."""
        # the modules of the clone, not those that this environment has installed
        paths = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        quiet = {"DVC_NO_ANALYTICS": "1", "PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": "1", "SHELL": "/bin/bash"}
        return subprocess.Popen(
            ["dvc", "repro", "--no-run-cache", *arguments],
            cwd=self.root,
            env={**os.environ, "PATH": paths, "PYTHONPATH": str(self.root), "PYTHONUNBUFFERED": "1", **quiet},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def repro(self, *arguments: str) -> tuple[int, str]:
        """Run `dvc repro` to its end: exit status and output."""
        with self.start(*arguments) as process:
            said = process.communicate()[0]
        return process.returncode, said

    def reference(self, stages: list[str]) -> None:
        """Run everything, or some stages and what they need, once; note artifacts and how long each stage took."""
        with self.start(*stages) as process:
            assert process.stdout is not None
            begun, stage, said = time.monotonic(), "", []
            for line in process.stdout:
                said.append(line)
                if found := re.search(r"Running stage '([^']+)'", line):
                    if stage:
                        self.seconds[stage] = time.monotonic() - begun
                    begun, stage = time.monotonic(), found[1]
            self.seconds[stage] = time.monotonic() - begun
        if process.returncode:
            raise SystemExit("the pipeline does not run undisturbed:\n" + "".join(said[-30:]))
        self.lock = self.read_lock()

    def read_lock(self) -> dict[str, Any]:
        """The stages of dvc.lock."""
        stages: dict[str, Any] = yaml.safe_load((self.root / "dvc.lock").read_text())["stages"]
        return stages

    def forget(self, stage: str) -> None:
        """Take a stage out of dvc.lock, so that DVC has to run it."""
        others = {name: entry for name, entry in self.lock.items() if name != stage}
        (self.root / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": others}, sort_keys=False))

    def put_back(self) -> bool:
        """Put dvc.lock back as docs/pipeline.md says, where DVC would not read it; whether that was so."""
        lock, kept = self.root / "dvc.lock", self.root / ".psface" / "dvc.lock"
        if is_whole(lock):
            return False
        if kept.exists():
            shutil.copyfile(kept, lock)
        else:
            lock.unlink()
        return True

    def scratch(self, stage: str) -> dict[Path, int | str]:
        """Finished files of a stage's work in progress: when they were written, or the whole lines of a log."""
        home = self.root / ".psface" / stage.replace("@", "/")
        whole = (p for p in home.glob("?" * 16 + "/**/*") if "/." not in p.relative_to(home).as_posix())
        done = [p for p in whole if p.is_file() and p.name not in REWRITTEN and p.suffix != ".npy"]
        return {p: whole_lines(p) if p.suffix == ".jsonl" else p.stat().st_mtime_ns for p in done}

    def hidden(self) -> list[str]:
        """Torn files among the artifacts."""
        found = (p for top in ("data", "runs") for p in (self.root / top).rglob(".*") if p.name != ".gitignore")
        return [p.relative_to(self.root).as_posix() for p in found]

    def trial(self, kill: Kill) -> Outcome:
        """Run a stage, kill it, and bring it to its end."""
        self.forget(kill.stage)
        struck = self._strike(kill)
        while struck is None:  # it ran faster than undisturbed
            self.forget(kill.stage)
            kill = replace(kill, moment=kill.moment / 2)
            struck = self._strike(kill)
        way, child = struck
        torn = self.put_back()
        home = self.root / ".psface" / kill.stage.replace("@", "/")
        notes = [way, TORN] if torn else [way]
        if child is not None:
            status, said = self.repro("-s", kill.stage)
            notes.append("said so" if status and LOCKED.search(said) else "beside it: done" if not status else "?")
            if notes[-1] == "?":
                return Outcome(kill, "; ".join(notes), said[-2000:])
            child.wait(timeout=600)  # until then it still moves its work about
        before, done = self.scratch(kill.stage), (home / "done").exists()
        saved = any(home.glob("?" * 16 + "/**/last.pt"))
        status, said = self.repro("-s", kill.stage)
        if found := re.search(r"goes on after .*", said):
            notes.append(found[0])
        elif saved and not done:
            return Outcome(kill, "; ".join(notes), f"training began anew: {said[-2000:]}")
        if before and not done and not found:
            after = self.scratch(kill.stage)
            kept = sum(is_kept(was, after.get(p)) for p, was in before.items())
            notes.append(f"kept {kept} of {len(before)}")
            if kept < len(before):
                return Outcome(kill, "; ".join(notes), "finished work was done again")
        notes += ["was done"] if done else []
        return Outcome(kill, "; ".join(notes), self._fault(kill.stage, status, said))

    def _strike(self, kill: Kill) -> tuple[str, psutil.Process | None] | None:
        """Start, wait, kill: what was hit, and the stage's process where it lives on without DVC; None if too late."""
        process = self.start("-s", kill.stage)
        running = threading.Event()
        threading.Thread(target=listen, args=(process, running), daemon=True).start()
        running.wait()
        time.sleep(kill.moment)
        if process.poll() is not None:
            return None
        children = psutil.Process(process.pid).children()
        hit = kill.way if children else f"{kill.way} while DVC saved"
        if kill.way == "stage" and children:
            children[0].kill()
            process.wait(timeout=60)  # DVC ends by itself
        elif kill.way == "group":
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
        process.wait()
        return hit, children[0] if children and kill.way == "dvc" else None

    def _fault(self, stage: str, status: int, said: str) -> str:
        """What is wrong after all, or nothing."""
        if status:
            return f"repro ended with {status}: {said[-2000:]}"
        if self.read_lock()[stage]["outs"] != self.lock[stage]["outs"]:
            return f"other artifacts: {self.read_lock()[stage]['outs']} instead of {self.lock[stage]['outs']}"
        return f"torn files: {', '.join(self.hidden())}" if self.hidden() else ""


def is_whole(lock: Path) -> bool:
    """Whether DVC would read a dvc.lock, or there is none."""
    try:
        COMPILED_LOCKFILE_SCHEMA(yaml.safe_load(lock.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return True
    except (UnicodeDecodeError, yaml.YAMLError, Invalid):
        return False
    return True


def listen(process: subprocess.Popen[str], running: threading.Event) -> None:
    """Take what DVC and its stage print, to the end of the last of them, and tell when the stage runs."""
    assert process.stdout is not None
    with process.stdout:
        for line in process.stdout:
            if "Running stage" in line:
                running.set()
    running.set()


def whole_lines(log: Path) -> str:
    """The text of a log, without a last line that a kill cut short."""
    text = log.read_text(encoding="utf-8")
    return text[: text.rfind("\n") + 1]


def is_kept(was: int | str, now: int | str | None) -> bool:
    """Whether a file of work in progress was left alone, or a log only written on."""
    return now.startswith(was) if isinstance(was, str) and isinstance(now, str) else now == was


def draw(seconds: dict[str, float], count: int, seed: int) -> Iterator[Kill]:
    """Kills of every stage once, then of stages by the time they take; all ways equally often."""
    rng = random.Random(seed)
    stages = [*seconds, *rng.choices(list(seconds), weights=list(seconds.values()), k=max(0, count - len(seconds)))]
    ways = [WAYS[i % 3] for i in range(len(stages))]
    rng.shuffle(ways)
    for stage, way in list(zip(stages, ways, strict=True))[:count]:
        yield Kill(stage, rng.uniform(0, seconds[stage]), way)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--folder", type=Path, help="Where the clone is made.  [default: a temporary folder]")
    parser.add_argument("--stages", nargs="*", default=[], help="Kill these alone.  [default: all]")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        pipeline = Pipeline(options.folder or Path(temporary))
        make_clone(REPOSITORY, pipeline.root, epochs=3)
        (pipeline.root / "dvc.lock").unlink()
        pipeline.reference(options.stages)
        seconds = {name: s for name, s in pipeline.seconds.items() if not options.stages or name in options.stages}
        print(f"undisturbed: {sum(pipeline.seconds.values()):.0f} s, {len(pipeline.seconds)} stages", flush=True)
        failed = torn = 0
        for number, kill in enumerate(draw(seconds, options.kills, options.seed), start=1):
            outcome = pipeline.trial(kill)
            failed += bool(outcome.fault)
            torn += TORN in outcome.note
            moment = f"{outcome.kill.moment:5.1f} of {seconds[kill.stage]:5.1f} s"
            found = f"FAILED: {outcome.fault}" if outcome.fault else "the same"
            print(f"{number:3}  {kill.stage:22}  {moment}  {outcome.note:45}  {found}", flush=True)
        print(f"{options.kills - failed} of {options.kills} kills ended in the artifacts of the undisturbed pipeline")
        print(f"{torn} of {options.kills}: {TORN} as docs/pipeline.md says")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
