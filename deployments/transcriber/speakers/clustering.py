"""Finds how many voices there are in vectors, and what each is like: agglomerative clustering with average linkage."""

import math
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from deployments.transcriber.speakers.encoder import Vectors

Weights = NDArray[np.float64]
"""Seconds of speech that each vector stands for, shape (n,)."""

USUAL_WITHIN, USUAL_BETWEEN = 0.55, 0.2
"""Cosine similarity on average of the parts of a voice, and of two voices, in windows of 1.5 s.

Of 9 speakers of LibriSpeech and VCTK, they are 0.47 to 0.63 and -0.01 to 0.25; in noise that changes, the first goes
down to 0.32, and on the telephone the second goes up to 0.37.
"""
HIGHEST_BETWEEN, LOWEST_WITHIN = 0.45, 0.25
"""Clusters with more similarity than the one are always one voice, those with less than the other never."""
MIN_VOICE_S = 3.0
"""Windows of together fewer seconds, such as a cough or a laugh, are no voice of their own..."""
MIN_VOICE_SHARE = 0.2
"""...unless they are this share of a short recording."""
_MAX_VECTORS = 1200
"""Clustered at once, in 12 MB."""
_MAX_ROUNDS = 10
"""Of assigning vectors to voices; mostly two are enough."""


def find_voices(vectors: Vectors, seconds: Weights, num_voices: int | None = None) -> Vectors:
    """Return the mean vector of each voice, normalized, shape (number of voices, vector_dim).

    There is at least one vector. With `num_voices`, so many are found if there are so many vectors.
    """
    clusters = _Clusters(vectors.astype(np.float64), seconds)
    while len(clusters.weights) > _MAX_VECTORS:
        clusters = _half_as_many(clusters)
    merges = _merge_all(clusters)
    threshold = _threshold(clusters.weights, merges)
    voices = clusters.after([merge for merge in merges if merge.similarity >= threshold]).large()
    if num_voices is not None and len(voices.weights) > num_voices:
        voices = _merge_small(voices, num_voices)
    elif num_voices is not None and len(voices.weights) < num_voices:
        voices = clusters.after(merges[: _last_step_with(num_voices, clusters.weights, merges)]).largest(num_voices)
    return _refined(vectors, seconds, voices.means)


def most_similar(vectors: Vectors, voices: Vectors) -> NDArray[np.intp]:
    """Return the number of the voice that each vector is most like."""
    numbers: NDArray[np.intp] = np.argmax(vectors @ voices.T, axis=1)
    return numbers


class _Merge(NamedTuple):
    """Cluster `other` becomes part of cluster `into`."""

    similarity: float
    into: int
    other: int


class _Clusters(NamedTuple):
    means: NDArray[np.float64]
    """Of each cluster's vectors, not normalized, shape (n, vector_dim): the product of two is the mean cosine
    similarity of their vectors."""
    weights: Weights

    def large(self) -> "_Clusters":
        """Return the clusters that are a voice, at least one."""
        is_large = self.weights >= min(MIN_VOICE_S, MIN_VOICE_SHARE * self.weights.sum(), self.weights.max())
        return _Clusters(self.means[is_large], self.weights[is_large])

    def largest(self, count: int) -> "_Clusters":
        order = np.argsort(-self.weights, kind="stable")[:count]
        return _Clusters(self.means[order], self.weights[order])

    def after(self, merges: list[_Merge]) -> "_Clusters":
        sums, weights = self.means * self.weights[:, None], self.weights.copy()
        is_left = np.ones(len(weights), bool)
        for merge in merges:
            sums[merge.into] += sums[merge.other]
            weights[merge.into] += weights[merge.other]
            is_left[merge.other] = False
        return _Clusters(sums[is_left] / weights[is_left, None], weights[is_left])


