from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isaac.corpus.corpus import Corpus
from isaac.curation.canonical_order import CanonicalCorpus, canonicalize
from isaac.curation.curate import curate
from isaac.curation.neighborhoods import SearchedNeighborhoods, build_context_index
from isaac.curation.resources import Tools
from isaac.curation.response_scores import ResponseScores, drawable_rows
from isaac.curation.vectors import Embeddings, GridVectors
from isaac.curation.views import ComparedResponses
from isaac.errors import CorpusError
from isaac.models.judges import Judgment
from isaac.named_recipes import REDRAW_MOST_SETTINGS
from isaac.recipe import Recipe, ResolvedRecipe
from tests.vectors import random_directions

HASHING = {
    **REDRAW_MOST_SETTINGS,
    "context_encoder": "hashing",
    "response_encoder": "hashing",
}
"""Settings that draw from clusters, with the hashing encoder."""

PAIRS = [
    (f"my {part} {verb} {when}", f"{start} {part} and {end}")
    for part, verb in [("head", "hurts"), ("knee", "aches"), ("dog", "barks")]
    for when in ["today", "at night"]
    for start in ["see a doctor about the", "do rest your", "put ice on your"]
    for end in ["drink water", "call me", "sleep"]
]


def settled(**fields: Any) -> ResolvedRecipe:
    return ResolvedRecipe.of({**HASHING, **fields})


def searched(
    layout: CanonicalCorpus, vectors: GridVectors, drawable: Any, recipe: ResolvedRecipe
) -> SearchedNeighborhoods:
    """The neighborhoods found by these vectors of the contexts."""
    contexts = Embeddings(vectors, 0, "")
    candidates = build_context_index(layout, contexts, np.array(drawable), recipe, Tools())
    return SearchedNeighborhoods.of(
        layout, contexts, ComparedResponses(None, layout.response), candidates, recipe
    )


# the nearest rows that may be drawn


@given(
    st.integers(0, 2**32),
    st.lists(st.tuples(st.integers(0, 7), st.integers(0, 5)), min_size=1, max_size=24),
    st.integers(1, 30),
    st.data(),
)
def test_only_drawable_rows_are_found_nearest_first(
    seed: int, pairs: list[tuple[int, int]], k: int, data: st.DataObject
) -> None:
    layout = canonicalize(Corpus.of([(f"c{c}", f"r{r}") for c, r in pairs]))
    flags = data.draw(st.lists(st.booleans(), min_size=len(pairs), max_size=len(pairs)).filter(any))
    vectors = random_directions(seed, len(layout.contexts), 5, distinct=4)
    searches = searched(layout, vectors, flags, settled(neighbors=k))
    rows = [row for row, flag in enumerate(flags) if flag]
    selves = np.arange(len(layout.contexts))
    for own, found in enumerate(searches.find_nearest(vectors, selves).tolist()):
        assert found == nearest(own, rows, layout, vectors)[:k]
    for own, found in enumerate(searches.find_nearest(vectors, selves * 0 - 1).tolist()):
        assert found == nearest(own, rows, layout, vectors, itself=False)[:k]


def nearest(
    own: int, rows: list[int], layout: CanonicalCorpus, vectors: GridVectors, *, itself: bool = True
) -> list[int]:
    """Rows by the distance of their contexts in whole numbers, those of the own context first."""

    def distance(row: int) -> tuple[bool, int, int, int]:
        context = int(layout.context[row])
        closeness = sum(
            a * b for a, b in zip(vectors[own].tolist(), vectors[context].tolist(), strict=True)
        )
        return itself and context != own, -closeness, context, row

    return sorted(rows, key=distance)


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=20),
    st.integers(1, 25),
    st.data(),
)
def test_a_neighborhood_is_the_row_itself_and_drawable_rows(
    pairs: list[tuple[int, int]], k: int, data: st.DataObject
) -> None:
    layout = canonicalize(Corpus.of([(f"c{c}", f"r{r}") for c, r in pairs]))
    count = len(layout.responses)
    shares = data.draw(st.lists(st.floats(0.01, 0.6), min_size=count, max_size=count))
    trust = np.array([*shares[1:], 1.0])
    scores = ResponseScores(1 - trust, np.arange(count), trust)
    recipe = settled(neighbors=k, candidates=0.5)
    candidates = drawable_rows(layout, scores, recipe)
    assert candidates.tolist() == (scores.trust[layout.response] > 0.5).tolist()
    vectors = random_directions(0, len(layout.contexts), 4)
    searches = searched(layout, vectors, candidates, recipe)
    numbers = np.arange(layout.exchange.max() + 1)
    for number, found in zip(numbers, searches.members(numbers).tolist(), strict=True):
        own = {row for row in found if layout.exchange[row] == number}
        assert own
        assert len(set(found)) == len(found) == min(k, candidates.sum())
        assert all(candidates[row] for row in set(found) - own)


