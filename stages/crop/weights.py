"""MTCNN's trained weights, read out of the installed `mtcnn` package without importing it (that would need TensorFlow).

The package keeps one file a network: a compressed list of numpy arrays in the order of its layers, as Keras lays them
out. Convolutions are (h, w, in, out) there and (out, in, h, w) in torch; dense layers (in, out) and (out, in); the
slopes of a PReLU (1, 1, C) and (C,).
"""

from __future__ import annotations

from functools import lru_cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import joblib
import numpy as np
import torch
from torch import Tensor, nn

from models.mtcnn import ONet, PNet, RNet
from pipeline.devices import usable_device
from pipeline.errors import PsfaceError

_REMEDY = "install it again: pip install --force-reinstall mtcnn"


@lru_cache(maxsize=2)
def load_networks(device: str = "cpu") -> tuple[PNet, RNet, ONet]:
    """The three networks with their trained weights, for inference on a torch device.

    Raises
    ------
    UserError
        The device cannot be used.
    PsfaceError
        The `mtcnn` package is missing or damaged.
    """
    where = usable_device(device)
    networks = PNet(), RNet(), ONet()
    for network in networks:
        name = type(network).__name__.lower()
        network.load_state_dict(_to_torch(_read(name), network, name))
        network.eval().requires_grad_(False).to(where)
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d):  # a CPU is twice as fast with the channels of a pixel side by side
                layer.weight.data = layer.weight.data.contiguous(memory_format=torch.channels_last)
    return networks


def _read(name: str) -> list[np.ndarray]:
    try:
        files = distribution("mtcnn").files or []
    except PackageNotFoundError:
        raise PsfaceError("the package `mtcnn`, which brings the detector's weights, is not installed") from None
    found = [Path(str(f.locate())) for f in files if f.name == f"{name}.lz4"]
    if not found or not found[0].is_file():
        raise PsfaceError(f"the installed `mtcnn` package holds no {name}.lz4; {_REMEDY}")
    try:
        arrays = joblib.load(found[0])
    except Exception as error:
        raise PsfaceError(f"{found[0]} cannot be read ({error!r}); {_REMEDY}") from error
    return list(arrays)


def _to_torch(arrays: list[np.ndarray], network: nn.Module, name: str) -> dict[str, Tensor]:
    """Arrays in Keras' layout as the state of a torch network whose layers come in the same order."""
    state = network.state_dict()
    if len(arrays) != len(state):
        raise PsfaceError(f"{name}.lz4 of the `mtcnn` package holds {len(arrays)} arrays, {len(state)} expected")
    converted = {}
    for (key, tensor), array in zip(state.items(), arrays, strict=True):
        value = torch.from_numpy(np.array(array, dtype=np.float32))
        if key.startswith("prelu"):
            value = value.flatten()
        elif value.ndim == 4:
            value = value.permute(3, 2, 0, 1)
        elif value.ndim == 2:
            value = value.T
        if value.shape != tensor.shape:
            raise PsfaceError(
                f"{name}.lz4 of the `mtcnn` package: {key} is {tuple(value.shape)}, {tuple(tensor.shape)} expected"
            )
        converted[key] = value.contiguous()
    return converted
