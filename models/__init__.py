"""Networks and losses in torch, behind a registry. No files, no params.yaml, no sampling: those are training's."""

from models.fusion import Fusion
from models.recogniser import Recogniser, Recognition
from models.registry import create_model, model_names, register, restore_model

__all__ = ["Fusion", "Recogniser", "Recognition", "create_model", "model_names", "register", "restore_model"]
