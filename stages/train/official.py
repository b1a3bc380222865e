"""The official weights of MTLFace's recognisers [1]_, [2]_, in this house's names.

    CVPR       backbone-<iteration>             input_layer, block1-4, fsm, output_layer          482 tensors
               estimation_network-<iteration>   age_output_layer, group_output_layer
               head-, da_discriminator-, generator-, discriminator-<iteration>                    not taken over
    journal    one file: encoder.{input_layer, block1-4, fsm, output_layer} and age_estimator; its styles, decoder, ...
               are not taken over

``module.`` in front of all names (of several processes) is dropped. Which of the two it is, is told by the shape of
fsm.channel.0.weight: (448, 7168, 1, 1) or (896, 14336, 1, 1); the journal's attention keeps the identity where the
other takes the age, and reads averages beside maxima instead of their sums (`models.attention.JournalAttention`).

Two things are put differently here, and say the same: the bias of the layer in front of the embedding's norm is
taken off the norm's mean, and the pyramid of the channel attention is sorted by channel instead of by level.

References
----------
.. [1] Z. Huang, J. Zhang, H. Shan, CVPR 2021. arXiv:2103.01520; code: github.com/Hzzone/MTLFace
.. [2] Z. Huang, J. Zhang, H. Shan, TPAMI 2022. arXiv:2210.09835
"""

from __future__ import annotations

import re
import zipfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor

from models import restore_model
from models.age import AGE, BOUNDS, YEARS
from models.attention import PYRAMID
from pipeline.contract import Contract, Network
from pipeline.errors import UserError
from pipeline.faces import CHANNELS, COLOUR, PREPROCESSING
from pipeline.files import check_regular

SIZE, WIDTH, DIMENSION = 112, 64, 512
LARGEST = 1 << 24  # numbers in a tensor; the embedding's layer has 25,088 x 512
SQUEEZE = "fsm.channel.0.weight"
VERSIONS = {(448, 7168, 1, 1): ("CVPR", "mean", 0.5), (896, 14336, 1, 1): ("journal", "journal", 0.4)}
BACKBONE = (  # published names and ours
    (r"input_layer\.(.+)", r"backbone.stem.\1"),
    (r"block([1-4])\.(\d+)\.res_layer\.(.+)", r"backbone.stages.\1.\2.residual.\3"),
    (r"block([1-4])\.(\d+)\.shortcut_layer\.(.+)", r"backbone.stages.\1.\2.shortcut.\3"),
    (r"fsm\.channel\.0\.(.+)", r"decomposition.steps.age.channel.squeeze.\1"),
    (r"fsm\.channel\.2\.(.+)", r"decomposition.steps.age.channel.excite.\1"),
    (r"fsm\.channel\.3\.(.+)", r"decomposition.steps.age.channel.norm.\1"),
    (r"fsm\.spatial\.0\.(.+)", r"decomposition.steps.age.spatial.conv.\1"),
    (r"fsm\.spatial\.1\.(.+)", r"decomposition.steps.age.spatial.norm.\1"),
    (r"output_layer\.0\.(.+)", r"embedding.norm.\1"),
    (r"output_layer\.3\.(.+)", r"embedding.project.\1"),
    (r"output_layer\.4\.(.+)", r"embedding.scale.\1"),
)
AGES = (
    (r"age_output_layer\.0\.(.+)", r"heads.age.norm.\1"),
    (r"age_output_layer\.2\.(.+)", r"heads.age.project.\1"),
    (r"age_output_layer\.4\.(.+)", r"heads.age.classify.\1"),
    (r"group_output_layer\.(.+)", r"heads.age.group.\1"),
)
UNREADABLE = (
    UnpicklingError, zipfile.BadZipFile, RuntimeError, ValueError, TypeError, LookupError, AttributeError,
    EOFError, AssertionError, ArithmeticError, ImportError,
)  # fmt: skip  # whatever torch makes of a damaged file


