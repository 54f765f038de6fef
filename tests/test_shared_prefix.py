"""A shared prefix changes how often image and prompt are run, and no result."""

import json
import logging
from dataclasses import dataclass

import pytest
import torch
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from shared_prefix_cases import BOTH, sampling_rows, trainer
from torch.nn.functional import scaled_dot_product_attention
from trl.trainer.utils import (
    shuffle_sequence_dict,
    split_pixel_values_by_grid,
    split_tensor_dict,
    unsplit_pixel_values_by_grid,
)

from qponder_lib.training.shared_prefix.attention import Layout, shared_prefix_attention
from qponder_lib.training.shared_prefix.packing import ROW, Batch, Prompt, regroup
from qponder_lib.training.shared_prefix.trainer import SharedPrefixTrainer

GRIDS = ((8, 8), (4, 6), (6, 10))
WORDS = 20, 400  # ids of ordinary tokens of the mini tokenizer


@dataclass(frozen=True)
class Case:
    """Groups: their sizes, longest completion, words after each image, images of each."""

    sizes: tuple[int, ...]
    n_completion: int
    words: tuple[int, ...]
    images: tuple[int, ...]


CASES = {
    "groups of several sizes, prompts and completions of several lengths": Case(
        (3, 2, 4), 40, (30, 41, 25), (1, 1, 1)
    ),
    "one image": Case((2,), 20, (9,), (1,)),
    "completions of more than one block, some rows with two images, some with none": Case(
        (2, 3, 2), 300, (12, 12, 20), (2, 1, 0)
    ),
    "a row that shares with none": Case((1, 3), 17, (15, 15), (1, 1)),
}


def batch(config, case, seed=0):
    """A batch as TRL's trainer makes it: shuffled rows, prompts padded left, completions right."""
    chance = torch.Generator().manual_seed(seed)
    prompts = [prompt(config, case, group, chance) for group in range(len(case.sizes))]
    owner = [group for group, size in enumerate(case.sizes) for _ in range(size)]
    owner = [owner[place] for place in torch.randperm(len(owner), generator=chance)]
    width = max(len(ids) for ids, _, _ in prompts)
    rows = len(owner)
    prompt_ids = torch.full((rows, width), config.text_config.pad_token_id)
    prompt_mask = torch.zeros(rows, width, dtype=torch.long)
    for row, group in enumerate(owner):
        ids = prompts[group][0]
        prompt_ids[row, width - len(ids) :] = ids
        prompt_mask[row, width - len(ids) :] = 1
    lengths = torch.randint(1, case.n_completion + 1, (rows,), generator=chance)
    lengths[0] = case.n_completion
    completion_mask = (torch.arange(case.n_completion) < lengths[:, None]).long()
    completions = torch.randint(*WORDS, (rows, case.n_completion), generator=chance)
    completions = completions.where(completion_mask == 1, config.text_config.pad_token_id)
    kinds = (torch.cat([prompt_ids, completions], 1) == config.image_token_id).int()
    return {
        "prompt_ids": prompt_ids,
        "prompt_mask": prompt_mask,
        "completion_ids": completions,
        "completion_mask": completion_mask,
        "advantages": torch.randn(rows, generator=chance),
        "num_items_in_batch": completion_mask.sum(),
        "pixel_values": torch.cat([prompts[group][1] for group in owner]),
        "image_grid_thw": torch.cat([prompts[group][2] for group in owner]),
        "num_images": [case.images[group] for group in owner],
        "mm_token_type_ids": kinds,
    }


