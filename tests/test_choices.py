from __future__ import annotations

import math
from collections import Counter
from random import Random
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isaac.choices import (
    LONGLIST,
    WIDTH,
    Choices,
    Relevance,
    Weighted,
    draw_weighted,
    find_choices,
    log_share,
    priced,
)
from isaac.clusters import Clusters, by_size
from isaac.corpus import Corpus
from isaac.curation import Curation, curate
from isaac.draws import Reals, shape
from isaac.embeddings import Embedded, Floats, Grid, as_floats
from isaac.engines import Local
from isaac.errors import CorpusError
from isaac.judges import Judgement
from isaac.layout import Layout, arrange
from isaac.neighborhoods import Compared, Consensus, Searches, drawable, joined
from isaac.neighbors import Ints
from isaac.recipe import Recipe, Settled
from isaac.tools import Tools
from tests.vectors import directions

HASHING = {"context_encoder": "hashing", "response_encoder": "hashing"}
PLAIN = {"relevance": 0.0, "typicality": 0.0, "candidates": 1.0, "repeats": 0}
"""What leaves a draw to the odds of clusters alone."""


def array(numbers: list[int]) -> Ints:
    return np.array(numbers, np.int64)


def settled(**fields: Any) -> Settled:
    return Settled.of({**HASHING, **fields})


def consensus_of(typicality: list[float], kind: list[int] | None = None) -> Consensus:
    kinds = list(range(len(typicality))) if kind is None else kind
    return Consensus(np.array(typicality), array(kinds))


# what is near: only rows that may be drawn


@given(
    st.integers(0, 2**32),
    st.lists(st.tuples(st.integers(0, 7), st.integers(0, 5)), min_size=1, max_size=24),
    st.integers(1, 30),
    st.data(),
)
def test_the_nearest_are_those_that_may_be_drawn(
    seed: int, pairs: list[tuple[int, int]], k: int, data: st.DataObject
) -> None:
    layout = arrange(Corpus.of([(f"c{c}", f"r{r}") for c, r in pairs]))
    flags = data.draw(st.lists(st.booleans(), min_size=len(pairs), max_size=len(pairs)).filter(any))
    vectors = directions(seed, len(layout.contexts), 5, distinct=4)
    searches = Searches(
        layout, vectors, Compared(None, layout.response), np.array(flags), settled(neighbors=k)
    )
    rows = [row for row, flag in enumerate(flags) if flag]
    selves = np.arange(len(layout.contexts))
    for own, found in enumerate(searches.near(vectors, selves).tolist()):
        assert found == nearest(own, rows, layout, vectors)[:k]
    for own, found in enumerate(searches.near(vectors, selves * 0 - 1).tolist()):
        assert found == nearest(own, rows, layout, vectors, itself=False)[:k]


def nearest(
    own: int, rows: list[int], layout: Layout, vectors: Grid, *, itself: bool = True
) -> list[int]:
    """Return rows by the distance of their context, the own one first, in plain whole numbers."""

    def distance(row: int) -> tuple[bool, int, int, int]:
        there = int(layout.context[row])
        closeness = sum(
            a * b for a, b in zip(vectors[own].tolist(), vectors[there].tolist(), strict=True)
        )
        return itself and there != own, -closeness, there, row

    return sorted(rows, key=distance)


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=20),
    st.integers(1, 25),
    st.data(),
)
def test_a_neighborhood_is_the_row_itself_and_rows_that_may_be_drawn(
    pairs: list[tuple[int, int]], k: int, data: st.DataObject
) -> None:
    layout = arrange(Corpus.of([(f"c{c}", f"r{r}") for c, r in pairs]))
    count = len(layout.responses)
    shares = data.draw(st.lists(st.floats(0.01, 0.6), min_size=count, max_size=count))
    consensus = consensus_of([*shares[1:], 1.0])
    recipe = settled(neighbors=k, candidates=0.5)
    candidates = drawable(layout, consensus, recipe)
    assert candidates.tolist() == (consensus.typicality[layout.response] > 0.5).tolist()
    vectors = directions(0, len(layout.contexts), 4)
    searches = Searches(layout, vectors, Compared(None, layout.response), candidates, recipe)
    numbers = np.arange(layout.exchange.max() + 1)
    for number, found in zip(numbers, searches.members(numbers).tolist(), strict=True):
        own = {row for row in found if layout.exchange[row] == number}
        assert own
        assert len(set(found)) == len(found) == min(k, candidates.sum())
        assert all(candidates[row] for row in set(found) - own)


