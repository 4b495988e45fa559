import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor, nn

from deployments.captioner.generation import Answer, check_fits, generate
from deployments.captioner.moondream import KeyValueCache, Moondream, Prompt
from deployments.captioner.preprocessing import ImageCrops, make_crops
from deployments.errors import DeadlineExceeded, InvalidRequest
from deployments.work import Stop, WorkCancelled
from tests.deployments.captioner.checkpoints import EOS, FIRST_MERGE, colored_noise

IDS = [1, 300, 2, 302, 3]
ANSWER_ID = 3


def _go_on(progress: str) -> None:
    pass


def _crops(model: Moondream, seed: int, width: int = 40, height: int = 30) -> ImageCrops:
    pixels = colored_noise(seed, width, height)
    return make_crops(pixels, model.config.vision, model.config.vision.max_crops)


def _prompt(model: Moondream, seed: int) -> Prompt:
    return Prompt(IDS, model.encode_image(_crops(model, seed), _go_on))


@contextmanager
def _calls(module: nn.Module, on_call: Callable[[int], None] = lambda count: None) -> Iterator[list[int]]:
    """Count the calls of a module of the real model; `on_call` hears the number of each, from 1."""
    count = [0]

    def hook(module: nn.Module, arguments: object, output: object) -> None:
        count[0] += 1
        on_call(count[0])

    handle = module.register_forward_hook(hook)
    try:
        yield count
    finally:
        handle.remove()


@contextmanager
def _bias(model: Moondream, changes: dict[int, float]) -> Iterator[None]:
    """Make some tokens likelier for a while."""
    bias = model.get_parameter("lm_head.bias").data
    before = bias.clone()
    for token, value in changes.items():
        bias[token] = value
    try:
        yield
    finally:
        bias.copy_(before)


def _reference_ids(model: Moondream, prompt: Prompt, count: int) -> list[int]:
    """Greedy ids without any cache: the whole sequence is read anew for every token."""
    ids: list[int] = []
    for _ in range(count):
        longer = Prompt([*prompt.ids, *ids], prompt.image)
        cache = KeyValueCache.allocate(model.config.text, 1, 200, model.dtype)
        ids.append(int(model.prefill(longer, cache, _go_on).argmax()))
    return ids


@pytest.mark.parametrize("has_image", [True, False])
def test_the_cache_changes_no_token(has_image: bool, model: Moondream) -> None:
    prompt = _prompt(model, 1) if has_image else Prompt(IDS)
    [answer] = generate(model, [prompt], 20, _go_on)
    assert answer.ids == _reference_ids(model, prompt, 20)


def test_no_prompts_give_no_answers(model: Moondream) -> None:
    assert generate(model, [], 5, _go_on) == []


def test_the_answer_depends_on_the_picture(model: Moondream) -> None:
    answers = {tuple(generate(model, [_prompt(model, seed)], 12, _go_on)[0].ids) for seed in range(4)}
    assert len(answers) == 4


def test_prompts_decoded_together_are_answered_as_alone(model: Moondream) -> None:
    prompts = [_prompt(model, seed) for seed in range(4)]
    alone = [generate(model, [prompt], 24, _go_on)[0] for prompt in prompts]
    assert generate(model, prompts, 24, _go_on) == alone


def test_prompts_of_different_lengths_are_not_decoded_together(model: Moondream) -> None:
    with pytest.raises(ValueError, match="one length"):
        generate(model, [Prompt([1, 2]), Prompt([1, 2, 3])], 5, _go_on)


def test_an_answer_that_reaches_its_limit_says_so(model: Moondream) -> None:
    [answer] = generate(model, [_prompt(model, 1)], 7, _go_on)
    assert len(answer.ids) == 7
    assert answer.finish_reason == "length"


def test_eos_ends_an_answer_and_is_no_part_of_it(model: Moondream) -> None:
    with _bias(model, {EOS: 1e6}):
        assert generate(model, [_prompt(model, 1)], 7, _go_on) == [Answer([], "stop")]


def test_an_answer_that_ends_early_leaves_its_batch_mates_alone(model: Moondream) -> None:
    prompts = [_prompt(model, seed) for seed in range(4)]

    def end_reasons(eos_bias: float) -> list[str]:
        with _bias(model, {EOS: eos_bias}):
            together = generate(model, prompts, 24, _go_on)
            assert together == [generate(model, [prompt], 24, _go_on)[0] for prompt in prompts]
        return sorted({answer.finish_reason for answer in together})

    # Somewhere between "never" and "at once" some answers end and others do not.
    assert ["length", "stop"] in [end_reasons(float(bias)) for bias in range(0, 40, 2)]


def test_the_answer_token_may_begin_an_answer_and_never_come_later(model: Moondream) -> None:
    with _bias(model, {ANSWER_ID: 1e6}):
        [answer] = generate(model, [_prompt(model, 1)], 6, _go_on)
    assert answer.ids[0] == ANSWER_ID
    assert all(token >= FIRST_MERGE for token in answer.ids[1:])


