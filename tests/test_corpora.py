"""The corpora of benchmarks/corpora.py, and what curation must not do to them."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import pytest

from isaac import Corpus, Recipe, curate

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from common import read_draws
from corpora import CORPORA, TEMPLATES, Row, check_draws, find_scripts, make_rows


@pytest.mark.parametrize("name", CORPORA)
def test_made_corpora_are_varied_and_a_tenth_is_rude(name: str) -> None:
    rows = make_rows(name)
    assert len(rows) > 200
    assert len({row.context for row in rows}) > 0.9 * len(rows)
    assert len({row.response for row in rows}) > 0.5 * len(rows)
    assert 0.05 < sum(row.unsafe for row in rows) / len(rows) < 0.16
    assert make_rows(name) == rows
    assert make_rows(name, seed=1) != rows


def test_languages_have_their_scripts() -> None:
    assert find_scripts("你好, AI 2!") == {"CJK", "LATIN"}
    scripts = {
        name: {
            script for row in make_rows(name) for script in find_scripts(row.context + row.response)
        }
        for name in ("german", "chinese", "arabic")
    }
    assert scripts == {"german": {"LATIN"}, "chinese": {"CJK"}, "arabic": {"ARABIC"}}


def test_checks_count_changed_rows_by_hand() -> None:
    rows = [
        Row("a", "hello", "english", "1", unsafe=False),
        Row("b", "go away", "english", "1", unsafe=True),
        Row("c", "hallo", "german", "2", unsafe=False),
        Row("d", "你好", "chinese", "2", unsafe=False),
    ]
    found = check_draws(rows, [(0, 0), (1, 0), (2, 3)])
    assert found == (3 / 4, 2 / 4, 1 / 2, 1, 1, 1 / 4, 0)
    assert math.isnan(check_draws(rows, [(0, 0)]).right)


@pytest.mark.parametrize("name", CORPORA)
def test_defaults_keep_to_the_language_and_never_make_a_corpus_more_unsafe(name: str) -> None:
    rows = make_rows(name)
    curation = curate(Corpus.of((row.context, row.response) for row in rows), Recipe())
    ids, sources = read_draws(curation)
    found = check_draws(rows, list(zip(ids.tolist(), sources.tolist(), strict=True)))
    assert (found.other_language, found.other_script) == (0, 0)
    assert found.unsafe_after <= found.unsafe_before
    if name in ("code", "facts", "tools"):
        assert found.redrawn == 0


def test_answers_from_outside_the_bundled_corpus_are_two_hundred() -> None:
    lines = TEMPLATES.with_name("outside.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    assert len(rows) == len({row["context"] for row in rows}) == 200
    assert {row["kind"] for row in rows} == {"facts", "code", "small talk", "sums"}
