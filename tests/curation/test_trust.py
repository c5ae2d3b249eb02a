from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isaac.corpus.corpus import Corpus
from isaac.curation import trust
from isaac.curation.curate import prepare
from isaac.curation.resources import Tools
from isaac.curation.trust import SMOOTHING_NEIGHBORS, SmoothedTypicality
from isaac.curation.vectors import GridVectors
from isaac.recipe import Recipe
from isaac.runtime.arrays import Ints, Reals
from isaac.runtime.engines import LocalEngine
from tests.reference import EXCHANGES
from tests.vectors import embed_rows, random_directions


def smooth(vectors: GridVectors, typicality: list[float], groups: list[int]) -> list[float]:
    """The mean typicality of the nearest other groups, each represented by its first response."""
    firsts = [groups.index(group) for group in sorted(set(groups), key=groups.index)]
    similarity = vectors.astype(np.int64) @ vectors.T.astype(np.int64)
    smoothed = []
    for row, group in enumerate(groups):
        others = [other for other in firsts if groups[other] != group]
        # Near-copies are among the nearest, too, but do not count.
        near = sorted(others, key=lambda other: (-similarity[row, other], other))
        values = [typicality[other] for other in near[:SMOOTHING_NEIGHBORS]]
        smoothed.append(sum(values) / max(len(values), 1))
    return smoothed


@st.composite
def responses(draw: st.DrawFn) -> tuple[GridVectors, Reals, Ints]:
    """Vectors of responses, of which several are equal; their typicality and their groups."""
    count = draw(st.integers(1, 60))
    vectors = random_directions(draw(st.integers(0, 99)), count, 4, draw(st.integers(1, count)))
    shares = st.sampled_from([0.1, 0.25, 0.5, 0.75, 1.0])
    typicality = np.array(draw(st.lists(shares, min_size=count, max_size=count)))
    numbers = st.integers(0, draw(st.integers(0, count)))
    groups = np.array(draw(st.lists(numbers, min_size=count, max_size=count)), np.int64)
    return vectors, typicality, groups


@settings(max_examples=60)
@given(responses())
def test_typicality_is_smoothed_over_the_nearest_other_groups(
    made: tuple[GridVectors, Reals, Ints],
) -> None:
    vectors, typicality, groups = made
    found = SmoothedTypicality(vectors, typicality, groups).compute(vectors, groups, Tools())
    assert found.tolist() == pytest.approx(smooth(vectors, typicality.tolist(), groups.tolist()))


def smoothed(
    vectors: GridVectors, typicality: Reals, groups: Ints, tools: Tools | None = None
) -> Reals:
    return SmoothedTypicality(vectors, typicality, groups).compute(
        vectors, groups, tools or Tools()
    )


def test_an_odd_wording_among_typical_ones_is_smoothed() -> None:
    # Two directions: responses near the first are typical, those near the second are not.
    rng = np.random.default_rng(0)
    near = np.repeat([[1.0, 0, 0, 0], [0, 1.0, 0, 0]], 40, axis=0)
    vectors = embed_rows((near + rng.normal(0, 0.05, (80, 4))).astype(np.float32))
    typicality = np.repeat([0.8, 0.2], 40)
    typicality[[0, 40]] = 0.5
    found = smoothed(vectors, typicality, np.arange(80))
    assert found[0] == pytest.approx(0.8)
    assert found[40] == pytest.approx(0.2)


@pytest.mark.parametrize("copies", [1, 5, 50])
def test_repeating_a_response_changes_no_neighbors(copies: int) -> None:
    vectors = random_directions(1, 100, 6)
    typicality = np.random.default_rng(2).permutation(100) / 100
    groups = np.arange(100)
    before = smoothed(vectors, typicality, groups)
    more = np.append(np.arange(100), np.full(copies, 7))
    after = smoothed(vectors[more], typicality[more], groups[more])
    assert after.tolist() == before[more].tolist()


def test_the_first_responses_are_the_references(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trust, "MAX_REFERENCES", 30)
    vectors = random_directions(3, 100, 6)
    typicality = np.random.default_rng(4).permutation(100) / 100
    found = SmoothedTypicality(vectors, typicality, np.arange(100) // 2)
    assert found.typicality.tolist() == typicality[:60:2].tolist()
    first = found.compute(vectors[:1], np.array([0]), Tools())
    new = found.compute(vectors[:1], np.array([-1]), Tools())
    assert first != new  # a response that is not in the corpus has no group to leave out


def test_workers_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("isaac.curation.search.exact.QUERIES_PER_ITEM", 9)
    vectors = random_directions(5, 90, 6, 40)
    typicality = np.random.default_rng(6).permutation(90) / 90
    one, three = (
        smoothed(vectors, typicality, np.arange(90), Tools(engine=LocalEngine(workers)))
        for workers in (1, 3)
    )
    assert one.tolist() == three.tolist()


HASHING = {"context_encoder": "hashing", "response_encoder": "hashing"}


def test_by_wording_trust_is_typicality() -> None:
    recipe = Recipe.of({**HASHING, "trust": "wording"})
    scores = prepare(Corpus.of(EXCHANGES), recipe).response_scores
    assert scores.trust.tolist() == scores.typicality.tolist()


@pytest.mark.parametrize("kind", ["wording", "smoothed", "combined"])
def test_the_order_of_rows_changes_no_trust(kind: str) -> None:
    recipe = Recipe.of({**HASHING, "trust": kind})
    found = []
    for pairs in (EXCHANGES, EXCHANGES[::-1]):
        curation = prepare(Corpus.of(pairs), recipe)
        trust_in = curation.response_scores.trust.tolist()
        found.append(dict(zip(curation.layout.responses, trust_in, strict=True)))
    assert found[0] == found[1]
    assert len(set(found[0].values())) > 10
