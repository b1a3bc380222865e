"""Which samples a batch holds."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from stages.train.samplers import balanced_weights, epoch_batches

SAMPLERS = ("shuffle", "identities", "pk", "attributes")
MASK = {"mask": (torch.arange(80) % 4 == 3).long()}  # 20 of 80
SUBJECT = torch.repeat_interleave(torch.arange(20), torch.tensor([1] * 8 + [3] * 8 + [12] * 4))  # 80 sessions
SPECTACLES = (torch.arange(80) % 8 == 0).long()
POSE = (torch.arange(80) % 5 == 0).long()
POSE[3] = -1
LABELS = {"spectacles": SPECTACLES, "pose": POSE, "gender": torch.zeros(80, dtype=torch.long)}


def batches(sampler: str, size: int, seed: int = 0, per_subject: int = 4, subject: Tensor = SUBJECT) -> list[Tensor]:
    return epoch_batches(sampler, subject, LABELS, size, per_subject, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_seed_decides(sampler: str) -> None:
    first, again, other = (torch.stack(batches(sampler, 16, seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.shape == (5, 16)
    assert 0 <= int(first.min()) <= int(first.max()) < 80


def test_shuffled_every_sample_comes_once() -> None:
    """And in the order that training has always had."""
    found = torch.cat(batches("shuffle", 16, seed=4))
    assert torch.equal(found, torch.randperm(80, generator=torch.Generator().manual_seed(4)))


@given(st.integers(2, 40), st.integers(0, 50))
def test_every_identity_comes_once_a_batch_as_far_as_it_allows(size: int, seed: int) -> None:
    for chosen in batches("identities", size, seed):
        counts = torch.bincount(SUBJECT[chosen], minlength=20)
        assert int(counts.max()) - int(counts.min()) <= 1  # of 20 subjects: none twice, or all
        assert len(chosen) == size


def test_identities_come_equally_often_and_their_sessions_in_turn() -> None:
    found = torch.cat(batches("identities", 16))  # five batches: 80 places for 20 subjects
    assert torch.bincount(SUBJECT[found]).tolist() == [4] * 20
    often = found[SUBJECT[found] == 19]
    assert len(set(often.tolist())) == 4  # of its twelve sessions, no session twice


def test_p_subjects_of_k_sessions_each() -> None:
    for chosen in batches("pk", 16, per_subject=4):
        who, counts = torch.unique(SUBJECT[chosen], return_counts=True)
        assert (len(who), set(counts.tolist())) == (4, {4})
        for subject in who[who >= 16]:  # who have twelve sessions
            assert len(set(chosen[SUBJECT[chosen] == subject].tolist())) == 4


def test_more_places_than_subjects() -> None:
    few = SUBJECT.clamp(max=2)
    for chosen in batches("pk", 16, per_subject=4, subject=few):
        assert set(torch.bincount(few[chosen]).tolist()) == {4, 8}


def test_balanced_over_all_attributes_at_once() -> None:
    weights = balanced_weights(LABELS, 80)
    assert float(weights.sum()) == pytest.approx(1)
    for codes in (SPECTACLES, POSE):
        shares = torch.stack([weights[codes == c].sum() for c in (0, 1)])
        assert float(shares[1] / shares.sum()) == pytest.approx(0.5, abs=1e-3)
    drawn = torch.cat([torch.cat(batches("attributes", 8, seed)) for seed in range(40)])
    for codes in (SPECTACLES, POSE):
        known = codes[drawn][codes[drawn] >= 0].float()
        assert float(known.mean()) == pytest.approx(0.5, abs=0.1)
    assert all(len(set(chosen.tolist())) == 16 for chosen in batches("attributes", 16))


def test_each_face_is_masked_with_probability_one_half() -> None:
    draws = [epoch_batches("masks", SUBJECT, MASK, 16, 4, torch.Generator().manual_seed(seed)) for seed in range(40)]
    assert {(len(each), *(len(batch) for batch in each)) for each in draws} == {(3, 16, 16, 16)}  # of 60 bare ones
    masked = torch.stack([MASK["mask"][torch.cat(each)].sum() for each in draws]) / 48
    assert float(masked.double().mean()) == pytest.approx(0.5, abs=0.05)
    assert float(masked.double().std()) == pytest.approx((0.25 / 48) ** 0.5, rel=0.4)  # each by a coin of its own
    found = torch.cat(draws[0])
    counts = torch.bincount(found, minlength=80)
    assert int(counts[MASK["mask"] == 0].max()) == 1
    assert int(counts[MASK["mask"] == 1].max()) - int(counts[MASK["mask"] == 1].min()) <= 1  # they take turns


def test_where_nobody_wears_a_mask_it_shuffles() -> None:
    bare = {"mask": torch.zeros(80, dtype=torch.long)}
    found = epoch_batches("masks", SUBJECT, bare, 16, 4, torch.Generator().manual_seed(4))
    assert torch.equal(torch.cat(found), torch.cat(batches("shuffle", 16, seed=4)))