@pytest.mark.parametrize("share", [1e-17, 1e-9, 1.0])
def test_some_response_may_always_be_drawn(share: float) -> None:
    found = curate(Corpus.of(PAIRS[:20]), Recipe.of({**HASHING, "candidates": share}))
    assert drawable(found.layout, found.consensus, found.recipe).any()


def test_what_a_judge_forbade_is_not_drawn() -> None:
    layout = arrange(Corpus.of([("hi", "a"), ("hi", "b"), ("ho", "b"), ("ho", "c")]))
    vetoed = np.array([0.0, 1.0, math.nan, 0.0])
    consensus = Consensus(np.array([0.9, 1.0, 0.3]), np.arange(3), vetoed)
    allowed = drawable(layout, consensus, settled(candidates=0.5))
    names = [(layout.contexts[c], layout.responses[r]) for c, r in zip(*layout[2:4], strict=True)]
    may_be_drawn = {name for name, flag in zip(names, allowed, strict=True) if flag}
    assert may_be_drawn == {("hi", "a"), ("ho", "b")}


class Forbidding:
    """A judge that calls some responses unsafe."""

    def __init__(self, *words: str) -> None:
        self.words = words

    def judge(self, contexts: list[str], responses: list[str]) -> list[Judgement]:
        bad = [any(word in text for word in self.words) for text in responses]
        return [Judgement("unsafe" if one else "safe") for one in bad]


@pytest.mark.parametrize("fields", [{}, {"relevance": 0, "typicality": 0, "repeats": 0}])
@pytest.mark.parametrize("group_by", [None, "g"])
def test_a_judge_of_candidates_is_obeyed(group_by: str | None, fields: dict[str, Any]) -> None:
    recipe = {"judge": "strict", "group_by": group_by, "candidates": 1.0, "abstain": 0.0, **fields}
    tools = Tools(judges={"strict": Forbidding("ice", "sleep")})
    corpus = Corpus.of(PAIRS, groups=[context[:5] for context, _ in PAIRS])
    found = curate(corpus, Recipe.of({**HASHING, **recipe}), tools)
    drawn = [row for row in found.lineage.to_pylist() if row["action"] == "replaced"]
    assert len(drawn) > 10
    texts = " ".join(PAIRS[row["source_id"]][1] for row in drawn)
    assert "ice" not in texts
    assert "sleep" not in texts


@pytest.mark.parametrize("group_by", [None, "g"])
@pytest.mark.parametrize("fields", [{}, {"radius": 0.8, "view": "whole"}])
def test_a_judge_that_forbids_all_is_an_error(fields: dict[str, Any], group_by: str | None) -> None:
    recipe = Recipe.of({**HASHING, "judge": "strict", "group_by": group_by, **fields})
    tools = Tools(judges={"strict": Forbidding(" ")})
    with pytest.raises(CorpusError, match="judge 'strict' forbade every response"):
        curate(Corpus.of(PAIRS, groups=["g"] * len(PAIRS)), recipe, tools)


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
    layout = arrange(Corpus.of(PAIRS))
    contexts = Embedded(directions(1, len(layout.contexts), 6), 0, "")
    responses = Embedded(directions(2, len(layout.responses), 6), 0, "")
    recipe = settled(response_encoder="hashing" if shared else "wordllama")
    asked, members = array([0, 3]), np.array([[0, 5, 7], [1, 5, 2]], np.int64)
    relevance = Relevance(layout, contexts, responses, recipe)
    said = contexts.vectors[asked]
    fits = relevance.of(said, relevance.wanted(said), members)
    x, y = (as_floats(side.vectors).astype(float) for side in (contexts, responses))
    mean_x, mean_y = x[layout.context].mean(axis=0), y[layout.response].mean(axis=0)
    centred = x[layout.context] - mean_x
    weights = np.linalg.solve(
        centred.T @ centred + 10 * np.eye(6), centred.T @ (y[layout.response] - mean_y)
    )
    for place, context in enumerate(asked.tolist()):
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


