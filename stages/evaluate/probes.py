"""What does the identity embedding still give away? Fresh probes on frozen embeddings.

An adversary that fails may fail because it is weak, so nothing is concluded from the one that trained the network.
Probes that have never met it are fitted on the embeddings of *training* subjects, at unit length, and read the
attributes of test subjects: a linear one (logistic regression) and a small MLP (one hidden layer). Both weigh the
classes alike and choose their regularisation, and the MLP its epoch, on training subjects held out. Their balanced
accuracy on test subjects is held against chance, one half: the constant answer, whatever the skew.

Where attributes have been erased by what training subjects showed (`models.erasure`), a line fitted on these cannot
win. So a third probe (`crossed`) has labelled faces of people like those it is tried on: it is fitted, in a line too,
on half of the test subjects and tried on the other half, and the other way about.

An age is read by its group, one of seven; the constant answer is right in a seventh of them.

References: Y. Elazar, Y. Goldberg, "Adversarial removal of demographic attributes from text data", EMNLP 2018,
arXiv:1808.06640 (what an adversary no longer finds, a fresh classifier often does).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits
from torch import nn
from torch.nn import functional

from pipeline.attributes import MISSING
from stages.evaluate.attributes import attribute_scores

STRENGTHS = (0.001, 0.01, 0.1, 1.0)  # C of the logistic regression
DECAYS = (0.01, 0.1, 1.0)
HIDDEN, EPOCHS, BATCH, LR = 64, 40, 256, 2e-3
HELD_OUT = 0.25  # of the training subjects, to choose by
FEWEST = 10  # sessions, and subjects, of the rarer class, to fit and to score

Read = Callable[[np.ndarray], np.ndarray]


def probe_attributes(
    train: tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]],
    test: tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]],
    weights: np.ndarray,
    *,
    seed: int,
) -> dict[str, dict[str, Any]]:
    """By attribute what each probe reads of test subjects.

    Parameters
    ----------
    train, test
        Embeddings (N, D), subjects (N,) and labels by attribute (N,), -1 where missing, of subjects apart. Classes
        are those of ``train``; of an attribute that has one alone, two are expected.
    weights
        (R, S) resampled test subjects.
    seed
        Of the held-out subjects and the MLP.

    Returns
    -------
    ``{"linear", "mlp", "crossed": balanced accuracies, "linear_auroc", "mlp_auroc", "crossed_auroc",
    "chance": {"value": 1 / classes}, "counts": {...}}``, or ``{"absent": reason}``.
    """
    if set(np.unique(train[1])) & set(np.unique(test[1])):
        raise ValueError("expected probes to be fitted on other subjects than those they are tried on")
    rows, seen = _standardised(train[0], test[0])
    result: dict[str, dict[str, Any]] = {}
    for name in test[2]:
        fitted_on, tried_on = (labels[name] != MISSING for *_, labels in (train, test))
        count = max(2, int(max(labels[name].max(initial=0) for *_, labels in (train, test))) + 1)
        reason = _too_few(train[2][name], train[1], "training", count)
        reason = reason or _too_few(test[2][name], test[1], "test", count)
        if reason:
            result[name] = {"absent": reason}
            continue
        labelled = rows[fitted_on], train[2][name][fitted_on], train[1][fitted_on]
        part: dict[str, Any] = {}
        for kind, said in _said(labelled, seen, (test[0], test[2][name], test[1]), seed, count).items():
            found = attribute_scores(said, test[2][name], test[1], weights)
            part[kind], part[f"{kind}_auroc"] = found["balanced_accuracy"], found["auroc"]
        part["chance"] = {"value": 1 / count}
        part["counts"] = {"fitted_on": int(fitted_on.sum()), "tried_on": int(tried_on.sum())}
        result[name] = part
    return result


def _said(
    fitted_on: tuple[np.ndarray, np.ndarray, np.ndarray],
    seen: np.ndarray,
    test: tuple[np.ndarray, np.ndarray, np.ndarray],
    seed: int,
    count: int,
) -> dict[str, np.ndarray]:
    """By kind of probe the shares (N, count) of the classes.

    Parameters
    ----------
    fitted_on
        Standardised embeddings, labels and subjects of labelled training sessions.
    seen
        (N, D) standardised embeddings of the test sessions.
    test
        Embeddings, labels and subjects of the test sessions, for the crossed probe.
    """
    with _one_thread():
        said = {name: fit(*fitted_on, seed, count)(seen) for name, fit in (("linear", _linear), ("mlp", _mlp))}
    return said | {"crossed": _crossed(*test, seed, count)}


@contextmanager
def _one_thread() -> Iterator[None]:
    """Steps this small are slower on several threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(threads)


