"""`psface judge NAME`."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline.work import alone

PATH = click.Path(path_type=Path)
FARS = {"far=1e-2": 0.01}  # lower ones ask for more impostor pairs than a validation split of some dozen people has


@click.command("judge")
@click.argument("name")
@click.option("--judge", "judge_run", required=True, type=PATH, help="Folder of a trained run that tells the age.")
@click.option("--against", type=PATH, help="Folder of another synthesis, to compare with.")
@click.option("--truths", type=PATH, default="data/truths.parquet", show_default=True, help="Sessions of the truth.")
@click.option("--truths-faces", type=PATH, default="data/truths-faces", show_default=True, help="Its packed faces.")
@click.option("--faces", type=PATH, default="data/faces", show_default=True, help="Packed faces.")
@click.option("--sessions", type=PATH, default="data/sessions.parquet", show_default=True, help="Table of sessions.")
@click.option("--splits", type=PATH, default="data/splits.parquet", show_default=True, help="Table of splits.")
@click.option("--run", type=PATH, help="Folder of the synthesis.  [default: runs/NAME/synthesise]")
@click.option("--output", type=PATH, help="Folder of the results.  [default: runs/NAME/judge]")
@alone("judge", "name")
def command(
    name: str, judge_run: Path, against: Path | None, truths: Path, truths_faces: Path, faces: Path, sessions: Path,
    splits: Path, run: Path | None, output: Path | None,
) -> None:  # fmt: skip
    """Hold the faces that a synthesis makes to the truth, before a network that did not make them.

    Each face of `psface truths` is brought to the other ages of its session. The judge is a run of `psface train` with
    another seed that sees the same modalities; its threshold for the same person is chosen on the validation split.
    """
    from pipeline.ageing import load_ageing
    from pipeline.images import write_picture
    from pipeline.progress import wrote
    from pipeline.tables import write_json
    from stages.synthesise.trial import Trial, check_judge, check_unseen, load_ager, thresholds_of

    folder = run or Path("runs", name, "synthesise")
    synthesis = load_ageing(folder)
    rivals = [] if against is None else [(against, load_ageing(against))]
    trial = Trial(synthesis, judge_run, truths, truths_faces)
    check_unseen(trial.truths, splits)
    for _, other in rivals:
        check_judge(other, *trial.judge, judge_run)
    thresholds = thresholds_of(trial.judge, FARS, faces=faces, sessions=sessions, splits=splits)
    found, made = trial.hold(load_ager(synthesis, folder), synthesis.contract, thresholds)
    for place, other in rivals:
        compared, theirs = trial.hold(load_ager(other, place), other.contract, thresholds)
        found |= {"against": compared, "difference": trial.differences(thresholds, made, theirs)}
    target = output or Path("runs", name, "judge")
    write_picture(target / "faces.png", trial.picture(load_ager(synthesis, folder), synthesis.contract))
    write_json(target / "metrics.json", {"run": name, "judge": judge_run.as_posix(), **found})  # last: all is there
    kept, error = found["identity"]["far=1e-2"]["kept"]["value"], found["age"]["error"]["value"]
    wrote(target, note=f"identity kept {kept:.1%}, age wrong by {error:.1f} years")