def one_nest(names: list[int]) -> tuple[Layout, Clusters]:
    """Return rows of one context with a response each, all in all neighbourhoods, in clusters.

    ``names`` says in which cluster each response is, the responses being r0, r1, ... in order.
    """
    count = len(names)
    layout = arrange(Corpus.of([("hi", f"r{n:04}") for n in range(count)]))
    members = np.tile(np.arange(count), (count, 1))
    return layout, by_size(members, array(names)[layout.response][members])


def test_weights_are_log_odds_a_response_and_typicality() -> None:
    layout, clusters = one_nest([0, 0, 0, 0, 1, 1, 1, 2, 2, 3])
    typical = [0.9, 0.5, 0.7, 0.4, 1.0, 0.35, 0.6, 0.3, 0.8, 0.9]
    recipe = settled(typicality=10, relevance=0, candidates=0.7, power=2.0, top_clusters=3)
    found = find_choices(
        layout, clusters, shape(clusters, recipe), consensus_of(typical), None, recipe
    )
    share = [16 / 29 / 4] * 4 + [9 / 29 / 3] * 3 + [4 / 29 / 2] * 2 + [0]
    rank = [0, 0, 0, 0, 1, 1, 1, 2, 2, 3]
    for rows, ranks, weights in zip(*found, strict=True):
        assert (np.diff(weights[:8]) <= 0).all()
        assert sorted(layout.response[rows].tolist()) == list(range(10))
        for response, place, weight in zip(layout.response[rows], ranks, weights, strict=True):
            assert place == rank[response]
            if response in (7, 9):  # the one not typical enough, the other beyond the top clusters
                assert weight == -math.inf
            else:
                expected = math.log(share[response]) + 10 * typical[response]
                assert weight == pytest.approx(expected, rel=1e-5)


def test_what_fits_a_context_weighs_more_there() -> None:
    layout = arrange(Corpus.of(PAIRS))
    contexts = Embedded(directions(1, len(layout.contexts), 6), 0, "")
    answers = Embedded(directions(2, len(layout.responses), 6), 0, "")
    recipe, count = settled(relevance=7, typicality=0, candidates=1), len(PAIRS)
    members = np.tile(np.arange(count), (count, 1))
    clusters = by_size(members, members % 5)
    relevance, facts = Relevance(layout, contexts, answers, recipe), shape(clusters, recipe)
    consensus = consensus_of([1.0] * len(layout.responses))
    found = find_choices(layout, clusters, facts, consensus, relevance, recipe)
    share = log_share(facts)
    _, first = np.unique(layout.exchange, return_index=True)
    said = contexts.vectors[layout.context[first]]
    fits = relevance.of(said, relevance.wanted(said), found.rows)
    expected = np.take_along_axis(share, found.ranks, axis=1) + 7 * fits
    assert found.weights == pytest.approx(expected, rel=1e-5)
    assert (np.sort(found.rows, axis=1) == np.arange(count)).all()


