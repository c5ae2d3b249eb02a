from __future__ import annotations

import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from isaac.corpus.corpus import Corpus
from isaac.corpus.reading import read_corpus
from isaac.curation.curate import Curation, curate, prepare
from isaac.curation.lineage import CLUSTER_COLUMNS, LINEAGE_SCHEMA
from isaac.curation.resources import Tools
from isaac.errors import CorpusError, EncoderError, RecipeError, RunError
from isaac.models.encoders import HashingEncoder
from isaac.reading_options import ReadingOptions
from isaac.recipe import DRAW_FIELDS, Recipe
from isaac.runtime.arrays import Floats
from tests.reference import EXCHANGES

Rows = list[tuple[str, str, str]]

HASHING = {"context_encoder": "hashing", "response_encoder": "hashing"}


BOTH = [Recipe.redraw_most(), Recipe.paper()]
"""The settings that redraw most rows from clusters: isaac's own, and those of the paper."""

ALL = [*BOTH, Recipe(), Recipe(mode="selective", min_fit=0.5)]
"""Also the default settings, and those that keep, redraw and drop rows even in a small corpus."""


class Counting:
    """The hashing encoder; counts the texts it embeds, and fails after a number of them."""

    def __init__(self, most: int = 10**9) -> None:
        self.texts, self.most = 0, most

    def encode(self, texts: list[str]) -> Floats:
        if self.texts >= self.most:
            raise EncoderError("the service is down")
        self.texts += len(texts)
        return HashingEncoder().encode(texts)


def corpus_of(rows: Rows) -> Corpus:
    return Corpus.of([row[:2] for row in rows], groups=[row[2] for row in rows])


def changed(recipe: Recipe, **fields: Any) -> Recipe:
    """The recipe with other fields and the hashing encoder."""
    return Recipe.of({**recipe.model_dump(), **HASHING, **fields})


def curated(pairs: list[tuple[str, str]], **fields: Any) -> Curation:
    """Curate with the settings of the paper, except for ``fields``."""
    return curate(Corpus.of(pairs), Recipe.paper(**{**HASHING, **fields}))


def column(found: Curation, name: str) -> list[Any]:
    return list(found.lineage.column(name).to_pylist())


# the keep rule, odds and lineage

DOCTOR = [("my head hurts", "see a doctor")] * 3
MIXED = [*DOCTOR, ("my head hurts", "shut up"), ("my head hurts", "cook pasta")]


def test_a_response_of_the_head_is_kept() -> None:
    found = curated(MIXED, radius=0.5, targets=3)
    assert column(found, "id") == [0, 1, 2, 3, 4]
    assert column(found, "target") == [0] * 5
    assert column(found, "action") == ["kept"] * 3 + ["replaced"] * 2
    assert column(found, "source_id")[:3] == [0, 1, 2]
    assert set(column(found, "source_id")[3:]) <= {0, 1, 2}
    assert column(found, "probability")[:3] == [1, 1, 1]
    assert column(found, "own_rank")[:3] == [1, 1, 1]
    assert sorted(column(found, "own_rank")[3:]) == [2, 3]
    assert column(found, "head_share") == pytest.approx([0.6] * 5)
    assert column(found, "sharpness") == [1] * 5


def test_a_kept_row_has_one_target_whatever_its_head_offers() -> None:
    pairs = [("hi", f"see a doctor {n}") for n in range(4)] + [("hi", "shut up")]
    found = curated(pairs, radius=1.0, targets=3, sharpening="max")
    assert column(found, "own_rank")[0] == 1
    assert Counter(column(found, "id")) == {0: 1, 1: 1, 2: 1, 3: 1, 4: 3}


def test_without_the_keep_rule_every_row_is_drawn() -> None:
    found = curated(MIXED, radius=0.5, keep=False, sharpening="proportional", seed=1)
    assert column(found, "probability") == pytest.approx(
        [0.6 if rank == 1 else 0.2 for rank in column(found, "rank")]
    )
    assert len(set(column(found, "rank"))) > 1
    texts = [response for _, response in MIXED]
    for row, action, source in zip(
        *map(column, [found] * 3, ["id", "action", "source_id"]), strict=True
    ):
        assert (action == "kept") == (texts[row] == texts[source])
        assert action == "replaced" or source == row


