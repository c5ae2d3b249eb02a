from __future__ import annotations

import math
import re
from collections import Counter
from random import Random
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from isaac.corpus.corpus import Corpus
from isaac.curation.candidates import (
    LONGLIST_SIZE,
    MAX_CANDIDATES,
    CandidateTable,
    DrawsWithOdds,
    ExchangeQuery,
    draw_weighted,
    find_candidates,
    log_response_odds,
)
from isaac.curation.canonical_order import CanonicalCorpus, canonicalize
from isaac.curation.clusters import Clusters, concatenate_neighborhoods, sort_by_size
from isaac.curation.curate import Curation, curate
from isaac.curation.relevance import Relevance
from isaac.curation.resources import Tools
from isaac.curation.response_scores import ResponseScores, drawable_rows
from isaac.curation.sharpening import ClusterOdds, cluster_odds
from isaac.curation.unique_texts import UniqueTexts
from isaac.curation.vectors import Embeddings, as_floats
from isaac.named_recipes import REDRAW_MOST_SETTINGS
from isaac.recipe import Recipe, ResolvedRecipe
from isaac.runtime.arrays import Floats, Ints, Reals
from isaac.runtime.engines import LocalEngine
from tests.vectors import random_directions

HASHING = {
    **REDRAW_MOST_SETTINGS,
    "context_encoder": "hashing",
    "response_encoder": "hashing",
}
"""Settings that draw from clusters, with the hashing encoder."""
PLAIN = {"relevance": 0.0, "typicality": 0.0, "candidates": 1.0, "repeats": 0}
"""Settings with which the odds of clusters alone decide a draw."""


def array(numbers: list[int]) -> Ints:
    return np.array(numbers, np.int64)


def settled(**fields: Any) -> ResolvedRecipe:
    return ResolvedRecipe.of({**HASHING, **fields})


def number_of(text: str) -> int:
    """The number in a text."""
    return int("".join(re.findall(r"\d", text)))


def scores_of(layout: CanonicalCorpus, typicality: list[float]) -> ResponseScores:
    """Scores of the responses r0, r1, ..., with their typicality in this order."""
    typical = np.array([typicality[number_of(text)] for text in layout.responses])
    return ResponseScores(typical, np.arange(len(typical)), typical)


def equal_scores(layout: CanonicalCorpus) -> ResponseScores:
    """Scores of responses that are all equally typical."""
    typical = np.ones(len(layout.responses))
    return ResponseScores(typical, np.arange(len(typical)), typical)


def candidates_of(
    layout: CanonicalCorpus,
    clusters: Clusters,
    sharpened: ClusterOdds,
    scores: ResponseScores,
    relevance: Relevance | None,
    recipe: ResolvedRecipe,
) -> CandidateTable:
    """The candidates of each distinct exchange of a corpus."""
    weights = recipe.typicality * scores.typicality[layout.response]
    weights = np.where(drawable_rows(layout, scores, recipe), weights, -np.inf)
    grouped = recipe.reading.group_by is not None
    neighborhood = layout.group[layout.first] if grouped else np.arange(len(layout.first))
    query = ExchangeQuery(neighborhood, layout.context[layout.first])
    return find_candidates(query, clusters, sharpened, weights, relevance, recipe)


# relevance

PAIRS = [
    (f"my {part} {verb} {when}", f"{start} {part} and {end}")
    for part, verb in [("head", "hurts"), ("knee", "aches"), ("dog", "barks")]
    for when in ["today", "at night"]
    for start in ["see a doctor about the", "do rest your", "put ice on your"]
    for end in ["drink water", "call me", "sleep"]
]


