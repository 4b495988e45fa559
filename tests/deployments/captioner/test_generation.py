import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor, nn

from deployments.cancellation import Cancellation, WorkCancelled
from deployments.captioner.generation import GeneratedTokens, check_fits_context, generate
from deployments.captioner.moondream import CheckCancelled, Moondream
from deployments.captioner.preprocessing import ImageCrops, make_crops
from deployments.errors import DeadlineExceeded, InvalidRequest
from deployments.inference.kv_cache import KeyValueCache
from tests.deployments.captioner.checkpoints import EOS, FIRST_MERGE, colored_noise

IDS = [1, 300, 2, 302, 3]
ANSWER_ID = 3


def _never_cancelled(progress: str) -> None:
    pass


def _crops(model: Moondream, seed: int, width: int = 40, height: int = 30) -> ImageCrops:
    pixels = colored_noise(seed, width, height)
    return make_crops(pixels, model.config.vision, model.config.vision.max_crops)


def _image(model: Moondream, seed: int) -> Tensor:
    return model.encode_image(_crops(model, seed), _never_cancelled)


def _prefilled(
    model: Moondream, image: Tensor | None, check_cancelled: CheckCancelled = _never_cancelled
) -> KeyValueCache:
    """Return a KV cache that holds the image's prefix; an empty one for None."""
    cache = model.new_kv_cache(model.config.text.max_context)
    if image is not None:
        model.prefill_image(image, cache, check_cancelled)
    return cache


def _answers(
    model: Moondream,
    images: Sequence[Tensor | None],
    max_new_tokens: int,
    check_cancelled: CheckCancelled = _never_cancelled,
) -> list[GeneratedTokens]:
    return generate(
        model, IDS, [_prefilled(model, image, check_cancelled) for image in images], max_new_tokens, check_cancelled
    )


@contextmanager
def _count_calls(module: nn.Module, on_call: Callable[[int], None] = lambda count: None) -> Iterator[list[int]]:
    """Count the calls of a module of the model; `on_call` gets the number of each, from 1."""
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
def _changed_bias(model: Moondream, changes: dict[int, float]) -> Iterator[None]:
    """Temporarily change the bias of some tokens' logits."""
    bias = model.get_parameter("text.lm_head.bias").data
    before = bias.clone()
    for token, value in changes.items():
        bias[token] = value
    try:
        yield
    finally:
        bias.copy_(before)


def _reference_ids(model: Moondream, image: Tensor | None, count: int) -> list[int]:
    """Greedy ids without a KV cache: the whole sequence is prefilled again for every token."""
    ids: list[int] = []
    for _ in range(count):
        ids.append(int(model.prefill_prompt([*IDS, *ids], _prefilled(model, image), _never_cancelled).argmax()))
    return ids


@pytest.mark.parametrize("has_image", [True, False])
def test_the_kv_cache_does_not_change_any_token(has_image: bool, model: Moondream) -> None:
    image = _image(model, 1) if has_image else None
    [answer] = _answers(model, [image], 20)
    assert answer.ids == _reference_ids(model, image, 20)


def test_no_sequences_give_no_answers(model: Moondream) -> None:
    assert _answers(model, [], 5) == []


def test_the_answer_depends_on_the_image(model: Moondream) -> None:
    answers = {tuple(_answers(model, [_image(model, seed)], 12)[0].ids) for seed in range(4)}
    assert len(answers) == 4


def test_sequences_decoded_together_get_the_same_answers_as_alone(model: Moondream) -> None:
    images = [_image(model, seed) for seed in range(4)]
    alone = [_answers(model, [image], 24)[0] for image in images]
    assert _answers(model, images, 24) == alone


def test_an_answer_that_reaches_its_limit_says_so(model: Moondream) -> None:
    [answer] = _answers(model, [_image(model, 1)], 7)
    assert len(answer.ids) == 7
    assert answer.finish_reason == "length"


def test_eos_ends_an_answer_and_is_not_part_of_it(model: Moondream) -> None:
    with _changed_bias(model, {EOS: 1e6}):
        assert _answers(model, [_image(model, 1)], 7) == [GeneratedTokens([], "stop")]


def test_an_answer_that_ends_early_does_not_change_the_rest_of_the_batch(model: Moondream) -> None:
    images = [_image(model, seed) for seed in range(4)]

    def finish_reasons(eos_bias: float) -> list[str]:
        with _changed_bias(model, {EOS: eos_bias}):
            together = _answers(model, images, 24)
            assert together == [_answers(model, [image], 24)[0] for image in images]
        return sorted({answer.finish_reason for answer in together})

    # For some bias between "never stops" and "stops at once", some answers end early and others do not.
    assert ["length", "stop"] in [finish_reasons(float(bias)) for bias in range(0, 40, 2)]


def test_the_answer_token_can_only_be_the_first_of_an_answer(model: Moondream) -> None:
    with _changed_bias(model, {ANSWER_ID: 1e6}):
        [answer] = _answers(model, [_image(model, 1)], 6)
    assert answer.ids[0] == ANSWER_ID
    assert all(token >= FIRST_MERGE for token in answer.ids[1:])