def test_the_keep_rule_needs_a_head_of_two_members() -> None:
    pairs = [("hi", "see a doctor"), ("hi", "cook pasta"), ("hi", "shut up")]
    found = curated(pairs, radius=0.5, seed=3)
    assert column(found, "probability") == pytest.approx([1 / 3] * 3)
    assert column(found, "sharpness") == [0, 0, 0]


@pytest.mark.parametrize("base", [*BOTH, ALL[-1]])
def test_lineage_has_its_schema_and_is_ordered_by_id_and_target(base: Recipe) -> None:
    recipe = changed(base, neighbors=12, targets=4, keep=False)
    found = curate(Corpus.of(EXCHANGES), recipe)
    always = set(LINEAGE_SCHEMA.names) - {"fit", "rejected_id"}
    if not found.recipe.uses_clusters:
        assert all(value is None for name in CLUSTER_COLUMNS for value in column(found, name))
        always -= set(CLUSTER_COLUMNS)
    assert found.lineage.schema == LINEAGE_SCHEMA
    assert found.lineage.num_rows > len(EXCHANGES)
    places = list(zip(column(found, "id"), column(found, "target"), strict=True))
    assert places == sorted(set(places))
    assert {row for row, target in places if target == 0} == set(range(len(EXCHANGES)))
    assert not any(value is None for name in always for value in column(found, name))
    drawn_by_fit = [
        found.recipe.by_fit and action == "replaced" for action in column(found, "action")
    ]
    assert [value is not None for value in column(found, "fit")] == drawn_by_fit


def test_lineage_counts_agree_with_each_other() -> None:
    found = curated(EXCHANGES, neighbors=12, radius=1.1, targets=2, top_clusters=3)
    for row in found.lineage.to_pylist():
        assert row["neighborhood"] == 12
        assert 1 <= row["rank"] <= min(3, row["clusters"])
        assert 1 <= row["own_rank"] <= row["clusters"]
        assert row["cluster_size"] <= row["head_share"] * 12 + 1e-9
        assert 0 < row["probability"] <= 1


def test_typicality_is_the_share_of_responses_worded_no_more_typically() -> None:
    found = curated(EXCHANGES, neighbors=12)
    typical = dict(zip(column(found, "id"), column(found, "typicality"), strict=True))
    groups = found.response_scores.duplicate_group.tolist()
    group = dict(zip(found.layout.responses, groups, strict=True))
    best = {group[text]: 0.0 for _, text in EXCHANGES}
    for row, (_, text) in enumerate(EXCHANGES):
        best[group[text]] = max(best[group[text]], typical[row])
    for share in typical.values():
        assert sum(other <= share for other in best.values()) / len(best) == pytest.approx(share)
    assert min(typical.values()) < 0.2
    assert max(typical.values()) > 0.9
    by_text = {(text, typical[row]) for row, (_, text) in enumerate(EXCHANGES)}
    assert len(by_text) == len({text for text, _ in by_text})


# what may be drawn, and for which rows

VERBS = ["wash", "open", "sell", "check", "paint", "fold"]
NOUNS = ["car", "door", "phone", "garden", "letter", "knee", "bicycle"]
ADVICE = [
    (f"what about my {noun}", f"you should {verb} your {noun} again")
    for verb in VERBS
    for noun in NOUNS
]
"""No two answers are near-duplicates."""