@pytest.mark.parametrize("shared", [True, False])
def test_relevance_is_half_the_sum_of_its_cosines(shared: bool) -> None:
    layout = canonicalize(Corpus.of(PAIRS))
    contexts = Embeddings(random_directions(1, len(layout.contexts), 6), 0, "")
    responses = Embeddings(random_directions(2, len(layout.responses), 6), 0, "")
    recipe = settled(response_encoder="hashing" if shared else "wordllama")
    queries, members = array([0, 3]), np.array([[0, 5, 7], [1, 5, 2]], np.int64)
    relevance = Relevance(layout, contexts, responses, recipe, Tools())
    vectors = contexts.vectors[queries]
    fits = relevance.score(vectors, relevance.target_vectors(vectors), members)
    x, y = (as_floats(side.vectors).astype(float) for side in (contexts, responses))
    mean_x, mean_y = x[layout.context].mean(axis=0), y[layout.response].mean(axis=0)
    centered = x[layout.context] - mean_x
    weights = np.linalg.solve(
        centered.T @ centered + 10 * np.eye(6), centered.T @ (y[layout.response] - mean_y)
    )
    for place, context in enumerate(queries.tolist()):
        for at, row in enumerate(members[place].tolist()):
            answer = y[layout.response[row]]
            parts = [
                x[context] @ x[layout.context[row]],
                answer @ unit(mean_y + (x[context] - mean_x) @ weights),
                2 * (answer @ unit(x[context] - mean_x)) if shared else 0.0,
            ]
            assert fits[place, at] == pytest.approx(sum(parts) / 2, abs=3e-3)


def unit(vector: Reals) -> Reals:
    return np.asarray(vector / np.linalg.norm(vector))


# weights


def one_context(labels: list[int]) -> tuple[CanonicalCorpus, Clusters]:
    """Rows of one context with the responses r0, r1, ..., each in every neighborhood.

    ``labels`` is the cluster of each response, in this order.
    """
    count = len(labels)
    layout = canonicalize(Corpus.of([("hi", f"r{n:04}") for n in range(count)]))
    members = np.tile(np.arange(count), (count, 1))
    numbers = array([number_of(text) for text in layout.responses])
    return layout, sort_by_size(members, array(labels)[numbers[layout.response]][members])


def test_weights_are_log_odds_of_a_response_plus_typicality() -> None:
    layout, clusters = one_context([0, 0, 0, 0, 1, 1, 1, 2, 2, 3])
    typical = [0.9, 0.5, 0.7, 0.4, 1.0, 0.35, 0.6, 0.3, 0.8, 0.9]
    recipe = settled(typicality=10, relevance=0, candidates=0.7, power=2.0, top_clusters=3)
    facts, scores = cluster_odds(clusters, recipe), scores_of(layout, typical)
    found = candidates_of(layout, clusters, facts, scores, None, recipe)
    share = [16 / 29 / 4] * 4 + [9 / 29 / 3] * 3 + [4 / 29 / 2] * 2 + [0]
    rank = [0, 0, 0, 0, 1, 1, 1, 2, 2, 3]
    for rows, ranks, weights in zip(*found, strict=True):
        assert (np.diff(weights[:8]) <= 0).all()
        numbers = [number_of(layout.responses[text]) for text in layout.response[rows].tolist()]
        assert sorted(numbers) == list(range(10))
        for response, place, weight in zip(numbers, ranks, weights, strict=True):
            assert place == rank[response]
            if response in (7, 9):  # 7 is not typical enough, 9 is beyond the top clusters
                assert weight == -math.inf
            else:
                expected = math.log(share[response]) + 10 * typical[response]
                assert weight == pytest.approx(expected, rel=1e-5)


def test_responses_that_fit_a_context_weigh_more_there() -> None:
    layout = canonicalize(Corpus.of(PAIRS))
    contexts = Embeddings(random_directions(1, len(layout.contexts), 6), 0, "")
    answers = Embeddings(random_directions(2, len(layout.responses), 6), 0, "")
    recipe, count = settled(relevance=7, typicality=0, candidates=1), len(PAIRS)
    members = np.tile(np.arange(count), (count, 1))
    clusters = sort_by_size(members, members % 5)
    relevance = Relevance(layout, contexts, answers, recipe, Tools())
    facts = cluster_odds(clusters, recipe)
    found = candidates_of(layout, clusters, facts, equal_scores(layout), relevance, recipe)
    log_odds = log_response_odds(facts)
    vectors = contexts.vectors[layout.context[layout.first]]
    fits = relevance.score(vectors, relevance.target_vectors(vectors), found.rows)
    expected = np.take_along_axis(log_odds, found.ranks, axis=1) + 7 * fits
    assert found.weights == pytest.approx(expected, rel=1e-5)
    assert (np.sort(found.rows, axis=1) == np.arange(count)).all()


