from deployments.captioner.architecture import MoondreamConfig
from deployments.captioner.memory import KeyValueMemory, RecentlyUsed
from deployments.captioner.moondream import Moondream
from deployments.captioner.settings import CaptionerConfig
from serve_app.modalities.video import VideoOptions


def test_the_least_recently_used_makes_room() -> None:
    kept: RecentlyUsed[str] = RecentlyUsed(10)
    for key in "abc":
        kept.put(key, key.upper(), 3)
    assert kept.get("a") == "A"
    kept.put("d", "D", 4)
    assert [kept.get(key) for key in "abcd"] == ["A", None, "C", "D"]
    assert kept.nbytes == 10


def test_what_is_taken_is_nobody_elses() -> None:
    kept: RecentlyUsed[str] = RecentlyUsed(10)
    kept.put("a", "A", 3)
    assert kept.take("a") == "A"
    assert kept.take("a") is None
    assert kept.nbytes == 0


def test_a_value_put_again_counts_once() -> None:
    kept: RecentlyUsed[str] = RecentlyUsed(10)
    kept.put("a", "A", 3)
    kept.put("a", "AA", 6)
    assert (kept.get("a"), kept.nbytes) == ("AA", 6)


def test_what_is_larger_than_the_budget_is_not_kept_and_costs_the_others_nothing() -> None:
    kept: RecentlyUsed[str] = RecentlyUsed(10)
    kept.put("a", "A", 3)
    kept.put("b", "B", 3)
    kept.put("b", "BB", 11)
    assert (kept.get("a"), kept.get("b"), kept.nbytes) == ("A", None, 3)


def test_as_many_sequences_run_as_fit_and_at_least_one() -> None:
    memory = KeyValueMemory(10, RecentlyUsed(5))
    with memory.reserve(3, wanted=8) as first:
        with memory.reserve(3, wanted=2) as second:
            pass
    with memory.reserve(3, wanted=2) as third:
        pass
    assert (first, second, third) == (3, 1, 2)


def test_an_image_kept_while_others_run_stays_within_the_whole() -> None:
    kept: RecentlyUsed[str] = RecentlyUsed(6)
    memory = KeyValueMemory(10, kept)
    with memory.reserve(3, wanted=2):
        with memory.reserve(3, wanted=1):
            kept.put("a", "a", 6)
        assert kept.nbytes == 0
    kept.put("a", "a", 6)
    with memory.reserve(3, wanted=1):
        pass
    assert kept.nbytes == 6


def test_the_defaults_hold_five_frames_of_moondream2_and_an_image_or_three_images() -> None:
    model, config = Moondream(MoondreamConfig()), CaptionerConfig()
    model.has_int8_caches = True
    nbytes = model.cache_bytes(model.config.text.prefix_attn + 5 + VideoOptions().max_length)
    assert config.cache_mb * 2**20 // nbytes == VideoOptions().num_frames + 1 == 6
    assert config.image_cache_mb * 2**20 // nbytes == 3


def test_recent_images_make_room_for_running_sequences() -> None:
    kept: RecentlyUsed[str] = RecentlyUsed(6)
    memory = KeyValueMemory(10, kept)
    for key in "ab":
        kept.put(key, key, 3)
    with memory.reserve(3, wanted=2):
        assert kept.nbytes == 3
    with memory.reserve(9, wanted=1):
        assert kept.nbytes == 0
