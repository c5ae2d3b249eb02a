from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from isaac import Corpus, Recipe, curate
from isaac.curation.lineage import first_targets
from isaac.models.encoders import HashingEncoder
from isaac.runs.reports import relevance
from isaac.runs.reports.comparison import (
    RunComparison,
    compare_curations,
    draw_comparison,
    format_comparison,
)
from isaac.runs.reports.relevance import OWN_VECTORS, Judge, load_judge, measure_relevance
from isaac.runs.reports.summary import summarize
from isaac.runs.reports.written import find_written_rows, summarize_written
from isaac.text import share_of_distinct_pairs
from tests.runs.reports.labels import check_labels

SMALL = {"context_encoder": "hashing", "response_encoder": "hashing", "neighbors": 20}


@pytest.fixture
def corpus(exchanges: list[dict[str, str]]) -> Corpus:
    return Corpus.of((row["context"], row["response"]) for row in exchanges)


def test_distinct_pairs_are_counted_within_texts() -> None:
    # a b, b c | a b, b a: four pairs, three of them different; "c a" would cross a text's end
    assert share_of_distinct_pairs(["A b c", "a B a"]) == 3 / 4
    assert share_of_distinct_pairs(["one", ""]) is None


def test_written_rows_are_counted_from_the_lineage(corpus: Corpus) -> None:
    curation = curate(corpus, Recipe.of({**SMALL, "mode": "filter", "budget": 0.5}))
    first = first_targets(curation.lineage)
    rows = find_written_rows(curation, first)
    actions = first.column("action").to_pylist()
    kept = [row for row, action in enumerate(actions) if action != "dropped"]
    assert rows.ids.tolist() == rows.sources.tolist() == kept
    assert not rows.changed.any()
    summary = summarize_written(curation, rows)
    texts = corpus.column("response")
    assert summary.written == len(kept) == 60
    assert summary.touched == len(texts) - len(kept)
    assert summary.texts_before == len(set(texts))
    assert summary.texts_after == len({texts[row] for row in kept})
    # All written rows are in the sample, so the order of the sample does not matter.
    assert summary.pairs_after == pytest.approx(
        share_of_distinct_pairs(texts[row] for row in kept), abs=1e-4
    )


def test_a_row_that_got_an_equal_text_is_not_changed() -> None:
    texts = ["yes", "no", "yes", "no"] * 10
    corpus = Corpus.of((f"question {i}", text) for i, text in enumerate(texts))
    curation = curate(corpus, Recipe.of({**SMALL, "mode": "resample", "budget": 1.0}))
    rows = find_written_rows(curation, first_targets(curation.lineage))
    expected = [
        texts[i] != texts[j] for i, j in zip(rows.ids.tolist(), rows.sources.tolist(), strict=True)
    ]
    assert rows.changed.tolist() == expected
    facts = summarize(curation)
    assert facts["changed"] == sum(expected)
    assert facts["written"] == len(texts)


def compare(
    monkeypatch: pytest.MonkeyPatch, judge: Judge, corpora: Sequence[Corpus]
) -> list[tuple[object, ...]]:
    monkeypatch.setattr("isaac.runs.reports.comparison.load_judge", lambda used: judge)
    curations = [
        curate(corpus, Recipe.of({**SMALL, "mode": "resample", "budget": 0.8}))
        for corpus in corpora
    ]
    return [tuple(row) for c in curations for row in compare_curations(["run"], [c], None)]


@pytest.mark.parametrize("judge", [Judge(OWN_VECTORS), Judge("a test", HashingEncoder())])
def test_measures_do_not_depend_on_the_order_of_rows(
    monkeypatch: pytest.MonkeyPatch, exchanges: list[dict[str, str]], judge: Judge
) -> None:
    pairs = [(row["context"], row["response"]) for row in exchanges]
    shuffled = [pairs[i] for i in np.random.default_rng(0).permutation(len(pairs))]
    first, second = compare(monkeypatch, judge, [Corpus.of(pairs), Corpus.of(shuffled)])
    assert first == pytest.approx(second)
    assert first[9] == judge.name


def test_an_unchanged_corpus_keeps_all_its_relevance(corpus: Corpus) -> None:
    curation = curate(corpus, Recipe.of({**SMALL, "budget": 0.0}))
    rows = find_written_rows(curation, first_targets(curation.lineage))
    (found,) = measure_relevance([curation], [rows], Judge("a test", HashingEncoder()))
    assert found.cosine_after == found.cosine_before
    assert found.answers_after == found.answers_before


def test_the_judge_is_an_encoder_that_no_run_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relevance, "find_minilm", lambda: None)
    assert load_judge({"hashing"}).name == "WordLlama"
    assert load_judge({"wordllama", "hashing"}) == Judge(OWN_VECTORS)
    loaded: list[str] = []
    monkeypatch.setattr(relevance, "find_minilm", lambda: "folder")
    monkeypatch.setattr(relevance, "load_encoder", loaded.append)
    assert load_judge({"wordllama"}).name == "MiniLM"
    assert load_judge({"st:some/all-MiniLM-L6-v2"}).name == "WordLlama"
    assert loaded == ["st:folder", "wordllama"]


def test_the_table_names_the_vectors_that_measured(corpus: Corpus) -> None:
    curation = curate(corpus, Recipe.of({**SMALL, "mode": "filter"}))
    rows = compare_curations(["a|b"], [curation], None)
    lines = format_comparison(rows).splitlines()
    assert "relevance kept, by WordLlama" in lines[0]
    assert "unsafe by source" not in lines[0]
    assert lines[2].startswith("| a\\|b |")
    assert "| 50.0% | 50.0% |" in lines[2]


def compared(name: str, relevance: float | None, changed: float) -> RunComparison:
    values = (0.5, changed, 100, 60, 0.6, 0.5, 0.4, "MiniLM", relevance, 0.5, 0.4)
    return RunComparison(name, "applies", *values)


@pytest.mark.parametrize(
    "rows",
    [
        [compared("a", 0.8, 0.5)],
        [compared("a run with a very long name that is cut somewhere", 1.0, 1.0)] * 8,
        [compared(f"run {i}", 0.9 + i / 100, 0.4 + i / 100) for i in range(12)],
        [compared("nothing", None, 0.0), compared("other", -0.2, 0.0)],
        [
            compared("a", 0.9, 0.5)._replace(unsafe_before=0.2, unsafe_after=after)
            for after in (0.1, 0.3)
        ],
    ],
)
def test_the_chart_of_a_comparison_has_no_overlapping_labels(rows: list[RunComparison]) -> None:
    check_labels(draw_comparison(rows))


def test_the_chart_of_a_comparison_has_a_title_a_legend_and_a_direction() -> None:
    run = compared("mild", 0.9, 0.5)
    plain = draw_comparison([run, run._replace(name="strong")])
    assert "Compared runs: rows touched and relevance kept" in plain
    assert "1  mild" in plain
    assert "2  strong" in plain
    assert "relevance kept, by MiniLM →" in plain
    labeled = draw_comparison([run._replace(unsafe_before=0.2, unsafe_after=0.1)])
    assert "up: fewer unsafe responses left" in labeled
    assert "↑ reduction of the unsafe share" in labeled