def test_the_candidates_of_groups_of_unequal_size_are_their_own_responses() -> None:
    rows = [("hi", f"r{n}", "big") for n in range(5)] + [("hi", f"s{n}", "small") for n in range(2)]
    layout = canonicalize(Corpus.of([row[:2] for row in rows], groups=[row[2] for row in rows]))
    neighborhoods = [np.flatnonzero(layout.group == group)[None] for group in (0, 1)]
    clusters = concatenate_neighborhoods(
        [sort_by_size(rows, np.zeros_like(rows)) for rows in neighborhoods]
    )
    recipe = settled(**PLAIN, group_by="g")
    found = candidates_of(
        layout, clusters, cluster_odds(clusters, recipe), equal_scores(layout), None, recipe
    )
    for exchange, group in enumerate(layout.group[layout.first].tolist()):
        candidates = found.rows[exchange][np.isfinite(found.weights[exchange])]
        assert sorted(candidates.tolist()) == neighborhoods[group][0].tolist()


def test_the_candidates_of_a_large_group_are_its_best_responses() -> None:
    count = LONGLIST_SIZE + 200
    layout, clusters = one_context([n % 3 for n in range(count)])
    one = Clusters(*(part.__class__.of(part[0], array([len(part[0])])) for part in clusters))
    typical = np.random.default_rng(0).permutation(np.arange(1, count + 1) / count)
    recipe = settled(group_by="g", relevance=0, candidates=0.5)
    scores = scores_of(layout, typical.tolist())
    found = candidates_of(layout, one, cluster_odds(one, recipe), scores, None, recipe)
    assert found.rows.shape == (count, MAX_CANDIDATES)
    share = np.exp(log_response_odds(cluster_odds(one, recipe)))[0]
    labels = np.arange(count) % 3
    sizes = np.bincount(labels)
    rank = np.argsort(np.argsort(-sizes, kind="stable"))[labels]
    best = np.sort(np.log(share[rank]) + 100 * typical)[::-1][:MAX_CANDIDATES]
    assert found.weights == pytest.approx(np.tile(best, (count, 1)), rel=1e-5)


class Narrow:
    """An encoder of a few dimensions."""

    def encode(self, texts: list[str]) -> Floats:
        return as_floats(random_directions(len(texts), len(texts), 4))


def test_a_large_group_is_weighed_by_relevance_too() -> None:
    count = LONGLIST_SIZE + 100
    words = [f"{a}{b}{c}" for a in "bdfgklmnp" for b in "aeiou" for c in "bdfgklmnprstvz"]
    pairs = [(f"question {n}", " ".join(Random(n).sample(words, 8))) for n in range(count)]
    recipe = settled(group_by="g", candidates=1.0, radius=2.0, budget=1.0, repeats=9, power=1)
    tools = Tools(encoders={"hashing": Narrow()})
    found = curate(Corpus.of(pairs, groups=["g"] * count), recipe, tools)
    drawn = Counter(found.lineage.column("source_id").to_pylist())
    assert max(drawn.values()) <= 9
    assert sum(drawn.values()) == count
    assert len(drawn) < count / 2


# the paper's draw


def rows_of(count: int, exchange: int | None = None) -> CanonicalCorpus:
    """Rows to draw for, without real texts: each its own exchange, or all of one."""
    zeros, places = np.zeros(count, np.int64), np.arange(count)
    exchanges = places if exchange is None else np.full(count, exchange)
    keys = np.random.default_rng(5).integers(0, 2**63, count).astype(np.uint64)
    contexts, responses = UniqueTexts.of(["hi"]), UniqueTexts.of(["r"])
    _, first = np.unique(exchanges, return_index=True)
    pointers = (zeros, zeros, zeros, zeros, exchanges)
    return CanonicalCorpus(contexts, responses, responses, *pointers, first, places, keys)


def drawn_from(
    candidates: CandidateTable,
    layout: CanonicalCorpus,
    groups: Ints,
    needs_draw: npt.NDArray[np.bool_],
    recipe: ResolvedRecipe,
) -> list[DrawsWithOdds]:
    """What rows draw if no group of near-duplicates has a price."""
    free = np.zeros(int(groups.max(initial=0)) + 1)
    return draw_weighted(candidates, free, layout, groups, needs_draw, recipe, Tools())