def _half_as_many(clusters: _Clusters) -> _Clusters:
    """Merge what is most alike within parts of the recording.

    The parts are of one size: in a small one, different voices would have to be merged.
    """
    num_clusters = len(clusters.weights)
    num_parts = math.ceil(num_clusters / _MAX_VECTORS)
    bounds = [num_clusters * number // num_parts for number in range(num_parts + 1)]
    parts = []
    for first, end in pairwise(bounds):
        part = _Clusters(clusters.means[first:end], clusters.weights[first:end])
        parts.append(part.after(_merge_all(part)[: (end - first) // 2]))
    return _Clusters(*(np.concatenate(values) for values in zip(*parts, strict=True)))


def _merge_all(clusters: _Clusters) -> list[_Merge]:
    """Return how clusters become one: each time, those two are merged that are most similar."""
    similarity = clusters.means @ clusters.means.T
    weights = clusters.weights.copy()
    np.fill_diagonal(similarity, -np.inf)
    nearest = similarity.argmax(axis=1)
    best = similarity.max(axis=1)
    merges = []
    for _ in range(len(weights) - 1):
        into = int(best.argmax())
        other = int(nearest[into])
        merges.append(_Merge(float(best[into]), into, other))
        row = weights[into] * similarity[into] + weights[other] * similarity[other]
        weights[into] += weights[other]
        row /= weights[into]
        row[[into, other]] = -np.inf
        similarity[into], similarity[:, into] = row, row
        similarity[other], similarity[:, other] = -np.inf, -np.inf
        best[other] = -np.inf
        closer = row > best
        nearest[closer], best[closer] = into, row[closer]
        is_stale = ((nearest == into) & ~closer) | (nearest == other)
        is_stale[into], is_stale[other] = True, False
        for stale in np.flatnonzero(is_stale & (best > -np.inf)):
            nearest[stale] = similarity[stale].argmax()
            best[stale] = similarity[stale, nearest[stale]]
    return merges


def _threshold(weights: Weights, merges: list[_Merge]) -> float:
    """Return the similarity from which on two clusters are one voice.

    It is in the widest gap between the similarities at which clusters of a voice's size are merged. As clusters are
    merged, these descend, and fall steeply where voices would be mixed.
    """
    weights = weights.copy()
    similarities = [USUAL_WITHIN, USUAL_BETWEEN]
    for merge in merges:
        if weights[[merge.into, merge.other]].min() >= MIN_VOICE_S:
            similarities.append(merge.similarity)
        weights[merge.into] += weights[merge.other]
    gaps = [
        (above - below, (above + below) / 2)
        for above, below in pairwise(sorted(similarities, reverse=True))
        if above >= LOWEST_WITHIN and below <= HIGHEST_BETWEEN
    ]
    return max(gaps)[1]


def _merge_small(clusters: _Clusters, count: int) -> _Clusters:
    """Return `count` clusters. Each time, those two are merged that lose least by it (Ward's criterion).

    Small clusters are merged sooner than by their similarity alone: a few seconds in noise are less like all voices
    than two voices are like each other.
    """
    while len(clusters.weights) > count:
        means, weights = clusters
        products = means @ means.T
        squares = products.diagonal()
        distances = squares[:, None] + squares - 2 * products
        losses = distances * (weights[:, None] * weights) / (weights[:, None] + weights)
        np.fill_diagonal(losses, np.inf)
        into, other = np.unravel_index(losses.argmin(), losses.shape)
        clusters = clusters.after([_Merge(float(products[into, other]), int(into), int(other))])
    return clusters


def _last_step_with(num_voices: int, weights: Weights, merges: list[_Merge]) -> int:
    """Return the number of merges after which the fewest clusters, among them `num_voices` of MIN_VOICE_S, are left.

    If there never are so many of these, that of `num_voices` clusters.
    """
    weights = weights.copy()
    num_large = int((weights >= MIN_VOICE_S).sum())
    last = 0 if num_large >= num_voices else max(0, len(weights) - num_voices)
    for step, merge in enumerate(merges, 1):
        both = weights[[merge.into, merge.other]]
        weights[merge.into] = both.sum()
        num_large += int(both.sum() >= MIN_VOICE_S) - int((both >= MIN_VOICE_S).sum())
        if num_large >= num_voices:
            last = step
    return last


def _refined(vectors: Vectors, seconds: Weights, means: NDArray[np.float64]) -> Vectors:
    """Return the voices after all vectors were assigned to the most similar one, until that changes nothing."""
    voices = _normalized(means)
    assigned = most_similar(vectors, voices)
    for _ in range(_MAX_ROUNDS):
        counts = np.bincount(assigned, seconds, minlength=len(voices))
        if not counts.all():
            break
        weighted = vectors * seconds[:, None]
        voices = _normalized(np.stack([weighted[assigned == voice].sum(0) for voice in range(len(voices))]))
        before, assigned = assigned, most_similar(vectors, voices)
        if np.array_equal(before, assigned):
            break
    return voices


def _normalized(vectors: NDArray[np.floating]) -> Vectors:
    normalized: Vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return normalized