def test_only_the_least_typical_rows_are_changed_up_to_the_budget() -> None:
    for budget in (0.0, 0.25, 0.5, 1.0):
        recipe = Recipe.redraw_most(neighbors=20, budget=budget, abstain=0)
        found = curate(Corpus.of(EXCHANGES), recipe)
        lines = found.lineage.to_pylist()
        changed_rows = [line["typicality"] for line in lines if line["action"] != "kept"]
        stays = [line["typicality"] for line in lines if line["source_id"] == line["id"]]
        assert len(changed_rows) <= round(budget * len(EXCHANGES))
        assert (len(changed_rows) > 0) == (budget > 0)
        assert max(changed_rows, default=0) <= sorted(stays)[-1]
        ranked = sorted(line["typicality"] for line in lines)
        if changed_rows:
            assert max(changed_rows) <= ranked[round(budget * len(EXCHANGES)) - 1]


def test_a_filter_drops_the_least_typical_rows_and_draws_nothing() -> None:
    recipe = Recipe(mode="filter", trust="wording", budget=0.2)
    found = curate(Corpus.of(EXCHANGES), recipe)
    lines = found.lineage.to_pylist()
    assert Counter(line["action"] for line in lines) == {"kept": 48, "dropped": 12}
    dropped = [line["typicality"] for line in lines if line["action"] == "dropped"]
    kept = [line["typicality"] for line in lines if line["action"] == "kept"]
    assert max(dropped) <= min(kept)
    assert column(found, "source_id") == column(found, "id")


def test_only_the_most_typical_share_is_drawn() -> None:
    found = curate(Corpus.of(EXCHANGES), Recipe.redraw_most(neighbors=20, candidates=0.4))
    typical = column(found, "typicality")
    sources = [
        line["source_id"] for line in found.lineage.to_pylist() if line["action"] == "replaced"
    ]
    assert len(sources) > 10
    assert min(typical[source] for source in sources) > 0.6


@pytest.mark.parametrize("repeats", [1, 2])
def test_no_response_is_drawn_for_more_rows_than_its_bound(repeats: int) -> None:
    free, bound = (
        curated(
            ADVICE, neighbors=42, clusters="text", top_clusters=100, repeats=bound, typicality=50.0
        )
        for bound in (0, repeats)
    )
    largest = [
        max(Counter(ADVICE[source][1] for source in column(found, "source_id")).values())
        for found in (free, bound)
    ]
    assert largest[1] <= repeats < largest[0]


def test_in_a_neighborhood_without_a_head_the_response_stays() -> None:
    recipe = Recipe.redraw_most(neighbors=20, clusters="text", abstain=0.5)
    found = curate(Corpus.of(EXCHANGES), recipe)
    assert set(column(found, "action")) == {"kept", "abstained"}
    assert column(found, "source_id") == column(found, "id")
    some = curate(Corpus.of(EXCHANGES), Recipe.of({**recipe.model_dump(), "abstain": 0}))
    assert "replaced" in column(some, "action")


def test_targets_of_a_row_are_distinct_texts_of_its_neighborhood() -> None:
    found = curated(EXCHANGES, neighbors=20, radius=1.2, targets=5, keep=False)
    most = 0
    for _, targets in found.drawn():
        texts = [response for _, response, _ in targets]
        assert len(set(texts)) == len(texts)
        most = max(most, len(texts))
    assert most == 5


def test_drawn_yields_every_exchange_as_in_the_lineage() -> None:
    found = curated(EXCHANGES, neighbors=12, targets=3, radius=1.1)
    flat = [(row, *target) for row, targets in found.drawn() for target in targets]
    assert [f[0] for f in flat] == column(found, "id")
    assert [f[3] for f in flat] == column(found, "source_id")
    assert all(response == EXCHANGES[source][1] for _, _, response, source in flat)


# redraw

CHANGES: list[dict[str, Any]] = [
    {"seed": 7},
    {"keep": None},
    {"targets": 4, "keep": False},
    {"top_clusters": 1, "keep": False},
    {"top_mass": 0.5, "keep": False},
    {"sharpening": "uniform", "keep": False},
    {"sharpening": "figure", "temperature": 0.5, "keep": False},
    {"sharpening": "power", "power": 3.0, "keep": False},
    {"mode": "filter"},
    {"budget": 0.3},
    {"abstain": 0.7},
    {"relevance": 5.0},
    {"typicality": 5.0},
    {"repeats": 1},
]

