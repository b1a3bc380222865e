"""Which samples make up the batches of an epoch. All follows from a generator: the same seed gives the same batches, in
one process or in several, and a run that is taken up again in the middle of an epoch goes on with those that are left.

- ``shuffle``: every sample once, in any order.
- ``identities``: every subject once a batch, as far as the batch allows: with more subjects than places none comes
  twice, with fewer all come equally often. A subject's sessions take turns.
- ``pk``: P subjects with K sessions each; a subject with fewer sessions gives some twice.
- ``attributes``: drawn so that all classes of each attribute come equally often, none twice in a batch.
- ``masks``: every bare session once an epoch, but that each place of a batch has, with probability one half, a masked
  session instead; those take turns. Without masked sessions, ``shuffle``.

Whichever it is, an epoch has as many batches as there are samples for (with ``masks``, bare ones).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping

import torch
from torch import Generator, Tensor

ROUNDS = 50  # of raking; shares of five attributes agree to 1e-3 much sooner


def epoch_batches(
    sampler: str, subject: Tensor, labels: Mapping[str, Tensor], size: int, per_subject: int, rng: Generator
) -> list[Tensor]:
    """Indices of the samples of each batch, (size,) each.

    Parameters
    ----------
    sampler : str
        One of those above.
    subject : Tensor (N,) int64
        The subject of each sample, from 0.
    labels : dict of Tensor (N,)
        By attribute, -1 where missing; for ``attributes`` and ``masks``.
    size : int
        Of a batch, at most N; with ``pk`` a multiple of ``per_subject``.
    per_subject : int
        K of ``pk``.
    """
    count = len(subject) // size
    if sampler == "shuffle":
        order = torch.randperm(len(subject), generator=rng)
        return list(order[: count * size].split(size))  # one face alone has no variance
    if sampler == "attributes":
        weights = balanced_weights(labels, len(subject))
        return [torch.multinomial(weights, size, generator=rng) for _ in range(count)]
    if sampler == "masks":
        return _masked_half(labels["mask"], size, rng)
    each = per_subject if sampler == "pk" else 1
    sessions = [_turns(torch.nonzero(subject == s).squeeze(1), rng) for s in range(int(subject.max()) + 1)]
    subjects = _subjects(len(sessions), size // each, rng)
    return [torch.tensor([next(sessions[s]) for s in next(subjects) for _ in range(each)]) for _ in range(count)]


def _masked_half(masked: Tensor, size: int, rng: Generator) -> list[Tensor]:
    """Batches over the bare sessions, of which each place goes to the next masked session with probability one half."""
    worn = torch.nonzero(masked == 1).squeeze(1)
    bare = torch.nonzero(masked != 1).squeeze(1)
    order = bare[torch.randperm(len(bare), generator=rng)]
    order = order[: len(bare) // size * size]
    if len(worn):
        chosen = torch.rand(len(order), generator=rng) < 0.5
        turns = _turns(worn, rng)
        order[chosen] = torch.tensor([next(turns) for _ in range(int(chosen.sum()))], dtype=torch.int64)
    return list(order.split(size)) if len(order) else []


def _turns(samples: Tensor, rng: Generator) -> Iterator[int]:
    """A subject's samples in turn, in another order each time round."""
    while True:
        yield from samples[torch.randperm(len(samples), generator=rng)].tolist()


def _subjects(count: int, places: int, rng: Generator) -> Iterator[list[int]]:
    """Subjects for one batch after another: all of them as often as they fit, and for the rest none twice."""
    queue: deque[int] = deque()
    while True:
        whole, rest = divmod(places, count)
        batch = list(range(count)) * whole
        chosen: list[int] = []
        waiting: list[int] = []
        while len(chosen) < rest:
            if not queue:
                queue.extend(torch.randperm(count, generator=rng).tolist())
            one = queue.popleft()
            (waiting if one in chosen else chosen).append(one)
        queue.extendleft(reversed(waiting))  # they are the first of the next batch
        yield batch + chosen


def balanced_weights(labels: Mapping[str, Tensor], count: int) -> Tensor:
    """Weights (count,) with which the classes of each attribute come equally often among the samples that have a label.

    By raking: the weights of one attribute's classes after another's are scaled to be equal, until all agree.
    """
    weights = torch.ones(count, dtype=torch.float64)
    for _ in range(ROUNDS):
        for codes in labels.values():
            known = codes >= 0
            present, place = torch.unique(codes[known], return_inverse=True)
            if len(present) < 2:
                continue
            mass = torch.zeros(len(present), dtype=torch.float64).index_add(0, place, weights[known])
            weights[known] *= (mass.sum() / len(present) / mass)[place]
    return weights / weights.sum()
