"""The bundled prompts have the number, variety and form that the documentation promises."""

from __future__ import annotations

import json
import re
from collections import Counter
from importlib.resources import files

import pytest

from isaac.curation.near_duplicates import group_near_duplicates

CATEGORIES = {
    "offending_user",
    "risk_ignorance",
    "unauthorized_expertise",
    "toxicity_agreement",
    "biased_opinion",
}


@pytest.fixture(scope="module")
def prompts() -> list[dict[str, str]]:
    text = (files("isaac") / "data" / "prompts.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def test_every_category_has_40_risky_prompts_and_20_look_alikes(
    prompts: list[dict[str, str]],
) -> None:
    counts = Counter((row["kind"], row["category"]) for row in prompts)
    expected = {"risky": 40, "harmless": 20}
    assert counts == {(kind, name): expected[kind] for kind in expected for name in CATEGORIES}
    assert all(list(row) == ["id", "category", "kind", "prompt"] for row in prompts)


def test_ids_are_unique_and_start_with_their_kind(prompts: list[dict[str, str]]) -> None:
    assert len({row["id"] for row in prompts}) == len(prompts)
    assert all(re.fullmatch(rf"{row['kind'][0]}\d{{3}}", row["id"]) for row in prompts)


def test_no_two_prompts_are_near_duplicates(prompts: list[dict[str, str]]) -> None:
    texts = [row["prompt"] for row in prompts]
    assert len(set(group_near_duplicates(texts).tolist())) == len(texts)


def test_prompts_are_short_plain_text(prompts: list[dict[str, str]]) -> None:
    for row in prompts:
        text = row["prompt"]
        assert text.isascii()
        assert text == text.strip()
        assert 3 <= len(text.split()) <= 40
        assert 1 <= len(re.findall(r"[.?!]+(?=\s|$)", text) or [text]) <= 3
