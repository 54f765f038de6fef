"""Completions sampled over a shared prefix are those that TRL samples."""

import logging

import pytest
import torch
from shared_prefix_cases import BOTH, sampling_rows, trainer

from qponder_lib.training.shared_prefix.rollout import until_end
from qponder_lib.training.shared_prefix.trainer import SharedPrefixTrainer


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plain")
    return [trainer(kind, folder) for kind in BOTH]


@pytest.mark.parametrize(
    ("sides", "words"),
    [(((128, 128), (64, 64)), (0, 0)), (((128, 128), (192, 96)), (0, 5))],
    ids=["one prompt", "prompts of two lengths"],
)
def test_the_same_random_state_gives_the_same_completions_as_trl(plain, sides, words):
    found = []
    for made in plain:
        torch.manual_seed(3)
        made.model.train()
        output = made._generate_and_score_completions(sampling_rows(sides, words, 4))
        found.append({**output, "next": torch.rand(3)})
    stock, shared = found
    assert shared["completion_mask"].sum(1).unique().numel() > 2, "completions of one length only"
    assert torch.equal(stock["completion_ids"], shared["completion_ids"])
    assert torch.equal(stock["next"], shared["next"])
    assert torch.allclose(stock["ref_per_token_logps"], shared["ref_per_token_logps"], atol=2e-5)


def test_prompts_without_images_share_as_well(plain):
    rows = [
        {"prompt": [{"role": "user", "content": text}]}
        for text in ("sharp", "sharp and clean")
        for _ in range(4)
    ]
    found = []
    for made in plain:
        torch.manual_seed(1)
        made.model.train()
        found.append(made._generate_and_score_completions(rows)["completion_ids"])
    assert torch.equal(*found)


def test_adapters_sample_the_same_completions_and_their_reference_is_without_them(tmp_path):
    found = []
    for kind in BOTH:
        made = trainer(kind, tmp_path, adapters=True)
        torch.manual_seed(2)
        made.model.train()
        found.append(made._generate_and_score_completions(sampling_rows([(96, 64)], [0], 4)))
    stock, shared = found
    assert torch.equal(stock["completion_ids"], shared["completion_ids"])
    assert torch.allclose(stock["ref_per_token_logps"], shared["ref_per_token_logps"], atol=2e-5)


def test_the_same_image_drawn_twice_is_two_groups(plain):
    rows = sampling_rows([(64, 64)], [0], 8)
    found = []
    for made in plain:
        torch.manual_seed(4)
        made.model.train()
        before = set(getattr(made, "_said", ()))
        found.append(made._generate_and_score_completions(rows)["completion_ids"])
        assert set(getattr(made, "_said", ())) == before
    assert torch.equal(*found)


def test_rows_that_are_no_whole_groups_are_sampled_trls_way(tmp_path, caplog):
    made = trainer(SharedPrefixTrainer, tmp_path, beta=0.0)
    one, two = sampling_rows([(64, 64), (64, 96)], [0, 0], 1)
    made.model.train()
    with caplog.at_level(logging.WARNING):
        made._generate_and_score_completions([one, two, one, two])
    assert any("not whole groups" in line for line in caplog.messages)


def test_a_completion_ends_with_its_first_end_token():
    rows = torch.tensor([[5, 9, 0, 9], [9, 0, 0, 0], [5, 6, 7, 8]])
    assert until_end(rows, [9]) == [[5, 9], [9], [5, 6, 7, 8]]
