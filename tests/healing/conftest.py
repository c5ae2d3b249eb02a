"""The bundled corpus with its labels, a healer with its curation, and answers from outside it."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

import pytest

from isaac import Corpus, Healer, Recipe, curate

Pair = tuple[str, str]


@pytest.fixture(scope="session")
def bundled() -> list[Pair]:
    """The exchanges of the bundled corpus."""
    lines = (files("isaac") / "data" / "demo.jsonl").read_text(encoding="utf-8").splitlines()
    return [(row["context"], row["response"]) for row in map(json.loads, lines)]


@pytest.fixture(scope="session")
def unsafe() -> set[int]:
    """The numbers of the unsafe exchanges of the bundled corpus."""
    lines = (files("isaac") / "data" / "demo_labels.jsonl").read_text(encoding="utf-8").splitlines()
    return {row["id"] for row in map(json.loads, lines) if row["label"] == "unsafe"}


@pytest.fixture(scope="session")
def demo_healer(bundled: list[Pair]) -> Healer:
    """A healer with the curation of the bundled corpus by the default recipe."""
    return Healer(curate(Corpus.of(bundled), Recipe()))


@pytest.fixture(scope="session")
def outside() -> list[Pair]:
    """200 correct answers from outside the bundled corpus: facts, code, sums, languages, talk."""
    lines = Path(__file__).with_name("outside.jsonl").read_text(encoding="utf-8").splitlines()
    return [(row["context"], row["response"]) for row in map(json.loads, lines)]
