from __future__ import annotations

import numpy as np
import pytest

from isaac import Corpus, Recipe, curate
from isaac.curation.curate import Curation
from isaac.curation.lineage import first_targets
from isaac.runs.reports import cases, isolation
from isaac.runs.reports.cases import collect_cases, find_repeated
from isaac.runs.reports.isolation import summarize_isolation
from isaac.runs.reports.rendering import render_html
from isaac.runs.reports.summary import summarize

SMALL = {"context_encoder": "hashing", "response_encoder": "hashing", "neighbors": 20}


@pytest.fixture
def corpus(exchanges: list[dict[str, str]]) -> Corpus:
    return Corpus.of((row["context"], row["response"]) for row in exchanges)


@pytest.fixture
def redrawn(corpus: Corpus) -> Curation:
    return curate(corpus, Recipe.of({**SMALL, "mode": "resample", "budget": 0.8}))


@pytest.fixture
def filtered(corpus: Corpus) -> Curation:
    return curate(corpus, Recipe.of({**SMALL, "mode": "filter", "budget": 0.5}))


def test_the_worst_of_the_replaced_rows_come_first(redrawn: Curation) -> None:
    first = first_targets(redrawn.lineage)
    found = collect_cases(redrawn, first)
    actions = first.column("action").to_pylist()
    assert found["measure"] == "relevance"
    values = [row["suspicion"] for row in found["table"]]
    assert values == sorted(values)
    assert len(values) == found["changed"] == actions.count("replaced")
    assert [row["id"] for row in found["least_fitting"]] == [
        row["id"] for row in found["table"][: cases.MAX_CASES]
    ]
    assert found["fine_dropped"] == []
    assert len(found["random"]) == cases.MAX_RANDOM
    for row in found["table"]:
        assert actions[row["id"]] == row["action"] == "replaced"


def test_dropped_rows_that_look_finest_come_first(filtered: Curation) -> None:
    found = collect_cases(filtered, first_targets(filtered.lineage))
    values = [row["suspicion"] for row in found["fine_dropped"]]
    assert values == sorted(values, reverse=True)
    assert found["least_fitting"] == found["repeated"] == []
    assert all(row["after"] is None for row in found["table"])


def test_a_table_is_bounded_and_says_where_the_rest_is(
    filtered: Curation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cases, "MAX_TABLE_ROWS", 10)
    summary = summarize(filtered)
    assert len(summary["cases"]["table"]) == 10
    page = render_html(summary)
    assert f"10 of {summary['cases']['changed']} changed rows" in page
    assert "<code>isaac diff RUN</code> lists them all" in page


def test_both_kinds_of_changes_share_a_bounded_table(
    redrawn: Curation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cases, "MAX_TABLE_ROWS", 10)
    first, ids = first_targets(redrawn.lineage), np.arange(120)
    values = cases.Suspicion("relevance", np.linspace(0, 1, 120))

    def count(replaced: int, dropped: int) -> int:
        parts = (ids[:replaced], ids[60 : 60 + dropped])
        return len(cases._build_table(redrawn, first, *parts, (values, values)))

    assert [count(50, 50), count(50, 3), count(3, 50), count(2, 1)] == [10, 10, 10, 3]


def test_repeated_responses_are_counted_over_replaced_rows(redrawn: Curation) -> None:
    first = first_targets(redrawn.lineage)
    found = find_repeated(redrawn, first)
    drawn = [
        redrawn.original_responses(np.array([row["source_id"]]))[0]
        for row in first.to_pylist()
        if row["action"] == "replaced"
    ]
    assert found
    assert [each["rows"] for each in found] == [drawn.count(each["text"]) for each in found]
    assert found[0]["rows"] == max(map(drawn.count, drawn))


def test_cases_do_not_depend_on_the_order_of_rows(exchanges: list[dict[str, str]]) -> None:
    pairs = [(row["context"], row["response"]) for row in exchanges]
    order = np.random.default_rng(0).permutation(len(pairs))
    found = []
    for rows in (pairs, [pairs[i] for i in order]):
        curation = curate(Corpus.of(rows), Recipe.of({**SMALL, "mode": "filter", "budget": 0.5}))
        first = first_targets(curation.lineage)
        chosen = collect_cases(curation, first)["fine_dropped"]
        texts = [(row["message"], row["before"]) for row in chosen]
        bands = summarize_isolation(curation, first)
        assert bands is not None
        found.append((texts, bands["bands"]))
    assert found[0] == found[1]


def test_isolation_is_the_nearest_other_message(
    filtered: Curation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(isolation, "BLOCK_CONTEXTS", 7)
    assert filtered.contexts is not None
    vectors = filtered.contexts.vectors
    found = isolation._find_nearest(vectors, np.arange(len(vectors)))
    centered = vectors / 2048 - (vectors / 2048).mean(axis=0)
    centered /= np.linalg.norm(centered, axis=1, keepdims=True)
    cosines = centered @ centered.T
    np.fill_diagonal(cosines, -1)
    assert found == pytest.approx(cosines.max(axis=1), abs=1e-3)


def test_rows_of_a_group_are_counted_by_its_size() -> None:
    groups = ["alone", *["few"] * 3, *["many"] * 30]
    corpus = Corpus.of([(f"m {i}", f"r {i % 5}") for i in range(34)], groups)
    curation = curate(corpus, Recipe.redraw_most(clusters="text", reading={"group_by": "g"}))
    found = summarize_isolation(curation, first_targets(curation.lineage))
    assert found is not None
    totals = [
        sum(band[action] for action in ("kept", "replaced", "abstained")) for band in found["bands"]
    ]
    assert (found["by"], totals) == ("group", [1, 3, 0, 30, 0])
    assert [each["id"] for each in found["alone"]] == [0]
