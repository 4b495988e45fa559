from deployments.captioner.kv_cache_budget import KVCacheBudget
from deployments.captioner.model_config import MoondreamConfig
from deployments.captioner.moondream import Moondream
from deployments.captioner.settings import CaptionerConfig
from deployments.lru_cache import LRUCache
from serve_app.modalities.video import VideoOptions


def test_as_many_sequences_are_reserved_as_fit_and_at_least_one() -> None:
    budget = KVCacheBudget(10, LRUCache(5))
    with budget.reserve(3, max_sequences=8) as first:
        with budget.reserve(3, max_sequences=2) as second:
            pass
    with budget.reserve(3, max_sequences=2) as third:
        pass
    assert (first, second, third) == (3, 1, 2)


def test_an_image_cached_while_sequences_run_stays_within_the_budget() -> None:
    image_cache: LRUCache[str] = LRUCache(6)
    budget = KVCacheBudget(10, image_cache)
    with budget.reserve(3, max_sequences=2):
        with budget.reserve(3, max_sequences=1):
            image_cache.put("a", "a", 6)
        assert image_cache.nbytes == 0
    image_cache.put("a", "a", 6)
    with budget.reserve(3, max_sequences=1):
        pass
    assert image_cache.nbytes == 6


def test_the_defaults_hold_five_frames_of_moondream2_and_an_image_or_three_images() -> None:
    model, config = Moondream(MoondreamConfig()), CaptionerConfig()
    model.uses_int8_kv_cache = True
    nbytes = model.kv_cache_bytes(model.config.text.prefix_attn + 5 + VideoOptions().max_length)
    assert config.cache_mb * 2**20 // nbytes == VideoOptions().num_frames + 1 == 6
    assert config.image_cache_mb * 2**20 // nbytes == 3


def test_recent_images_are_evicted_for_running_sequences() -> None:
    image_cache: LRUCache[str] = LRUCache(6)
    budget = KVCacheBudget(10, image_cache)
    for key in "ab":
        image_cache.put(key, key, 3)
    with budget.reserve(3, max_sequences=2):
        assert image_cache.nbytes == 3
    with budget.reserve(9, max_sequences=1):
        assert image_cache.nbytes == 0