def test_groups_of_unequal_size_offer_their_own_responses() -> None:
    rows = [("hi", f"r{n}", "big") for n in range(5)] + [("hi", f"s{n}", "small") for n in range(2)]
    layout = arrange(Corpus.of([row[:2] for row in rows], groups=[row[2] for row in rows]))
    nests = [np.flatnonzero(layout.group == group)[None] for group in (0, 1)]
    clusters = joined([by_size(nest, np.zeros_like(nest)) for nest in nests])
    recipe = settled(**PLAIN, group_by="g")
    consensus = consensus_of([1.0] * len(layout.responses))
    found = find_choices(layout, clusters, shape(clusters, recipe), consensus, None, recipe)
    first = np.unique(layout.exchange, return_index=True)[1]
    for exchange, group in enumerate(layout.group[first].tolist()):
        offered = found.rows[exchange][np.isfinite(found.weights[exchange])]
        assert sorted(offered.tolist()) == nests[group][0].tolist()


def test_a_large_group_offers_its_best_responses() -> None:
    count = LONGLIST + 200
    layout, clusters = one_nest([n % 3 for n in range(count)])
    one = Clusters(*(part.__class__.of(part[0], array([len(part[0])])) for part in clusters))
    typical = np.random.default_rng(0).permutation(np.arange(1, count + 1) / count)
    recipe = settled(group_by="g", relevance=0, candidates=0.5)
    consensus = Consensus(typical, np.arange(count))
    found = find_choices(layout, one, shape(one, recipe), consensus, None, recipe)
    assert found.rows.shape == (count, WIDTH)
    share = np.exp(log_share(shape(one, recipe)))[0]
    names = np.arange(count) % 3
    sizes = np.bincount(names)
    rank = np.argsort(np.argsort(-sizes, kind="stable"))[names]
    best = np.sort(np.log(share[rank]) + 100 * typical)[::-1][:WIDTH]
    assert found.weights == pytest.approx(np.tile(best, (count, 1)), rel=1e-5)


class Narrow:
    """An encoder of a few dimensions."""

    def encode(self, texts: list[str]) -> Floats:
        return as_floats(directions(len(texts), len(texts), 4))


def test_a_large_group_is_weighed_by_relevance_too() -> None:
    count = LONGLIST + 100
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


def rows_of(count: int, exchange: int | None = None) -> Layout:
    """Return rows that only draws are made for: each an exchange of its own, or all of one."""
    zeros, places = np.zeros(count, np.int64), np.arange(count)
    exchanges = places if exchange is None else np.full(count, exchange)
    keys = np.random.default_rng(5).integers(0, 2**63, count).astype(np.uint64)
    return Layout(["hi"], ["r"], zeros, zeros, zeros, exchanges, places, keys)


@pytest.mark.parametrize("sharpening", ["adaptive", "proportional", "power"])
def test_without_weights_a_draw_is_the_paper_s(sharpening: str) -> None:
    layout, clusters = one_nest([0, 0, 0, 0, 1, 1, 2, 2, 3])
    recipe = settled(**PLAIN, sharpening=sharpening, temperature=2.0, top_clusters=3)
    facts = shape(clusters, recipe)
    consensus = consensus_of([0.5] * 9)
    found = find_choices(layout, clusters, facts, consensus, None, recipe)
    rows = rows_of(20_000, exchange=3)
    kinds = np.arange(9)
    ((drawn, probability),) = draw_weighted(found, rows, kinds, np.ones(20_000, bool), recipe)
    frequency = np.bincount(drawn.source, minlength=9) / 20_000
    rank = np.repeat([0, 1, 2, 3], clusters.sizes[3])[np.argsort(clusters.members[3])]
    odds = np.append(facts.odds[3], 0)
    expected = odds[rank] / np.bincount(rank)[rank]
    assert frequency.sum() == pytest.approx(1)
    assert (np.abs(frequency - expected) <= 5 * np.sqrt(expected * (1 - expected) / 20_000)).all()
    assert drawn.rank.tolist() == rank[drawn.source].tolist()
    assert probability == pytest.approx(odds[drawn.rank], rel=1e-5)


# prices


def choices_of(weights: Any) -> Choices:
    """Return choices with rows 0, 1, ... in the order given, best first or not."""
    weights = np.asarray(weights, np.float32)
    rows = np.tile(np.arange(weights.shape[1]), (len(weights), 1))
    return Choices(rows, np.zeros_like(rows), weights)