def test_positions_of_the_prefix_see_each_other_both_ways(model: Moondream) -> None:
    """A change in the last patch reaches what the layers make of the first, and nothing after the prefix does."""
    image = model.encode_image(_crops(model, 1), _go_on).clone()
    changed = image.clone()
    changed[-1] = -image[-1]

    def keys(prompt: Prompt) -> Tensor:
        shape = (2, 1, 4, 60, 16)
        stored = torch.zeros(shape)
        model.prefill(prompt, KeyValueCache(stored, torch.zeros(shape)), _go_on)
        return stored[-1, 0, :, 0]  # the last layer's keys of bos

    assert not torch.equal(keys(Prompt(IDS, image)), keys(Prompt(IDS, changed)))
    torch.testing.assert_close(keys(Prompt(IDS, image)), keys(Prompt([*IDS[:-1], 77], image)))


def test_a_single_tile_costs_one_pass_of_the_vision_tower(model: Moondream) -> None:
    with _calls(model.vision.post_layernorm) as passes:
        model.encode_image(_crops(model, 1), _go_on)
    assert passes == [1]


def test_each_tile_costs_one_more_pass(model: Moondream) -> None:
    crops = _crops(model, 1, width=86, height=60)
    assert crops.tiling == (2, 3)
    with _calls(model.vision.post_layernorm) as passes:
        model.encode_image(crops, _go_on)
    assert passes == [1 + 6]


def test_two_threads_never_mix_their_pictures(model: Moondream) -> None:
    seeds = range(6)
    alone = {seed: generate(model, [_prompt(model, seed)], 16, _go_on)[0] for seed in seeds}
    assert len({tuple(answer.ids) for answer in alone.values()}) >= 5
    mixed: list[int] = []
    start = threading.Barrier(2)

    def work(order: Sequence[int]) -> None:
        start.wait()
        for seed in list(order) * 8:
            if generate(model, [_prompt(model, seed)], 16, _go_on)[0] != alone[seed]:
                mixed.append(seed)

    threads = [threading.Thread(target=work, args=(order,)) for order in (seeds, seeds[::-1])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert mixed == []


def _cancel_from_another_thread(stop: Stop) -> None:
    canceller = threading.Thread(target=stop.cancel)
    canceller.start()
    canceller.join()


def test_decoding_ends_within_a_token_when_the_caller_leaves(model: Moondream) -> None:
    prompt, stop = _prompt(model, 1), Stop(float("inf"))
    leave_at_5 = lambda step: _cancel_from_another_thread(stop) if step == 5 else None  # noqa: E731
    with _calls(model.lm_head, leave_at_5) as steps, pytest.raises(WorkCancelled):
        generate(model, [prompt], 1000, stop.check)
    assert steps == [5]


def test_decoding_ends_within_a_token_of_its_deadline_and_tells_how_far_it_got(model: Moondream) -> None:
    prompt, stop = _prompt(model, 1), Stop(float("inf"))

    def pass_the_deadline(step: int) -> None:
        if step == 5:
            stop.deadline = time.time()

    with (
        _calls(model.lm_head, pass_the_deadline) as steps,
        pytest.raises(DeadlineExceeded, match="^5 of at most 1000 tokens were written$"),
    ):
        generate(model, [prompt], 1000, stop.check)
    assert steps == [5]


def test_reading_a_prompt_ends_within_a_layer(model: Moondream) -> None:
    prompt, stop = _prompt(model, 1), Stop(float("inf"))
    with (
        _calls(model.text.layers[0], lambda call: _cancel_from_another_thread(stop)) as first,
        _calls(model.text.layers[1]) as second,
        pytest.raises(WorkCancelled),
    ):
        generate(model, [prompt], 10, stop.check)
    assert (first, second) == ([1], [0])


def test_looking_at_a_picture_ends_within_a_layer(model: Moondream) -> None:
    stop = Stop(float("inf"))
    leave_in_third_view = lambda call: _cancel_from_another_thread(stop) if call == 3 else None  # noqa: E731
    with (
        _calls(model.vision.encoder.layers[1], leave_in_third_view),
        _calls(model.vision.encoder.layers[2]) as last,
        pytest.raises(WorkCancelled),
    ):
        model.encode_image(_crops(model, 1, width=86, height=60), stop.check)
    assert last == [2]


def test_a_late_picture_tells_how_many_views_were_seen(model: Moondream) -> None:
    with pytest.raises(DeadlineExceeded, match="^0 of 7 views of the picture were encoded$"):
        model.encode_image(_crops(model, 1, width=86, height=60), Stop(0.0).check)


def test_an_answer_that_just_fits_is_written(model: Moondream) -> None:
    room = model.config.text.max_context - 37 - len(IDS)
    with _bias(model, {EOS: 1e6}):
        assert generate(model, [_prompt(model, 1)], room, _go_on)[0].finish_reason == "stop"
    with pytest.raises(InvalidRequest, match=f"max_length must be between 1 and {room} .*, not {room + 1}"):
        generate(model, [_prompt(model, 1)], room + 1, _go_on)


@pytest.mark.parametrize("max_new_tokens", [0, -1])
def test_an_answer_of_no_tokens_is_refused(max_new_tokens: int, model: Moondream) -> None:
    with pytest.raises(InvalidRequest, match="between 1 and 1270"):
        check_fits(model.config, 10, max_new_tokens)


def test_a_prompt_that_fills_the_context_is_refused_with_how_much_to_cut(model: Moondream) -> None:
    with pytest.raises(InvalidRequest, match="Shorten it by at least 21 tokens"):
        check_fits(model.config, 1300, 10)