@dataclass
class Official:
    """What official files hold: the recogniser's tensors by published name, and how many of what else.

    Attributes
    ----------
    backbone, ages : dict of Tensor
        Without prefixes; empty where no file has them.
    left : Counter
        Tensors that are not taken over, by what they belong to.
    """

    backbone: dict[str, Tensor] = field(default_factory=dict)
    ages: dict[str, Tensor] = field(default_factory=dict)
    left: Counter[str] = field(default_factory=Counter)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file of `torch.save` by name, without the ``module.`` in front; nothing in it is run.

    Raises
    ------
    UserError
        It is no such file, is damaged, or holds something else than tensors by name.
    """
    try:
        check_regular(path)
        with path.open("rb"):
            pass
    except FileNotFoundError:
        raise UserError(f"{path} is missing: give a file of MTLFace's official weights") from None
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror}): give a file of MTLFace's official weights"
        ) from error
    try:
        with zipfile.ZipFile(path) as archive:
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
                raise ValueError("torch compresses nothing")  # what is compressed could grow without end
        state = torch.load(path, map_location="cpu", weights_only=True)
    except UNREADABLE as error:
        raise UserError(
            f"{path} is not a file of tensors that `torch.save` writes, or is damaged: fetch it again"
        ) from error
    named = isinstance(state, Mapping) and all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in state.items()
    )
    if not named or not state:
        raise UserError(f"{path} holds other things than tensors by name: give a file of MTLFace's official weights")
    return {name.removeprefix("module."): value for name, value in state.items()}


def read_official(paths: Sequence[Path]) -> Official:
    """What files of official weights hold, each told by its names.

    Raises
    ------
    UserError
        A file cannot be read or is of something else, a part comes twice, or none has a backbone.
    """
    found = Official()
    for path in paths:
        state = read_tensors(path)
        if any(name.startswith("encoder.") for name in state):
            for prefix in ("encoder.", "age_estimator."):
                _add(found, path, {n.removeprefix(prefix): v for n, v in state.items() if n.startswith(prefix)})
            rest = [n for n in state if not n.startswith(("encoder.", "age_estimator."))]
            found.left.update(f"`{n.split('.')[0]}`" for n in rest)
        else:
            _add(found, path, state)
    if not found.backbone:
        raise UserError(f"{paths[0]}: no backbone in it: give the file that is called backbone-<iteration> as well")
    return found


def _add(found: Official, path: Path, state: dict[str, Tensor]) -> None:
    """Put one part's tensors where they belong."""
    backbone, ages = ({n: v for n, v in state.items() if _ours(n, names)} for names in (BACKBONE, AGES))
    if path.name.startswith("da_discriminator"):
        found.left["the cross-age discriminator"] += len(state)
    elif backbone or ages:
        for part, taken in ((found.backbone, backbone), (found.ages, ages)):
            if part and taken:
                raise UserError(
                    f"{path}: another file has these tensors already: give one backbone and one age network"
                )
            part.update(taken)
        found.left.update(f"`{n.split('.')[0]}`" for n in state if n not in backbone and n not in ages)
    elif set(state) == {"weight"}:
        found.left["the class head, of subjects whom nobody else has"] += 1
    elif any(n.startswith("up_1.") for n in state):
        found.left["the generator"] += len(state)
    elif any(n.startswith("main.") for n in state):
        found.left["the discriminator"] += len(state)
    elif state:
        raise UserError(f"{path}: nothing of MTLFace is called `{next(iter(state))}`: give its official weights")


def _ours(name: str, names: Sequence[tuple[str, str]]) -> str | None:
    """Our name of a tensor; None where it is not among them."""
    for published, ours in names:
        if re.fullmatch(published, name):
            return re.sub(published, ours, name)
    return None