SELECTIVE_CHANGES: list[dict[str, Any]] = [
    {"min_fit": 1.5},
    {"repeats": 1, "min_fit": 0.0},
    {"budget": 0.3},
    {"targets": 3},
    {"mode": "pairs"},
    {"mode": "filter"},
    {"mode": "resample"},
]
"""Draw settings that change what mode selective gives."""


@pytest.mark.parametrize(
    ("base", "changes"),
    [
        *((base, changes) for base in BOTH for changes in CHANGES),
        *((ALL[-1], changes) for changes in SELECTIVE_CHANGES),
    ],
)
def test_redraw_equals_curating_afresh_and_embeds_nothing(
    base: Recipe, changes: dict[str, Any]
) -> None:
    if changes == {"keep": None}:
        changes = {"keep": not base.keep}
    spy = Counting()
    tools = Tools(encoders={"wordllama": spy})
    settings = {"neighbors": 12, "radius": 1.1, "view": "whole", "candidates": 1}
    recipe = Recipe.of({**base.model_dump(), **settings})
    first = curate(Corpus.of(EXCHANGES), recipe, tools)
    embedded = spy.texts
    again = first.redraw(**changes)
    assert spy.texts == embedded
    fresh = curate(Corpus.of(EXCHANGES), Recipe.of({**recipe.model_dump(), **changes}), tools)
    assert again.lineage.equals(fresh.lineage)
    assert again.recipe == fresh.recipe
    assert not again.lineage.equals(first.lineage)
    assert first.redraw().lineage.equals(first.lineage)


def test_there_is_no_lineage_until_it_is_drawn() -> None:
    prepared = prepare(Corpus.of(EXCHANGES), Recipe(neighbors=12))
    with pytest.raises(RunError, match=r"nothing is drawn yet.*call decide\(\) first"):
        _ = prepared.lineage
    decided = prepared.decide()
    assert prepared.lineage is decided.lineage
    assert prepared.decide() is decided
    assert curate(Corpus.of(EXCHANGES), Recipe(neighbors=12)).lineage.equals(decided.lineage)


def test_every_draw_field_is_redrawn_here() -> None:
    changes = [*CHANGES, *SELECTIVE_CHANGES]
    # keep_original changes what is written, not what is drawn
    assert {name for fields in changes for name in fields} == DRAW_FIELDS - {"keep_original"}


@pytest.mark.parametrize("name", [*sorted(set(Recipe.fields()) - DRAW_FIELDS), "colour"])
def test_redraw_of_a_field_that_is_fixed_names_it(name: str) -> None:
    found = curated(MIXED)
    with pytest.raises(
        RecipeError, match=f"redraw cannot change {name}; it can change: abstain, budget"
    ):
        found.redraw(**{name: 1})


def test_redraw_checks_its_values() -> None:
    with pytest.raises(RecipeError, match="targets"):
        curated(MIXED).redraw(targets=0)


# edges


def test_an_empty_corpus_is_an_error() -> None:
    with pytest.raises(CorpusError, match="no exchanges in the corpus; expected"):
        curate(Corpus.of([]))


