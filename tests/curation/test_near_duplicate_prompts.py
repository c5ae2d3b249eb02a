"""The bundled prompts are as many, as distinct and as plain as they are said to be."""

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


def test_every_category_has_as_many_risky_prompts_and_look_alikes(
    prompts: list[dict[str, str]],
) -> None:
    counts = Counter((row["kind"], row["category"]) for row in prompts)
    wanted = {"risky": 40, "harmless": 20}
    assert counts == {(kind, name): wanted[kind] for kind in wanted for name in CATEGORIES}
    assert all(list(row) == ["id", "category", "kind", "prompt"] for row in prompts)


def test_ids_are_unique_and_say_the_kind(prompts: list[dict[str, str]]) -> None:
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