@pytest.mark.parametrize("share", [1e-17, 1e-9, 1.0])
def test_some_response_may_always_be_drawn(share: float) -> None:
    found = curate(Corpus.of(PAIRS[:20]), Recipe.of({**HASHING, "candidates": share}))
    assert drawable_rows(found.layout, found.response_scores, found.recipe).any()


def test_what_a_judge_vetoes_may_not_be_drawn() -> None:
    layout = canonicalize(Corpus.of([("hi", "a"), ("hi", "b"), ("ho", "b"), ("ho", "c")]))
    names = [
        (layout.contexts[c], layout.responses[r])
        for c, r in zip(layout.context.tolist(), layout.response.tolist(), strict=True)
    ]
    typical = {"a": 0.9, "b": 1.0, "c": 0.3}
    verdicts = {("hi", "a"): 0.0, ("hi", "b"): 1.0, ("ho", "b"): math.nan, ("ho", "c"): 0.0}
    vetoed = np.array([verdicts[names[row]] for row in layout.first.tolist()])
    shares = np.array([typical[text] for text in layout.responses])
    scores = ResponseScores(shares, np.arange(3), shares, vetoed)
    flags = drawable_rows(layout, scores, settled(candidates=0.5))
    drawable = {name for name, flag in zip(names, flags, strict=True) if flag}
    assert drawable == {("hi", "a"), ("ho", "b")}


class WordJudge:
    """A judge that calls responses with certain words unsafe."""

    def __init__(self, *words: str) -> None:
        self.words = words

    def judge(self, contexts: list[str], responses: list[str]) -> list[Judgment]:
        bad = [any(word in text for word in self.words) for text in responses]
        return [Judgment("unsafe" if one else "safe") for one in bad]


@pytest.mark.parametrize("fields", [{}, {"relevance": 0, "typicality": 0, "repeats": 0}])
@pytest.mark.parametrize("group_by", [None, "g"])
def test_no_vetoed_response_is_drawn(group_by: str | None, fields: dict[str, Any]) -> None:
    recipe = {"judge": "strict", "group_by": group_by, "candidates": 1.0, "abstain": 0.0, **fields}
    tools = Tools(judges={"strict": WordJudge("ice", "sleep")})
    corpus = Corpus.of(PAIRS, groups=[context[:5] for context, _ in PAIRS])
    found = curate(corpus, Recipe.of({**HASHING, **recipe}), tools)
    drawn = [row for row in found.lineage.to_pylist() if row["action"] == "replaced"]
    assert len(drawn) > 10
    texts = " ".join(PAIRS[row["source_id"]][1] for row in drawn)
    assert "ice" not in texts
    assert "sleep" not in texts


@pytest.mark.parametrize("group_by", [None, "g"])
@pytest.mark.parametrize("fields", [{}, {"radius": 0.8, "view": "whole"}])
def test_a_judge_that_vetoes_all_is_an_error(fields: dict[str, Any], group_by: str | None) -> None:
    recipe = Recipe.of({**HASHING, "judge": "strict", "group_by": group_by, **fields})
    tools = Tools(judges={"strict": WordJudge(" ")})
    with pytest.raises(CorpusError, match="judge 'strict' vetoed every response"):
        curate(Corpus.of(PAIRS, groups=["g"] * len(PAIRS)), recipe, tools)