def prompt(config, case, group, chance):
    grids = [GRIDS[(group + image) % len(GRIDS)] for image in range(case.images[group])]
    pieces = [torch.randint(*WORDS, (3,), generator=chance)]
    for high, wide in grids:
        middle = [config.image_token_id] * (high * wide // 4)
        pieces.append(
            torch.tensor([config.vision_start_token_id, *middle, config.vision_end_token_id])
        )
    pieces.append(torch.randint(*WORDS, (case.words[group],), generator=chance))
    pixels = torch.randn(sum(high * wide for high, wide in grids), 1536, generator=chance)
    table = torch.tensor([[1, *grid] for grid in grids], dtype=torch.long).view(-1, 3)
    return torch.cat(pieces), pixels, table


def with_past(made, inputs):
    """Add log-probabilities of an earlier policy and of a reference, both near the present one."""
    chance = torch.Generator().manual_seed(1)
    now = logps(made, inputs)[0]
    old, ref = (now + 0.1 * torch.randn(now.shape, generator=chance) for _ in range(2))
    return {**inputs, "old_per_token_logps": old, "ref_per_token_logps": ref}


def loss_and_gradients(made, inputs):
    made.model.train()
    made.model.zero_grad()
    made.current_gradient_accumulation_steps = 1
    loss = made._compute_loss(made.model, inputs)
    loss.backward()
    named = made.model.named_parameters()
    return loss.detach(), {name: one.grad for name, one in named if one.grad is not None}


def distance(one, two):
    return ((one - two).norm() / two.norm()).item()


@pytest.fixture(
    scope="module",
    params=[(False, False), (True, False), (False, True), (True, True)],
    ids=["all weights", "LoRA", "checkpointing", "LoRA and checkpointing"],
)
def pair(request, tmp_path_factory):
    adapters, checkpointing = request.param
    folder = tmp_path_factory.mktemp("pair")
    return [trainer(kind, folder, adapters=adapters, checkpointing=checkpointing) for kind in BOTH]


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plain")
    return [trainer(kind, folder) for kind in BOTH]


@pytest.mark.parametrize("name", CASES)
def test_loss_and_every_gradient_are_those_of_trl(pair, name):
    stock, shared = pair
    inputs = with_past(stock, batch(stock.model.config, CASES[name]))
    before = set(shared._said)
    (loss, gradients), (other_loss, others) = (loss_and_gradients(one, inputs) for one in pair)
    assert shared._said == before, "the shared way was not taken"
    assert distance(other_loss, loss) < 1e-5
    assert others.keys() == gradients.keys()
    assert max(distance(others[one], gradients[one]) for one in gradients) < 1e-5


def test_in_float64_only_the_rounding_of_trls_head_is_left(tmp_path):
    pair = [trainer(kind, tmp_path, beta=0.04) for kind in BOTH]
    inputs = with_past(pair[0], batch(pair[0].model.config, next(iter(CASES.values()))))
    for made in pair:
        made.model.double()
    inputs["pixel_values"] = inputs["pixel_values"].double()
    (loss, gradients), (other_loss, others) = (loss_and_gradients(one, inputs) for one in pair)
    assert distance(other_loss, loss) < 1e-6
    assert max(distance(others[one], gradients[one]) for one in gradients) < 1e-6


def test_checkpointing_is_on_where_it_is_tested(pair, request):
    layers = [
        layer.gradient_checkpointing
        for layer in pair[1].model.modules()
        if type(layer).__name__ == "Qwen2_5_VLDecoderLayer"
    ]
    assert set(layers) == {"checkpointing" in request.node.callspec.id}


def logps(made, inputs, batch_size=None):
    with torch.no_grad():
        return made._get_per_token_logps_and_entropies(
            made.model,
            torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], 1),
            torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], 1),
            inputs["completion_ids"].shape[1],
            batch_size,
            compute_entropy=True,
            **{name: inputs[name] for name in ("pixel_values", "image_grid_thw", "num_images")},
            mm_token_type_ids=inputs["mm_token_type_ids"],
        )[:2]


@pytest.mark.parametrize("batch_size", [None, 4])
def test_log_probabilities_and_entropies_are_those_of_trl_also_in_chunks(plain, batch_size):
    inputs = batch(plain[0].model.config, next(iter(CASES.values())))
    found = [logps(made, inputs, batch_size) for made in plain]
    for stock, shared in zip(*found, strict=True):
        assert torch.allclose(stock, shared, atol=2e-5)
        assert (shared[inputs["completion_mask"] == 0] == 0).all()


def test_a_completion_never_sees_another(plain):
    inputs = batch(plain[1].model.config, Case((4,), 12, (10,), (1,)))
    first = logps(plain[1], inputs)[0]
    changed = {**inputs, "completion_ids": inputs["completion_ids"].clone()}
    changed["completion_ids"][0, 0] += 1
    second = logps(plain[1], changed)[0]
    assert torch.equal(first[1:], second[1:])
    assert not torch.equal(first[0], second[0])


def test_an_completion_masked_as_a_whole_counts_nothing(plain):
    inputs = batch(plain[0].model.config, Case((4,), 12, (10,), (1,)))
    inputs["completion_mask"][1] = 0
    stock, shared = (logps(made, inputs)[0] for made in plain)
    assert (shared[1] == 0).all()
    assert torch.allclose(stock, shared, atol=2e-5)