def _standardised(train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both at unit length, then less the mean and over the spread of `train`."""
    rows, seen = _unit(train), _unit(test)
    mean, spread = rows.mean(axis=0), np.maximum(rows.std(axis=0), 1e-6)
    return (rows - mean) / spread, (seen - mean) / spread


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def _too_few(labels: np.ndarray, subjects: np.ndarray, which: str, count: int) -> str:
    for code in range(count):
        sessions, people = int((labels == code).sum()), len(np.unique(subjects[labels == code]))
        if sessions < FEWEST or people < FEWEST // 2:
            return f"{sessions} {which} sessions of {people} subjects have the class {code}"
    return ""


def _crossed(embeddings: np.ndarray, labels: np.ndarray, subjects: np.ndarray, seed: int, count: int) -> np.ndarray:
    """(N, count) what a linear probe fitted on the other half of the subjects says of each session."""
    known = np.flatnonzero(labels != MISSING)
    said = np.full((len(labels), count), 0.5)
    half = _held_out(labels[known], subjects[known], seed, share=0.5)
    for fitted_on, tried_on in ((known[half], known[~half]), (known[~half], known[half])):
        rows, seen = _standardised(embeddings[fitted_on], embeddings[tried_on])
        with _one_thread():
            said[tried_on] = _linear(rows, labels[fitted_on], subjects[fitted_on], seed, count)(seen)
    return said


def _held_out(labels: np.ndarray, subjects: np.ndarray, seed: int, share: float = HELD_OUT) -> np.ndarray:
    """(N,) bool: sessions of some subjects, with all classes on either side where that can be had."""
    rng = np.random.default_rng(seed)
    names = np.unique(subjects)
    for _ in range(20):
        out = np.isin(subjects, rng.choice(names, max(1, round(share * len(names))), replace=False))
        if all(len(np.unique(labels[side])) == len(np.unique(labels)) for side in (out, ~out)):
            break
    return np.asarray(out)


def _balanced(said: np.ndarray, labels: np.ndarray) -> float:
    guess = said.argmax(axis=1)
    return float(np.mean([(guess == c)[labels == c].mean() for c in np.unique(labels)]))


def _linear(rows: np.ndarray, labels: np.ndarray, subjects: np.ndarray, seed: int, count: int) -> Read:
    """The strength that did best on the held-out subjects, fitted on all."""
    out = _held_out(labels, subjects, seed)
    scored = [_balanced(_line(rows[~out], labels[~out], c, count)(rows[out]), labels[out]) for c in STRENGTHS]
    return _line(rows, labels, STRENGTHS[int(np.argmax(scored))], count)


def _line(rows: np.ndarray, labels: np.ndarray, strength: float, count: int) -> Read:
    """A logistic regression's shares (N, count); a class that it was not shown has none."""
    shown = np.unique(labels)
    if len(shown) == 1:  # there is no line
        return lambda seen: np.repeat(np.eye(count)[shown], len(seen), axis=0)
    model = LogisticRegression(C=strength, class_weight="balanced", max_iter=200)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(rows, labels)

    def read(seen: np.ndarray) -> np.ndarray:
        said = np.zeros((len(seen), count))
        said[:, model.classes_] = model.predict_proba(seen)
        return said

    return read


def _mlp(rows: np.ndarray, labels: np.ndarray, subjects: np.ndarray, seed: int, count: int) -> Read:
    """The state that did best on the held-out subjects, over the weight decays and all epochs."""
    out = _held_out(labels, subjects, seed)
    share = np.bincount(labels[~out], minlength=count) / (~out).sum()
    x, y = torch.from_numpy(rows[~out]).float(), torch.from_numpy(labels[~out])
    each = torch.from_numpy(1 / count / np.maximum(share, 1e-9)).float()[y]
    shown = torch.from_numpy(rows[out]).float()
    best, chosen = -1.0, None
    for decay in DECAYS:
        generator = torch.Generator().manual_seed(seed)
        net = _network(rows.shape[1], count, generator)
        optimiser = torch.optim.AdamW(net.parameters(), lr=LR, weight_decay=decay)
        for _ in range(EPOCHS):
            for batch in torch.randperm(len(x), generator=generator).split(BATCH):
                loss = _loss(net(x[batch]), y[batch], each[batch])
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
            with torch.no_grad():
                score = _balanced(_shares(net(shown)).numpy(), labels[out])
            if score > best:
                best, chosen = score, [p.detach().clone() for p in net.parameters()]
    first, bias, second, last = (p.double() for p in chosen or net.parameters())
    return lambda seen: _shares(torch.relu(torch.from_numpy(seen).double() @ first.T + bias) @ second.T + last).numpy()


def _loss(logits: torch.Tensor, y: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of classes (B,), weighed; two classes have one logit."""
    if logits.shape[1] == 1:
        return functional.binary_cross_entropy_with_logits(logits[:, 0], y.float(), weight=weight)
    return (weight * functional.cross_entropy(logits, y, reduction="none")).mean()


def _shares(logits: torch.Tensor) -> torch.Tensor:
    """(N, classes) probabilities."""
    if logits.shape[1] == 1:
        return torch.cat([1 - logits.sigmoid(), logits.sigmoid()], dim=1)
    return logits.softmax(dim=1)


def _network(dimension: int, classes: int, generator: torch.Generator) -> nn.Sequential:
    layers = nn.Linear(dimension, HIDDEN), nn.Linear(HIDDEN, 1 if classes == 2 else classes)
    for layer in layers:
        nn.init.normal_(layer.weight, 0, (2 / layer.in_features) ** 0.5, generator=generator)
        nn.init.zeros_(layer.bias)
    return nn.Sequential(layers[0], nn.ReLU(), layers[1])