def test_attention_is_bidirectional_within_the_prefix_and_causal_after_it(model: Moondream) -> None:
    """A change in the last patch changes the keys of the first position; a change after the prefix does not."""
    image = model.encode_image(_crops(model, 1), _never_cancelled).clone()
    changed = image.clone()
    changed[-1] = -image[-1]

    def keys_of_bos(image: Tensor, ids: list[int]) -> Tensor:
        """Return the keys of the first position in the last layer."""
        cache = _prefilled(model, image)
        model.prefill_prompt(ids, cache, _never_cancelled)
        return cache.read(1, 60)[0][:, 0]

    assert not torch.equal(keys_of_bos(image, IDS), keys_of_bos(changed, IDS))
    torch.testing.assert_close(keys_of_bos(image, IDS), keys_of_bos(image, [*IDS[:-1], 77]))


def test_a_1x1_tiling_takes_one_pass_of_the_vision_tower(model: Moondream) -> None:
    with _count_calls(model.vision.post_ln) as passes:
        model.encode_image(_crops(model, 1), _never_cancelled)
    assert passes == [1]


def test_each_local_crop_takes_one_more_pass(model: Moondream) -> None:
    crops = _crops(model, 1, width=86, height=60)
    assert crops.tiling == (2, 3)
    with _count_calls(model.vision.post_ln) as passes:
        model.encode_image(crops, _never_cancelled)
    assert passes == [1 + 6]


def test_concurrent_threads_never_mix_up_their_images(model: Moondream) -> None:
    seeds = range(6)
    alone = {seed: _answers(model, [_image(model, seed)], 16)[0] for seed in seeds}
    assert len({tuple(answer.ids) for answer in alone.values()}) >= 5
    mixed: list[int] = []
    start = threading.Barrier(2)

    def work(order: Sequence[int]) -> None:
        start.wait()
        for seed in list(order) * 8:
            if _answers(model, [_image(model, seed)], 16)[0] != alone[seed]:
                mixed.append(seed)

    threads = [threading.Thread(target=work, args=(order,)) for order in (seeds, seeds[::-1])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert mixed == []


def _cancel_from_another_thread(cancellation: Cancellation) -> None:
    canceller = threading.Thread(target=cancellation.cancel)
    canceller.start()
    canceller.join()


def test_decoding_stops_within_one_step_when_cancelled(model: Moondream) -> None:
    image, cancellation = _image(model, 1), Cancellation(float("inf"))
    cancel_at_5 = lambda step: _cancel_from_another_thread(cancellation) if step == 5 else None  # noqa: E731
    with _count_calls(model.text.lm_head, cancel_at_5) as steps, pytest.raises(WorkCancelled):
        _answers(model, [image], 1000, cancellation.check)
    assert steps == [5]


def test_decoding_stops_within_one_step_of_its_deadline_and_says_how_far_it_got(model: Moondream) -> None:
    image, cancellation = _image(model, 1), Cancellation(float("inf"))

    def pass_the_deadline(step: int) -> None:
        if step == 5:
            cancellation.deadline = time.time()

    with (
        _count_calls(model.text.lm_head, pass_the_deadline) as steps,
        pytest.raises(DeadlineExceeded, match="^5 of at most 1000 tokens were generated$"),
    ):
        _answers(model, [image], 1000, cancellation.check)
    assert steps == [5]


def test_the_prefill_of_a_prompt_stops_within_one_layer(model: Moondream) -> None:
    image, cancellation = _image(model, 1), Cancellation(float("inf"))
    with (
        _count_calls(model.text.blocks[0], lambda call: _cancel_from_another_thread(cancellation)) as first,
        _count_calls(model.text.blocks[1]) as second,
        pytest.raises(WorkCancelled),
    ):
        _answers(model, [image], 10, cancellation.check)
    assert (first, second) == ([1], [0])


def test_encoding_an_image_stops_within_one_layer(model: Moondream) -> None:
    cancellation = Cancellation(float("inf"))
    cancel_in_third_crop = lambda call: _cancel_from_another_thread(cancellation) if call == 3 else None  # noqa: E731
    with (
        _count_calls(model.vision.blocks[1], cancel_in_third_crop),
        _count_calls(model.vision.blocks[2]) as last,
        pytest.raises(WorkCancelled),
    ):
        model.encode_image(_crops(model, 1, width=86, height=60), cancellation.check)
    assert last == [2]


def test_the_deadline_error_says_how_many_crops_were_encoded(model: Moondream) -> None:
    with pytest.raises(DeadlineExceeded, match="^0 of 7 crops of the image were encoded$"):
        model.encode_image(_crops(model, 1, width=86, height=60), Cancellation(0.0).check)


def test_an_answer_that_just_fits_is_generated(model: Moondream) -> None:
    room = model.config.text.max_context - 37 - len(IDS)
    check_fits_context(model.config, 37 + len(IDS), room)
    [answer] = _answers(model, [_image(model, 1)], room)
    assert len(answer.ids) == room
    with pytest.raises(InvalidRequest, match=f"max_length must be between 1 and {room} .*, not {room + 1}"):
        check_fits_context(model.config, 37 + len(IDS), room + 1)


@pytest.mark.parametrize("max_new_tokens", [0, -1])
def test_an_answer_without_tokens_is_rejected(max_new_tokens: int, model: Moondream) -> None:
    with pytest.raises(InvalidRequest, match="between 1 and 1270"):
        check_fits_context(model.config, 10, max_new_tokens)


def test_a_prompt_that_fills_the_context_is_rejected_with_how_much_to_cut(model: Moondream) -> None:
    with pytest.raises(InvalidRequest, match="Shorten it by at least 21 tokens"):
        check_fits_context(model.config, 1300, 10)