def test_the_vision_tower_sees_each_image_once(plain):
    inputs = batch(plain[0].model.config, Case((4, 4), 5, (6, 6), (1, 1)))
    seen = []
    hooks = [
        made.model.model.visual.register_forward_pre_hook(
            lambda module, args: seen.append(len(args[0]))
        )
        for made in plain
    ]
    for made in plain:
        logps(made, inputs)
    for hook in hooks:
        hook.remove()
    one_of_each = 8 * 8 + 4 * 6
    assert seen == [4 * one_of_each, one_of_each]


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.integers(1, 7), min_size=1, max_size=3),
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9)), min_size=1, max_size=6),
    st.sampled_from([1, 2]),
    st.integers(1, 5),
)
def test_a_layout_attends_like_a_dense_mask(prompts, completions, repeat, block):
    owners = [owner % len(prompts) for owner, _ in completions]
    lengths = [length for _, length in completions]
    lengths[0] = max(lengths[0], 1)
    sequence = [(group, -1) for group, length in enumerate(prompts) for _ in range(length)]
    sequence += [(owners[row], row) for row, length in enumerate(lengths) for _ in range(length)]
    mask = torch.tensor(
        [
            [
                at <= now and its[0] == mine[0] and its[1] in (-1, mine[1])
                for at, its in enumerate(sequence)
            ]
            for now, mine in enumerate(sequence)
        ]
    )
    torch.manual_seed(0)
    key, value = (torch.randn(1, 2, len(sequence), 4, dtype=torch.float64) for _ in range(2))
    query = torch.randn(1, 2 * repeat, len(sequence), 4, dtype=torch.float64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("qponder_lib.training.shared_prefix.attention.QUERY_BLOCK", block)
        layout = Layout.build(prompts, lengths, owners, repeat, torch.device("cpu"))
    found, _ = shared_prefix_attention(None, query, key, value, layout)
    expected = scaled_dot_product_attention(
        query,
        key.repeat_interleave(repeat, 1),
        value.repeat_interleave(repeat, 1),
        attn_mask=mask,
    )
    assert torch.allclose(found.transpose(1, 2), expected)


def test_rows_share_only_what_is_equal_value_for_value():
    words, others = torch.tensor([1, 2, 3]), torch.tensor([1, 2, 4])
    grid = torch.tensor([[1, 2, 2]])
    picture = torch.arange(8.0).view(4, 2)
    # The same numbers in another order: equal in sum, another picture.
    turned = picture.flip(0)
    rows = [
        Prompt(words, grid, picture),
        Prompt(words, grid, turned),
        Prompt(others, grid, picture),
        Prompt(words.clone(), grid.clone(), picture.clone()),
        Prompt(words),
        Prompt(words, torch.tensor([[1, 1, 4]]), picture),
    ]
    whole, part = (Batch.of(some, []) for some in (rows, rows[1:4]))
    assert whole.group == [0, 1, 2, 0, 3, 4]
    assert whole.first == [0, 1, 2, 4, 5]
    assert part.group == [0, 1, 2]
    assert (whole.shares, part.shares) == (True, False)


def test_rows_that_share_nothing_go_trls_way_and_the_log_says_so(tmp_path, caplog):
    made = trainer(SharedPrefixTrainer, tmp_path, beta=0.0)
    inputs = batch(made.model.config, Case((1,), 6, (5,), (1,)))
    with caplog.at_level(logging.WARNING):
        logps(made, inputs)
        logps(made, inputs)
    said = [line for line in caplog.messages if "no two rows of a batch share" in line]
    assert len(said) == 1


def test_dropout_goes_trls_way_and_the_log_says_so(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        made = trainer(SharedPrefixTrainer, tmp_path, beta=0.0)
        assert not caplog.messages
        made.model.config.text_config.attention_dropout = 0.1
        again = SharedPrefixTrainer(
            model=made.model,
            reward_funcs=made.reward_funcs,
            args=made.args,
            train_dataset=made.train_dataset,
            processing_class=made.processing_class,
        )
    assert "dropout" in again.stock_reason
    assert any("dropout" in line for line in caplog.messages)


def test_groups_stay_whole_where_gradients_are_accumulated(plain):
    config = plain[1].model.config
    inputs = with_past(plain[0], batch(config, Case((4, 4), 9, (5, 7), (1, 1))))
    prompts = inputs["prompt_ids"].tolist()
    order = torch.tensor(sorted(range(8), key=lambda row: prompts[row])).argsort()
    whole = unsplit_pixel_values_by_grid(
        shuffle_sequence_dict(split_pixel_values_by_grid({**inputs, ROW: order}))
    )
    parts = [
        unsplit_pixel_values_by_grid(part)
        for part in split_tensor_dict(split_pixel_values_by_grid(whole), 2)
    ]
    mended = regroup(parts)
    assert [len(part["prompt_ids"].unique(dim=0)) for part in mended] == [1, 1]
    assert [part[ROW].tolist() for part in mended] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    for made in plain:
        torn, kept = (
            [loss_and_gradients(made, part)[0] for part in some] for some in (parts, mended)
        )
        assert sum(torn).item() == pytest.approx(sum(kept).item(), rel=1e-5)


def test_steps_of_accumulated_gradients_end_with_trls_weights(tmp_path):
    ends = []
    for kind in BOTH:
        made = trainer(
            kind,
            tmp_path,
            rows=4,
            gradient_accumulation_steps=2,
            max_steps=2,
            optim="sgd",
            learning_rate=1e-2,
            max_grad_norm=1e9,
            save_strategy="no",
        )
        sides = [(64, 64), (64, 96), (96, 64), (96, 96)]
        made.train_dataset = Dataset.from_list(sampling_rows(sides, [0] * 4, 1))
        start = torch.cat([one.detach().flatten() for one in made.model.parameters()])
        made.train()
        end = torch.cat([one.detach().flatten() for one in made.model.parameters()])
        ends.append(end - start)
    assert ends[0].norm() > 0
    assert distance(ends[1], ends[0]) < 1e-3
    parts = made._buffered_inputs
    assert [len(part["image_grid_thw"].unique(dim=0)) for part in parts] == [1, 1]


def test_a_saved_model_does_not_know_that_it_shared(plain, tmp_path):
    plain[1].model.save_pretrained(tmp_path)
    text = (tmp_path / "config.json").read_text()
    assert "shared_prefix" not in text
    assert json.loads(text)["model_type"] == "qwen2_5_vl"