def load_of(choices: Choices, kinds: Ints, asking: npt.NDArray[Any]) -> Reals:
    """Return how many rows are expected to draw each kind."""
    shares = np.exp(choices.weights.astype(float) - choices.weights.max(axis=1, keepdims=True))
    shares *= (asking / shares.sum(axis=1))[:, None]
    return np.bincount(kinds[choices.rows].ravel(), shares.ravel()).astype(np.float64)


@given(st.integers(0, 2**32), st.integers(2, 30), st.integers(3, 12), st.floats(0, 3))
def test_prices_bring_the_expected_load_within_the_bound(
    seed: int, exchanges: int, width: int, scale: float
) -> None:
    rng = np.random.default_rng(seed)
    weights = -np.sort(-scale * rng.standard_normal((exchanges, width)), axis=1)
    choices, kinds = choices_of(weights), rng.permutation(width)
    asking = rng.integers(0, 4, exchanges)
    bound = max(2 * float(asking.sum()) / width, 1.0)  # twice the room that is needed
    found = priced(choices, kinds, asking, bound)
    assert load_of(found, kinds, asking).max() <= 1.1 * bound
    assert load_of(found, kinds, asking).sum() == pytest.approx(asking.sum())


@given(st.integers(0, 2**32), st.integers(1, 20), st.integers(1, 12))
def test_prices_leave_alone_what_nobody_draws_too_often(
    seed: int, exchanges: int, width: int
) -> None:
    rng = np.random.default_rng(seed)
    choices = choices_of(-np.sort(-rng.standard_normal((exchanges, width)), axis=1))
    asking = rng.integers(0, 4, exchanges)
    kinds = np.arange(width) // 2
    bound = load_of(choices, kinds, asking).max() + 0.01
    for limit in (bound, 0.0):
        assert priced(choices, kinds, asking, limit).weights.tobytes() == choices.weights.tobytes()


def test_near_duplicates_share_one_price() -> None:
    choices = choices_of([[1.0, 1.0, 1.0, 0.0]] * 30)
    found = priced(choices, array([0, 0, 1, 2]), np.ones(30, np.int64), 10)
    assert load_of(found, array([0, 0, 1, 2]), np.ones(30)) == pytest.approx([10] * 3, rel=0.1)
    assert found.weights[0, 0] == found.weights[0, 1] < found.weights[0, 2]


@pytest.mark.parametrize("gap", [1.0, 5.0])
def test_prices_work_however_much_the_best_is_preferred(gap: float) -> None:
    choices = choices_of(-gap * np.tile(np.arange(40), (100, 1)))
    found = priced(choices, np.arange(40), np.ones(100, np.int64), 8)
    assert load_of(found, np.arange(40), np.ones(100)).max() <= 1.5 * 8


# bounded draws


def needless(choices: Choices, kinds: Ints, drawn: list[Weighted], repeats: int) -> Counter[int]:
    """Return how many draws of each kind beyond its bound had another choice to the very end."""
    taken = [[int(kinds[row]) for row in one.drawn.source] for one in drawn]
    used = Counter(kind for target in taken for kind in target)
    free: Counter[int] = Counter()
    for row, mine in enumerate(zip(*taken, strict=True)):
        offered = kinds[choices.rows[row][np.isfinite(choices.weights[row])]].tolist()
        if any(used[kind] < repeats for kind in set(offered) - set(mine)):
            free.update(mine)
    return free - Counter(dict.fromkeys(free, repeats))


@given(
    st.integers(0, 2**32),
    st.integers(1, 4),
    st.integers(1, 3),
    st.integers(3, 12),
    st.floats(0, 60),
)
def test_no_kind_is_drawn_beyond_its_bound_while_others_are_left(
    seed: int, repeats: int, targets: int, width: int, scale: float
) -> None:
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, 60))
    choices = choices_of(scale * rng.standard_normal((count, width)))
    kinds = rng.permutation(width) // 2
    recipe = settled(repeats=repeats, targets=targets)
    drawn = draw_weighted(choices, rows_of(count), kinds, np.ones(count, bool), recipe)
    if (width + 1) // 2 >= targets:
        assert not needless(choices, kinds, drawn, repeats)