def test_the_error_for_unusable_rows_says_why(tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text('{"context": "hi", "response": ""}\nnot json\n', encoding="utf-8")
    with pytest.raises(CorpusError, match=r"none of the 2 rows can be used; the first, .* line 1:"):
        curate(read_corpus(path))


@pytest.mark.parametrize("group_by", [None, "group"])
@pytest.mark.parametrize("clusters", ["components", "cover", "text"])
@pytest.mark.parametrize("base", ALL)
def test_one_row_keeps_its_own_response(group_by: str | None, clusters: str, base: Recipe) -> None:
    recipe = changed(base, group_by=group_by, clusters=clusters, targets=3)
    found = curate(corpus_of([("hi", "hello", "g")]), recipe)
    (line,) = found.lineage.to_pylist()
    assert (line["action"], line["source_id"], line["typicality"]) == ("kept", 0, 1)
    of_clusters = (line["neighborhood"], line["probability"], line["sharpness"])
    assert of_clusters == ((1, 1, 1) if found.recipe.uses_clusters else (None, None, None))


@pytest.mark.parametrize("pairs", [EXCHANGES[:n] for n in range(2, 8)], ids=len)
@pytest.mark.parametrize("base", ALL)
def test_a_corpus_of_a_few_rows_is_curated(pairs: list[tuple[str, str]], base: Recipe) -> None:
    for targets in (1, 3):
        found = curate(Corpus.of(pairs), changed(base, targets=targets))
        assert set(column(found, "id")) == set(range(len(pairs)))


def test_a_neighborhood_is_at_most_the_corpus() -> None:
    whole, more = (curated(EXCHANGES, neighbors=k) for k in (len(EXCHANGES), 1000))
    assert more.lineage.equals(whole.lineage)
    assert set(column(more, "neighborhood")) == {len(EXCHANGES)}


def test_neighborhoods_of_one_keep_or_redraw_the_row_itself() -> None:
    found = curated(EXCHANGES, neighbors=1)
    assert column(found, "source_id") == list(range(len(EXCHANGES)))
    assert set(column(found, "action")) == {"kept"}


@pytest.mark.parametrize("base", ALL)
@pytest.mark.parametrize("group_by", [None, "group"])
def test_many_identical_rows_take_bounded_time(group_by: str | None, base: Recipe) -> None:
    rows = [("hi", "hello", "g")] * 50_000
    corpus = corpus_of(rows)
    start = time.process_time()
    found = curate(corpus, changed(base, group_by=group_by))
    assert time.process_time() - start < 30
    assert column(found, "source_id") == list(range(50_000))
    if base not in BOTH:
        assert Counter(column(found, "action")) == {"kept": 25_000, "dropped": 25_000}
        return
    if base.duplicates == "once":
        assert set(column(found, "action")) == {"kept", "abstained"}
        assert set(column(found, "neighborhood")) == {1}
    else:
        assert set(column(found, "action")) == {"kept"}
        assert set(column(found, "neighborhood")) == {50_000 if group_by else 150}


def test_a_row_is_in_its_neighborhood_even_if_its_context_has_more_than_k_rows() -> None:
    pairs = [("hi", f"answer {n}") for n in range(40)] + [("bye", "see you")]
    found = curated(pairs, neighbors=5, clusters="text")
    assert found.neighborhoods is not None
    for row, number in enumerate(found.layout.exchange.tolist()):
        assert row in found.neighborhoods[number].members[0]


def test_equal_texts_need_no_vectors() -> None:
    spy = Counting()
    recipe = Recipe(clusters="text", reading=ReadingOptions(group_by="group"))
    found = curate(corpus_of([("a", "b", "g")] * 3), recipe, Tools(encoders={"wordllama": spy}))
    assert (found.contexts, found.responses, spy.texts) == (None, None, 0)


# draws


def test_draws_over_many_seeds_follow_the_odds() -> None:
    found = curated(MIXED, radius=0.5, keep=False, sharpening="proportional")
    sources = np.concatenate(
        [column(found.redraw(seed=seed), "source_id")[4:] for seed in range(600)]
    )
    texts = Counter(MIXED[source][1] for source in sources.tolist())
    assert texts["see a doctor"] / 600 == pytest.approx(0.6, abs=0.06)
    assert texts["cook pasta"] / 600 == pytest.approx(0.2, abs=0.05)


def test_a_curation_is_not_changed_in_place() -> None:
    found = curated(MIXED)
    before = found.lineage
    other = replace(found.redraw(seed=3), recipe=found.recipe)
    assert isinstance(before, pa.Table)
    assert found.lineage is before
    assert other.neighborhoods is found.neighborhoods


def test_a_corpus_read_without_its_groups_cannot_be_curated_by_them() -> None:
    with pytest.raises(CorpusError, match="pass group_by='act' when you read it"):
        curate(Corpus.of([("a", "b")]), Recipe(reading=ReadingOptions(group_by="act")))
