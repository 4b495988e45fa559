"""Voices are found in drawn vectors whose number is known."""

from itertools import permutations

import numpy as np
import pytest
from numpy.typing import NDArray

from deployments.transcriber.speakers import clustering
from deployments.transcriber.speakers.clustering import Weights, find_voices, most_similar
from deployments.transcriber.speakers.encoder import Vectors


def draw(counts: list[int], spread: float = 0.8, seed: int = 0) -> tuple[Vectors, Weights, NDArray[np.intp]]:
    """Return vectors around one for each voice, in random order, their seconds, and the number of each one's voice.

    With a spread of 0.8, two vectors of a voice have a cosine similarity of 0.6, and those of two voices one around 0.
    """
    chance = np.random.default_rng(seed)
    voices = np.linalg.qr(chance.standard_normal((192, len(counts))))[0].T
    owners = chance.permutation(np.repeat(np.arange(len(counts)), counts))
    noise = chance.standard_normal((len(owners), 192)) / np.sqrt(192)
    vectors = voices[owners] + spread * noise
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit.astype(np.float32), np.full(len(owners), 1.5), owners


def share_right(found: NDArray[np.intp], owners: NDArray[np.intp], num_voices: int) -> float:
    return max(float(np.mean(np.array(order)[owners] == found)) for order in permutations(range(num_voices)))


@pytest.mark.parametrize("counts", [[30], [40, 40], [60, 10], [30, 30, 30], [50, 20, 20, 5]])
@pytest.mark.parametrize("is_given", [False, True])
def test_all_voices_are_found(counts: list[int], *, is_given: bool) -> None:
    vectors, seconds, owners = draw(counts)
    voices = find_voices(vectors, seconds, len(counts) if is_given else None)
    assert len(voices) == len(counts)
    assert np.abs(np.linalg.norm(voices, axis=1) - 1).max() < 1e-5
    assert share_right(most_similar(vectors, voices), owners, len(counts)) == 1


def test_a_long_recording_is_clustered_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clustering, "_MAX_VECTORS", 40)
    sizes: list[int] = []
    merge_all = clustering._merge_all
    monkeypatch.setattr(
        clustering, "_merge_all", lambda clusters: (sizes.append(len(clusters.weights)), merge_all(clusters))[1]
    )
    vectors, seconds, owners = draw([200, 100, 50])
    voices = find_voices(vectors, seconds)
    assert max(sizes) <= 40 < len(vectors)
    assert len(voices) == 3
    assert share_right(most_similar(vectors, voices), owners, 3) == 1


def test_merging_is_that_of_average_linkage() -> None:
    vectors, seconds, _ = draw([6, 5, 4], spread=1.2)
    merges = clustering._merge_all(clustering._Clusters(vectors.astype(np.float64), seconds))
    clusters = {number: [number] for number in range(len(vectors))}
    for merge in merges:
        pairs = [(a, b) for a in clusters for b in clusters if a < b]
        mean = {pair: np.mean(vectors[clusters[pair[0]]] @ vectors[clusters[pair[1]]].T) for pair in pairs}
        best = max(pairs, key=lambda pair: mean[pair])
        assert {merge.into, merge.other} == set(best)
        assert merge.similarity == pytest.approx(mean[best], abs=1e-5)
        clusters[merge.into] += clusters.pop(merge.other)
    assert len(clusters) == 1


def test_a_cough_is_no_voice_of_its_own() -> None:
    vectors, _, owners = draw([30, 30, 1])
    voices = find_voices(vectors, np.where(owners == 2, 1.0, 1.5))
    assert len(voices) == 2


def test_of_more_voices_than_there_are_the_small_ones_are_merged() -> None:
    vectors, seconds, owners = draw([40, 40, 4, 4])
    voices = find_voices(vectors, seconds, 2)
    assert len(voices) == 2
    found = most_similar(vectors, voices)
    assert len(set(found[owners == 0])) == len(set(found[owners == 1])) == 1
    assert set(found[owners == 0]) != set(found[owners == 1])


def test_one_voice_is_divided_when_two_are_known_to_be_there() -> None:
    vectors, seconds, _ = draw([40])
    assert len(find_voices(vectors, seconds)) == 1
    assert len(find_voices(vectors, seconds, 2)) == 2


@pytest.mark.parametrize("num_voices", [None, 1, 2, 16])
def test_few_vectors_are_enough(num_voices: int | None) -> None:
    vectors, seconds, _ = draw([1, 1])
    assert len(find_voices(vectors[:1], seconds[:1], num_voices)) == 1
    assert len(find_voices(vectors, seconds, num_voices)) == (1 if num_voices == 1 else 2)
