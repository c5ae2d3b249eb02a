"""Labelled exchanges to fit a judge on, and how they are split so that its figures are honest."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ....corpus.corpus import Corpus
from ....errors import RecipeError
from ....runtime.arrays import Flags, Ints
from ....text import make_printable, shorten

UNSEEN_SHARE, HELD_OUT_SHARE, TUNING_SHARE = 0.15, 0.15, 0.1
"""Shares of the contexts that are not fitted on at all, of the other rows that are held out, and
of the rest that say when to stop and how sure to be."""

MIN_ROWS_PER_LABEL = 20
"""Rows of each label without which there is nothing to fit or to measure."""


class LabeledRows(NamedTuple):
    """Exchanges with what their label says; ``categories`` are empty texts where none is known."""

    contexts: list[str]
    responses: list[str]
    unsafe: Flags
    categories: list[str]

    def take(self, places: Ints) -> LabeledRows:
        """Return some of the rows."""
        chosen = places.tolist()
        return LabeledRows(
            [self.contexts[i] for i in chosen],
            [self.responses[i] for i in chosen],
            self.unsafe[places],
            [self.categories[i] for i in chosen],
        )


class LabeledCorpus(NamedTuple):
    """The rows of a corpus, and how many of it are none of them, by the reason."""

    rows: LabeledRows
    left_out: dict[str, int]


class LabelDefinition(NamedTuple):
    """The column of the labels, and which of its values mean what, in any case.

    A row whose label is neither is left out. ``safe`` may be left open where but one label is not
    unsafe. ``category`` is a column by whose values to report.
    """

    column: str
    unsafe: Sequence[str]
    safe: Sequence[str] = ()
    category: str | None = None


def read_labeled_rows(corpus: Corpus, labels: LabelDefinition) -> LabeledCorpus:
    """Return the labelled rows of a corpus, each pair of texts once.

    A pair that stands there with both labels is left out, since neither is known to be right.
    Raises `RecipeError` if a column or a value is not there, or is not known to be safe.
    """
    contexts, responses = corpus.column("context"), corpus.column("response")
    known: dict[tuple[str, str], set[bool]] = {}
    categories: dict[tuple[str, str], str] = {}
    values = Counter(
        _read_text(record, labels.column).strip() for record, ids in corpus.records() for _ in ids
    )
    unlabelled, repeated, seen = values.pop("", 0), 0, False
    meant = _resolve_labels(values, labels, len(corpus.rejected))
    for record, ids in corpus.records():
        bad = meant.get(_read_text(record, labels.column).strip())
        seen = seen or labels.category in record
        if bad is None:
            continue
        for number in ids:
            pair = contexts[number], responses[number]
            repeated += pair in known
            known.setdefault(pair, set()).add(bad)
            categories.setdefault(pair, _read_text(record, labels.category))
    if labels.category is not None and not seen:
        raise RecipeError(f"no record has a column '{labels.category}': --category COL")
    pairs = [pair for pair, labels in known.items() if len(labels) == 1]
    left_out = {
        "not readable": len(corpus.rejected),
        "without a label": unlabelled,
        "with another label": sum(count for value, count in values.items() if value not in meant),
        "repeated": repeated,
        "with both labels": len(known) - len(pairs),
    }
    flags = np.array([known[pair] == {True} for pair in pairs], np.bool_)
    columns = [list(column) for column in zip(*pairs, strict=True)] or [[], []]
    rows = LabeledRows(columns[0], columns[1], flags, [categories[pair] for pair in pairs])
    return LabeledCorpus(rows, {why: count for why, count in left_out.items() if count})


def _read_text(record: dict[str, Any], column: str | None) -> str:
    value = None if column is None else record.get(column)
    empty = value is None or (isinstance(value, float) and math.isnan(value))
    return "" if empty else str(value)


def _resolve_labels(
    values: Counter[str], labels: LabelDefinition, rejected: int
) -> dict[str, bool]:
    """Return of each value that means something whether it means unsafe."""
    column, unsafe, safe = (
        labels.column,
        _casefold_values(labels.unsafe),
        _casefold_values(labels.safe),
    )
    some = ", ".join(f"{shorten(value, 40)} ({count:,})" for value, count in values.most_common(8))
    if not values:
        more = f" ({rejected:,} records cannot be read)" if rejected else ""
        raise RecipeError(
            f"no record has a column '{column}' with a label{more}; name it: --label COL"
        )
    there = {value.casefold() for value in values}
    for name, wanted in (("unsafe", unsafe), ("safe", safe)):
        if missing := sorted(wanted - there):
            raise RecipeError(
                f"no record has {column} = '{make_printable(missing[0])}'; there: {some}. "
                f"Try --{name} VALUE"
            )
    if unsafe & safe:
        raise RecipeError(f"'{min(unsafe & safe)}' is said to be both safe and unsafe")
    if not safe and len(there - unsafe) > 1:
        raise RecipeError(
            f"'{column}' has more labels than one that is not unsafe; there: {some}. Say which "
            "of them mean safe, and which unsafe, with commas: --safe VALUES --unsafe VALUES; "
            "rows with others are left out"
        )
    safe = safe or there - unsafe
    meant = {value: value.casefold() in unsafe for value in values}
    return {value: bad for value, bad in meant.items() if bad or value.casefold() in safe}


def _casefold_values(values: Sequence[str]) -> set[str]:
    return {value.strip().casefold() for value in values}


class RowSplit(NamedTuple):
    """Places of rows: to fit on, to tune on, held-out pairs, and pairs of unseen contexts.

    The contexts of the last stand in none of the others; a held-out pair may share its context,
    but not its response to it, with rows that are fitted on.
    """

    fit: Ints
    tune: Ints
    pairs: Ints
    unseen: Ints


def split_rows(rows: LabeledRows, seed: int) -> RowSplit:
    """Return the split of a seed; raise `RecipeError` if a part lacks one of the labels."""
    rng = np.random.default_rng(seed)
    names, context = np.unique(np.array(rows.contexts, dtype=object), return_inverse=True)
    away = rng.permutation(len(names))[: round(UNSEEN_SHARE * len(names))]
    unseen = np.isin(context, away)
    rest = rng.permutation(np.flatnonzero(~unseen))
    first = round(HELD_OUT_SHARE * len(rest))
    second = first + round(TUNING_SHARE * (len(rest) - first))
    parts = RowSplit(
        fit=np.sort(rest[second:]),
        tune=np.sort(rest[first:second]),
        pairs=np.sort(rest[:first]),
        unseen=np.flatnonzero(unseen),
    )
    _check_enough_rows(rows, parts)
    return parts


def _check_enough_rows(rows: LabeledRows, parts: Sequence[Ints]) -> None:
    labels = int(rows.unsafe.sum()), int((~rows.unsafe).sum())
    told = f"{labels[0]:,} unsafe and {labels[1]:,} safe rows"
    contexts = len(set(rows.contexts))
    if min(labels) < MIN_ROWS_PER_LABEL:
        raise RecipeError(
            f"{told} on {contexts:,} contexts are too few to fit and to measure a judge; at least "
            f"{MIN_ROWS_PER_LABEL} of each are wanted, and some hundreds are better"
        )
    if not all(0 < rows.unsafe[part].sum() < len(part) for part in parts):
        raise RecipeError(
            f"{told} on {contexts:,} contexts cannot be parted: rows to fit on, to tune on, to "
            "measure on, and those of contexts that are not seen each want both labels. Give more "
            "rows, or more contexts"
        )
