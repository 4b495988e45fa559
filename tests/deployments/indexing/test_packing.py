from hypothesis import given
from hypothesis import strategies as st

from deployments.indexing.packing import pack, pack_early


def test_chunks_are_of_nearly_equal_sizes() -> None:
    assert sorted(len(chosen) for chosen in pack([10] * 21, capacity=200)) == [10, 11]


@given(st.lists(st.tuples(st.integers(1, 30), st.booleans()), max_size=40), st.integers(30, 100))
def test_every_sentence_is_in_one_chunk(items: list[tuple[int, bool]], capacity: int) -> None:
    sizes = [size for size, _ in items]
    ranges = pack(sizes, capacity, [is_good for _, is_good in items][1:])
    assert [index for chosen in ranges for index in chosen] == list(range(len(sizes)))
    assert all(sum(sizes[index] for index in chosen) <= capacity for chosen in ranges)


@given(st.lists(st.integers(1, 30), max_size=40), st.integers(30, 100))
def test_where_all_cuts_are_alike_there_are_as_few_chunks_as_possible(sizes: list[int], capacity: int) -> None:
    assert len(pack(sizes, capacity)) == len(pack_early(sizes, capacity, enough=capacity))


def test_a_cut_between_paragraphs_is_worth_a_chunk_more() -> None:
    is_end_of_paragraph = [False, False, True] * 4
    assert pack([50] * 12, 200, is_end_of_paragraph[:-1]) == [range(0, 3), range(3, 6), range(6, 9), range(9, 12)]


def test_a_sentence_over_the_capacity_is_alone() -> None:
    assert pack([5, 300, 5], capacity=200) == [range(0, 1), range(1, 2), range(2, 3)]


def test_a_chunk_may_end_as_soon_as_it_has_enough() -> None:
    assert pack_early([3, 3, 9, 4, 20], capacity=24, enough=8) == [range(0, 3), range(3, 5)]
