from deployments.lru_cache import LRUCache


def test_the_least_recently_used_value_is_evicted() -> None:
    cache: LRUCache[str] = LRUCache(10)
    for key in "abc":
        cache.put(key, key.upper(), 3)
    assert cache.get("a") == "A"
    cache.put("d", "D", 4)
    assert [cache.get(key) for key in "abcd"] == ["A", None, "C", "D"]
    assert cache.nbytes == 10


def test_a_popped_value_is_no_longer_in_the_cache() -> None:
    cache: LRUCache[str] = LRUCache(10)
    cache.put("a", "A", 3)
    assert cache.pop("a") == "A"
    assert cache.pop("a") is None
    assert cache.nbytes == 0


def test_a_value_put_again_counts_once() -> None:
    cache: LRUCache[str] = LRUCache(10)
    cache.put("a", "A", 3)
    cache.put("a", "AA", 6)
    assert (cache.get("a"), cache.nbytes) == ("AA", 6)


def test_a_value_larger_than_the_budget_is_not_cached_and_evicts_nothing_else() -> None:
    cache: LRUCache[str] = LRUCache(10)
    cache.put("a", "A", 3)
    cache.put("b", "B", 3)
    cache.put("b", "BB", 11)
    assert (cache.get("a"), cache.get("b"), cache.nbytes) == ("A", None, 3)
