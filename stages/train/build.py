"""What a run is made of, from its parameters: network, losses, adversaries, optimisers, contract."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from models.adversary import Adversaries
from models.age import AGE, AGE_GROUP, AgeLoss, CrossAge, age_groups
from models.focal import class_constants
from models.magface import MagFace
from models.margins import ArcFace, CosFace, IdentityLoss
from models.objective import Objective
from models.recogniser import Recogniser
from models.step import make_adamw
from pipeline.attributes import classes
from pipeline.contract import Contract, Network
from pipeline.errors import UserError
from pipeline.faces import PREPROCESSING
from pipeline.fitting import subject_weights
from pipeline.params import Train
from pipeline.samples import FaceStore, Samples

MARGINS = {"magface": MagFace, "arcface": ArcFace, "cosface": CosFace}


def make_identity(params: Train, subjects: int) -> IdentityLoss:
    """The loss of the identity."""
    settings = params.identity.model_dump(exclude={"loss"})
    if params.identity.loss == "triplet":
        from stages.train.triplet import TripletLoss  # its library imports scipy's statistics: half a second of CPU

        return TripletLoss(**settings)
    return MARGINS[params.identity.loss](params.dimension, subjects, **settings)


def make_objective(params: Train, train: Samples, subjects: int, network: Recogniser) -> Objective:
    """The losses of all tasks of a network, with constants counted in the training split."""
    counts = {str(name): train.counts(name, params.vocabulary) for name in params.attributes if name != AGE}
    balanced = {name: class_constants(each, params.focus) for name, each in counts.items()}
    plain = {name: ([1.0] * len(each), [0.0] * len(each)) for name, each in counts.items()}
    return Objective(
        make_identity(params, subjects),
        balanced if params.attribute_loss == "focal" else plain,
        {str(name): weight for name, weight in params.attributes.items()},
        learned=params.task_weights == "uncertainty",
        damped=params.attribute_loss == "log_cross_entropy",
        adversaries=_make_adversaries(params, train, counts),
        age=AgeLoss(params.age_groups) if AGE in params.attributes else None,
        cross_age=_make_cross_age(params, network) if params.cross_age else None,
        cross_age_weight=params.cross_age,
    )


def _make_adversaries(params: Train, train: Samples, counts: dict[str, list[int]]) -> Adversaries | None:
    """One for each attribute that has a coefficient; that of the age tells its group."""
    if AGE in params.attributes:
        known = train.labels[AGE][train.labels[AGE] >= 0]
        groups = age_groups(torch.from_numpy(known), params.age_groups)
        counts = counts | {AGE_GROUP: torch.bincount(groups, minlength=params.age_groups).tolist()}
    named = {AGE_GROUP if name == AGE else str(name): each for name, each in params.adversaries.items()}
    coefficients = {name: each for name, each in named.items() if name in counts}
    alpha = {name: class_constants(counts[name], params.focus)[0] for name in coefficients}
    return Adversaries(params.dimension, alpha, coefficients) if coefficients else None


def _make_cross_age(params: Train, network: Recogniser) -> CrossAge:
    channels, height, width = network.shape
    return CrossAge(channels, height * width, hidden=channels, groups=params.age_groups)


def labels_of(params: Train, train: Samples) -> dict[str, Tensor]:
    """Labels (N,) by attribute; beside an age its group."""
    labels = {name: torch.from_numpy(codes) for name, codes in train.labels.items()}
    return labels | ({AGE_GROUP: age_groups(labels[AGE], params.age_groups)} if AGE in labels else {})


def make_optimisers(
    params: Train, network: nn.Module, objective: Objective
) -> tuple[torch.optim.Optimizer, torch.optim.Optimizer | None]:
    """That of the network with the losses, and that of the adversaries, undecayed and at a pace of their own."""
    against = objective.adversaries
    theirs = {id(p) for p in against.parameters()} if against is not None else set()
    parameters = [p for module in (network, objective) for p in module.parameters() if id(p) not in theirs]
    optimiser = make_adamw(parameters, params.lr, params.weight_decay)
    if against is None:
        return optimiser, None
    return optimiser, torch.optim.Adam(against.parameters(), lr=params.adversary.lr, fused=True)


def weights_of(params: Train, train: Samples) -> tuple[Tensor, Tensor]:
    """Weights (N,) of the samples for the attributes and for the identity, with a mean of 1.

    Balancing's own; for the identity over the root of how often a subject comes, unless the sampler sees to that.
    """
    ones = torch.ones(len(train))
    if not params.weighted:
        return ones, ones
    plain = torch.from_numpy(train.weight / train.weight.mean())
    if params.sampler in ("identities", "pk"):
        return plain, plain
    return plain, torch.from_numpy(subject_weights(train))


def batch_size(params: Train, train: Samples) -> int:
    """Faces in a batch: no more than there are to go through in an epoch.

    Raises
    ------
    UserError
        The sampler goes through the bare sessions, and there are none; or a batch of `pk` has not two subjects.
    """
    bare = train.labels["mask"] != 1 if params.sampler == "masks" else np.ones(len(train), bool)
    if not bare.any():
        raise UserError("sampler masks: every training session wears a mask; use another sampler, or add bare sessions")
    size = min(params.batch, int(bare.sum()))
    if params.sampler != "pk":
        return size
    if size < 2 * params.per_subject:
        raise UserError(
            f"sampler pk: {len(train)} training faces are not two subjects of {params.per_subject} faces each, as a "
            "batch takes: lower per_subject"
        )
    return size // params.per_subject * params.per_subject


def without_effect(params: Train, train: Samples) -> list[str]:
    """Settings that change nothing on these samples, each in words."""
    unlabelled = [name for name in params.attributes if not (train.labels[name] >= 0).any()]
    against = dict.fromkeys([*params.erase, *params.adversaries])
    unread = [name for name in against if name not in params.labelled]
    notes = (
        [f"no training session has a label of {', '.join(unlabelled)}: nothing is learnt of it"] if unlabelled else []
    )
    if unread:
        notes.append(
            f"erase or adversaries name {', '.join(unread)}, none of `attributes`: nothing is taken out for it"
        )
    return notes


def contract_of(run: str, params: Train, store: FaceStore) -> Contract:
    """What the run says of itself: preprocessing and network."""
    modalities: list[str] = list(params.modalities or ())
    channels = {name: int(store.arrays[name].shape[3]) for name in modalities}
    size = int(store.arrays[modalities[0]].shape[2])
    attributes: dict[str, int] = {name: len(classes(name, params.vocabulary)) for name in params.attributes}
    kwargs = {
        "channels": channels,
        "size": size,
        "attributes": attributes,
        "width": params.width,
        "strides": list(params.strides),
        "activation": params.activation,
        "attention": params.attention,
        "dimension": params.dimension,
        "dropout": params.dropout,
        **({"beside": list(params.beside)} if params.beside else {}),
    }
    kwargs |= {"age_groups": params.age_groups} if AGE in attributes else {}
    return Contract(
        run=run,
        modalities=modalities,
        size=size,
        channels=channels,
        normalisation={name: PREPROCESSING[name] for name in modalities},
        network=Network(name=params.backbone, kwargs=kwargs),
        attributes=attributes,
        vocabulary=params.vocabulary,
    )


def codes_of(subjects: np.ndarray) -> tuple[Tensor, int]:
    """Subjects (N,) as classes from 0, and how many there are."""
    names, codes = np.unique(subjects, return_inverse=True)
    return torch.from_numpy(codes), len(names)