@pytest.mark.parametrize("sharpening", ["adaptive", "proportional", "power"])
def test_without_weights_a_draw_is_that_of_the_paper(sharpening: str) -> None:
    layout, clusters = one_context([0, 0, 0, 0, 1, 1, 2, 2, 3])
    recipe = settled(**PLAIN, sharpening=sharpening, temperature=2.0, top_clusters=3)
    facts = cluster_odds(clusters, recipe)
    found = candidates_of(layout, clusters, facts, scores_of(layout, [0.5] * 9), None, recipe)
    rows = rows_of(20_000, exchange=3)
    groups = np.arange(9)
    ((drawn, probability),) = drawn_from(found, rows, groups, np.ones(20_000, bool), recipe)
    frequency = np.bincount(drawn.source, minlength=9) / 20_000
    rank = np.repeat([0, 1, 2, 3], clusters.sizes[3])[np.argsort(clusters.members[3])]
    odds = np.append(facts.odds[3], 0)
    expected = odds[rank] / np.bincount(rank)[rank]
    assert frequency.sum() == pytest.approx(1)
    assert (np.abs(frequency - expected) <= 5 * np.sqrt(expected * (1 - expected) / 20_000)).all()
    assert drawn.rank.tolist() == rank[drawn.source].tolist()
    assert probability == pytest.approx(odds[drawn.rank], rel=1e-5)


# the whole curation

CORPUS = [
    (f"my {part} hurts {when}", f"{start} {end} about that {part}")
    for part in ["head", "knee", "back", "foot"]
    for when in ["today", "at night", "so much"]
    for start, end in zip(
        "see do put ask no try".split(), "me it ice him way tea".split(), strict=True
    )
]


def outcome_of(found: Curation, pairs: list[tuple[str, str]]) -> list[tuple[Any, ...]]:
    """What happened to each exchange, without ids, sorted."""
    rows = found.lineage.to_pylist()
    names = [name for name in found.lineage.schema.names if name not in ("id", "source_id")]
    return sorted(
        (*pairs[row["id"]], *pairs[row["source_id"]], *(row[name] for name in names))
        for row in rows
    )


@pytest.mark.parametrize("targets", [1, 3])
@pytest.mark.parametrize("group_by", [None, "g"])
def test_the_order_of_rows_and_the_workers_change_nothing(
    group_by: str | None, targets: int
) -> None:
    recipe = Recipe.of(
        {**HASHING, "group_by": group_by, "targets": targets, "repeats": 2, "radius": 1.0}
    )
    shuffled = Random(7).sample(CORPUS, len(CORPUS))
    outcomes = []
    for pairs, workers in [(CORPUS, 1), (CORPUS, 3), (shuffled, 1), (CORPUS[::-1], 2)]:
        corpus = Corpus.of(pairs, groups=[context[:6] for context, _ in pairs])
        found = curate(corpus, recipe, Tools(engine=LocalEngine(workers)))
        outcomes.append(outcome_of(found, pairs))
    assert len(outcomes[0]) >= len(CORPUS)
    assert any(row[:2] != row[2:4] for row in outcomes[0])
    assert all(outcome == outcomes[0] for outcome in outcomes)


@pytest.mark.parametrize("repeats", [1, 2, 8])
def test_no_response_is_drawn_beyond_its_bound(
    repeats: int, exchanges: list[dict[str, str]]
) -> None:
    pairs = [(row["context"], row["response"]) for row in exchanges]
    recipe = settled(repeats=repeats, candidates=1.0, neighbors=120, abstain=0.0, budget=0.5)
    found = curate(Corpus.of(pairs), recipe)
    place = np.argsort(found.layout.ids)
    group = found.response_scores.duplicate_group[found.layout.response[place]]
    drawn = [
        int(group[row["source_id"]])
        for row in found.lineage.to_pylist()
        if row["action"] == "replaced"
    ]
    assert len(drawn) > 40
    assert max(Counter(drawn).values()) <= repeats
