"""The bundled corpus with its labels and the situations that its exchanges were written for."""

from __future__ import annotations

import functools
import json
from importlib.resources import files
from typing import Any, NamedTuple

import numpy as np
from common import CorpusWithLabels

from isaac import Corpus


class BundledCorpus(NamedTuple):
    """The corpus, grouped by situation, with its labels, and the situation of each exchange."""

    labeled: CorpusWithLabels
    situations: list[str]


@functools.cache
def read_bundled() -> BundledCorpus:
    """Read the bundled corpus."""
    rows = read_rows("demo.jsonl")
    unsafe = np.array([row["label"] == "unsafe" for row in read_rows("demo_labels.jsonl")])
    situations = [row["situation"] for row in rows]
    pairs = ((row["context"], row["response"]) for row in rows)
    return BundledCorpus(CorpusWithLabels(Corpus.of(pairs, situations), unsafe), situations)


def read_rows(name: str) -> list[dict[str, Any]]:
    """Read a JSON Lines file of the package's data."""
    text = (files("isaac") / "data" / name).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]