def convert(found: Official, source: Path, *, colour: bool = False) -> tuple[Contract, dict[str, Tensor]]:
    """A run of this house, as `psface train` would have left it.

    Parameters
    ----------
    source : path
        For messages.
    colour : bool
        Keep the three channels of the first convolution, for the modality `colour`; otherwise they are added up, which
        is the same network for grey faces, `frame`.

    Raises
    ------
    UserError
        The tensors are not those of MTLFace's recogniser.
    """
    modality = COLOUR if colour else "frame"
    channels = {modality: CHANNELS[modality]}
    kwargs = {"channels": channels, **_settings(found, source)}
    try:
        state = _state(found, colour)
        restore_model("ir50", state, **kwargs)
    except (ValueError, KeyError, RuntimeError, IndexError) as error:
        raise UserError(f"{source}: not the tensors of MTLFace's IR-50 ({error}): fetch it again") from error
    if not all(bool(value.isfinite().all()) for value in state.values()):
        raise UserError(f"{source} holds values that are not finite: fetch it again")
    contract = Contract(
        run="mtlface",
        modalities=[modality],
        size=SIZE,
        channels=channels,
        normalisation={modality: PREPROCESSING[modality]},
        network=Network(name="ir50", kwargs=kwargs),
        attributes={AGE: YEARS} if found.ages else {},
    )
    return contract, state


def _settings(found: Official, source: Path) -> dict[str, Any]:
    """The network's, but for its channels."""
    shape = tuple(found.backbone[SQUEEZE].shape) if SQUEEZE in found.backbone else ()
    if shape not in VERSIONS:
        known = " or ".join(f"{size} ({name})" for size, (name, *_) in VERSIONS.items())
        raise UserError(f"{source}: {SQUEEZE} is {shape or 'missing'}, {known} expected: not MTLFace's recogniser")
    _, attention, dropout = VERSIONS[shape]
    return {
        "size": SIZE,
        "attributes": {AGE: YEARS if found.ages else 0},
        "width": WIDTH,
        "attention": attention,
        "dimension": DIMENSION,
        "dropout": dropout,
        "age_groups": _groups(found, source),
    }


def _groups(found: Official, source: Path) -> int:
    """Into how many groups its ages are split."""
    if not found.ages:
        return 7
    name = "group_output_layer.weight"
    count = len(found.ages[name]) if name in found.ages and found.ages[name].ndim else 0
    if count not in BOUNDS:
        raise UserError(f"{source}: {count} groups of ages, {', '.join(map(str, BOUNDS))} expected: not MTLFace's")
    return count


def _state(found: Official, colour: bool) -> dict[str, Tensor]:
    """The tensors under our names, in float32."""
    named = {ours: v for n, v in found.backbone.items() if (ours := _ours(n, BACKBONE))}
    named |= {ours: v for n, v in found.ages.items() if (ours := _ours(n, AGES))}
    for name, value in named.items():
        plain = value.layout == torch.strided and value.device.type == "cpu" and not value.is_quantized
        if not plain or value.numel() > LARGEST:
            raise ValueError(f"{name} is {tuple(value.shape)} {value.dtype}")
    copies = {_counted(n): v.detach().clone(memory_format=torch.contiguous_format) for n, v in named.items()}
    state = {n: v.float() if v.is_floating_point() else v for n, v in copies.items()}
    squeeze, excite = (f"decomposition.steps.age.channel.{name}.weight" for name in ("squeeze", "excite"))
    state[squeeze] = _by_channel(state[squeeze].flatten(1))
    state[excite] = state[excite].flatten(1)
    state["embedding.scale.running_mean"] = state["embedding.scale.running_mean"] - state.pop("embedding.project.bias")
    if not colour:
        state["backbone.stem.0.weight"] = state["backbone.stem.0.weight"].sum(dim=1, keepdim=True)
    return state


def _counted(name: str) -> str:
    """Stages from 0, where blocks are counted from 1."""
    return re.sub(r"(?<=^backbone\.stages\.)\d", lambda found: str(int(found[0]) - 1), name)


def _by_channel(weight: Tensor) -> Tensor:
    """Columns of a layer on pyramids (inner, n 14 C), sorted by level, channel and cell, sorted by channel and cell."""
    parts = []
    cells = sum(side * side for side in PYRAMID)
    for pyramid in weight.split(cells * 8 * WIDTH, dim=1):  # the averages, and the maxima where they stand beside
        levels = pyramid.split([side * side * 8 * WIDTH for side in PYRAMID], dim=1)
        parts.append(torch.cat([level.unflatten(1, (8 * WIDTH, -1)) for level in levels], dim=2).flatten(1))
    return torch.cat(parts, dim=1)