@pytest.mark.parametrize("gap", [0.0, 1.0, 3.0, 10.0])
def test_the_bound_holds_however_many_rows_prefer_the_same(gap: float) -> None:
    choices = choices_of(-gap * np.tile(np.arange(40), (100, 1)))
    recipe = settled(repeats=8)
    every, kinds = np.ones(100, bool), np.arange(40)
    drawn = draw_weighted(choices, rows_of(100), kinds, every, recipe)
    assert not needless(choices, kinds, drawn, 8)


def test_the_first_rows_keep_what_all_want() -> None:
    choices = choices_of([[0, -1000, -2000]] * 7)
    (one,) = draw_weighted(
        choices, rows_of(7), array([4, 2, 0]), np.ones(7, bool), settled(repeats=2)
    )
    assert one.drawn.source.tolist()[:6] == [0, 0, 1, 1, 2, 2]
    assert one.probability.tolist() == [1] * 7


def test_without_a_bound_all_draw_what_all_want() -> None:
    choices = choices_of([[0, -1000]] * 50)
    kinds, every = array([0, 1]), np.ones(50, bool)
    (one,) = draw_weighted(choices, rows_of(50), kinds, every, settled(repeats=0))
    assert set(one.drawn.source.tolist()) == {0}


def test_near_duplicates_count_as_one_response() -> None:
    choices = choices_of([[0, 0, 0, -100, -200]] * 6)
    kinds, every = array([0, 0, 0, 1, 2]), np.ones(6, bool)
    (one,) = draw_weighted(choices, rows_of(6), kinds, every, settled(repeats=2))
    assert Counter(kinds[one.drawn.source].tolist()) == {0: 2, 1: 2, 2: 2}


@given(st.integers(0, 2**32), st.integers(1, 5), st.integers(1, 8), st.integers(0, 3))
def test_targets_of_a_row_are_distinct_kinds_as_long_as_there_are_any(
    seed: int, targets: int, width: int, repeats: int
) -> None:
    rng = np.random.default_rng(seed)
    weights = rng.standard_normal((12, width))
    choices = choices_of(np.where(rng.random((12, width)) < 0.3, -np.inf, weights))
    kinds, asking = rng.integers(0, 6, width), rng.random(12) < 0.8
    recipe = settled(repeats=repeats, targets=targets)
    drawn = draw_weighted(choices, rows_of(12), kinds, asking, recipe)
    for row in range(12):
        offered = {int(kinds[i]) for i in range(width) if np.isfinite(choices.weights[row, i])}
        sources = [int(one.drawn.source[row]) for one in drawn]
        mine = [int(kinds[source]) for source in sources if source >= 0]
        assert len(mine) == len(set(mine)) == (min(targets, len(offered)) if asking[row] else 0)
        assert set(mine) <= offered
        assert sources == [s for s in sources if s >= 0] + [-1] * (targets - len(mine))


# the whole line

CORPUS = [
    (f"my {part} hurts {when}", f"{start} {end} about that {part}")
    for part in ["head", "knee", "back", "foot"]
    for when in ["today", "at night", "so much"]
    for start, end in zip(
        "see do put ask no try".split(), "me it ice him way tea".split(), strict=True
    )
]


def told(found: Curation, pairs: list[tuple[str, str]]) -> list[tuple[Any, ...]]:
    """Return what became of each exchange without ids, sorted."""
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
        found = curate(corpus, recipe, Tools(engine=Local(workers)))
        outcomes.append(told(found, pairs))
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
    kind = found.consensus.kind[found.layout.response[place]]
    drawn = [
        int(kind[row["source_id"]])
        for row in found.lineage.to_pylist()
        if row["action"] == "replaced"
    ]
    assert len(drawn) > 40
    assert max(Counter(drawn).values()) <= repeats
