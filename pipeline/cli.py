"""The command `psface`: one lazily loaded file a verb, and one way for each kind of mistake to end."""

from __future__ import annotations

import importlib
import sys
from typing import Any, ClassVar

import click

from pipeline.errors import PsfaceError, nearest, one_line

# verb -> (module that holds `command`, the line `psface --help` shows); in the order of the work
STAGES = {
    "simulate": ("stages.simulate.command", "Photograph simulated faces with a simulated rig."),
    "ingest": ("stages.ingest.command", "Read a data set into a table of sessions."),
    "reconstruct": ("stages.reconstruct.command", "Turn each session's frames into normals, albedo and depth."),
    "crop": ("stages.crop.command", "Find, align and pack the faces of all maps."),
    "balance": ("stages.balance.command", "Split the subjects and balance the training split."),
    "train": ("stages.train.command", "Train one modality's recogniser."),
    "fuse": ("stages.fuse.command", "Fuse two or three trained modalities."),
    "synthesise": ("stages.synthesise.command", "Train a generator of faces at other ages."),
    "evaluate": ("stages.evaluate.command", "Score a run on test subjects: verification, identification, attributes."),
    "report": ("stages.report.command", "Draw all results as one self-contained page."),
}
TOOLS = {
    "init": ("stages.ingest.init", "Make a workspace of one's own data."),
    "check": ("stages.ingest.check", "Look a data set over without changing anything."),
    "code": ("stages.ingest.init_code", "Write a hash of each stage's code, for the dvc.yaml of a workspace."),
    "detect": ("stages.crop.detect", "Find faces and their landmarks in images."),
    "wear-mask": ("stages.crop.wear", "Paint masks on photographs, or on sessions before they are reconstructed."),
    "mask": ("stages.crop.mask", "Tell whether faces wear a mask, and how good they are to recognise, by a run."),
    "age": ("stages.crop.age", "Make a face older or younger, or a session's maps and their mesh."),
    "maps": ("stages.reconstruct.maps", "Reconstruct one session from frames and a lights.csv."),
    "calibrate": ("stages.reconstruct.calibration.calibrate", "Find the lights of a rig from its captures."),
    "relight": ("stages.reconstruct.relight", "Photograph a session's maps under a new flash."),
    "integrate": ("stages.reconstruct.integrate", "Turn any normal map into depth."),
    "mesh": ("stages.reconstruct.mesh", "Turn a session's depth into a mesh with its albedo as colour."),
    "attacks": ("stages.simulate.attacks", "Photograph flat attacks: prints and screens before the simulated rig."),
    "truths": ("stages.simulate.truths", "Photograph simulated test subjects' sessions at other ages."),
    "quality": ("stages.reconstruct.ranking", "Rank sessions by how far their maps can be trusted."),
    "import-weights": ("stages.train.import_weights", "Take over the official weights of MTLFace's recogniser."),
    "judge": (
        "stages.synthesise.judge",
        "Hold made faces of other ages to the truth, before a network that made none.",
    ),
    "select": ("stages.synthesise.select", "Make training faces of other ages, and keep those that judges believe."),
    "verify": ("stages.evaluate.verify", "Exact rates of all pairs of a file of embeddings, however many."),
    "view": ("stages.reconstruct.view", "Draw a session's maps as a picture."),
}


class LazyGroup(click.Group):
    """A group that imports a command when it is called, so that `psface --help` is instant."""

    commands_by_verb: ClassVar = {**STAGES, **TOOLS}

    def list_commands(self, context: click.Context) -> list[str]:
        return list(self.commands_by_verb)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in self.commands_by_verb:
            return None
        command: click.Command = importlib.import_module(self.commands_by_verb[name][0]).command
        return command

    def resolve_command(
        self, context: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(context, args)
        except click.UsageError:
            raise click.UsageError(
                f"no command `{args[0]}`; {nearest(args[0], self.list_commands(context))}", context
            ) from None

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        for title, group in (("Stages, in the order of the pipeline", STAGES), ("Without a pipeline", TOOLS)):
            with formatter.section(title):
                formatter.write_dl([(name, line) for name, (_, line) in group.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="psface")
def psface() -> None:
    """Photometric stereo of faces: from flash photographs to normals, albedo and depth, and on to a recogniser.

    `dvc repro` runs all stages in order; each is also a command of its own. They read params.yaml and work in the
    current folder. Exit status: 0 done, 1 failed, 2 a mistake in what was given.
    """


def main(args: list[str] | None = None) -> Any:
    """Run the command line; mistakes and failures end in one line each."""
    try:
        return psface.main(args, standalone_mode=False)
    except click.exceptions.Exit as done:
        sys.exit(done.exit_code)
    except (click.Abort, KeyboardInterrupt):
        print("psface: interrupted", file=sys.stderr)
        sys.exit(130)
    except click.exceptions.NoArgsIsHelpError as bare:
        print(bare.format_message(), file=sys.stderr)
        sys.exit(bare.exit_code)
    except click.ClickException as mistake:
        path = mistake.ctx.command_path if isinstance(mistake, click.UsageError) and mistake.ctx else "psface"
        print(f"psface: {mistake.format_message()} (see `{path} --help`)", file=sys.stderr)
        sys.exit(mistake.exit_code)
    except PsfaceError as error:
        print(f"psface: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        what = one_line(f"{where}{error.strerror or error}")
        print(f"psface: {what}: check the path, its permissions and the free space", file=sys.stderr)
        sys.exit(1)
    except MemoryError:
        print("psface: not enough memory: give fewer --jobs, smaller pictures or a larger machine", file=sys.stderr)
        sys.exit(1)
