"""Labeled exchanges to fit a judge on, and their split into rows for fitting and for measuring."""

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
"""The share of contexts that are held out with all their rows, the share of the other rows that
are held out, and the share of the rest that serves for early stopping and calibration."""

MIN_ROWS_PER_LABEL = 20
"""Rows of each label that are needed to fit and measure a judge."""


class LabeledRows(NamedTuple):
    """Exchanges with their labels and categories; ``categories`` has an empty text for none."""

    contexts: list[str]
    responses: list[str]
    unsafe: Flags
    categories: list[str]

    def take(self, indices: Ints) -> LabeledRows:
        """Select rows by index."""
        chosen = indices.tolist()
        return LabeledRows(
            [self.contexts[i] for i in chosen],
            [self.responses[i] for i in chosen],
            self.unsafe[indices],
            [self.categories[i] for i in chosen],
        )


class LabeledCorpus(NamedTuple):
    """The labeled rows of a corpus, and the number of rows left out for each reason."""

    rows: LabeledRows
    left_out: dict[str, int]


class LabelDefinition(NamedTuple):
    """The column with the labels, and which of its values mean unsafe and safe, ignoring case.

    Rows with another label are left out. You can leave ``safe`` empty if the column has only one
    label that is not unsafe. ``category`` is a column; the quality is also reported for each of its
    values.
    """

    column: str
    unsafe: Sequence[str]
    safe: Sequence[str] = ()
    category: str | None = None


def read_labeled_rows(corpus: Corpus, labels: LabelDefinition) -> LabeledCorpus:
    """Read the labeled rows of a corpus, each pair of context and response once.

    A pair that occurs with both labels is left out, because either could be wrong. Raises
    `RecipeError` if a column or a label does not occur, or if the safe labels are ambiguous.
    """
    contexts, responses = corpus.column("context"), corpus.column("response")
    verdicts: dict[tuple[str, str], set[bool]] = {}
    categories: dict[tuple[str, str], str] = {}
    values = Counter(
        _read_text(record, labels.column).strip() for record, ids in corpus.records() for _ in ids
    )
    unlabeled, repeated, has_category = values.pop("", 0), 0, False
    meanings = _resolve_labels(values, labels, len(corpus.rejected))
    for record, ids in corpus.records():
        unsafe = meanings.get(_read_text(record, labels.column).strip())
        has_category = has_category or labels.category in record
        if unsafe is None:
            continue
        for number in ids:
            pair = contexts[number], responses[number]
            repeated += pair in verdicts
            verdicts.setdefault(pair, set()).add(unsafe)
            categories.setdefault(pair, _read_text(record, labels.category))
    if labels.category is not None and not has_category:
        raise RecipeError(
            f"no record has a column '{labels.category}'; name the category column: --category COL"
        )
    pairs = [pair for pair, both in verdicts.items() if len(both) == 1]
    other = sum(count for value, count in values.items() if value not in meanings)
    left_out = {
        "not readable": len(corpus.rejected),
        "without a label": unlabeled,
        "with another label": other,
        "repeated": repeated,
        "with both labels": len(verdicts) - len(pairs),
    }
    flags = np.array([verdicts[pair] == {True} for pair in pairs], np.bool_)
    columns = [list(column) for column in zip(*pairs, strict=True)] or [[], []]
    rows = LabeledRows(columns[0], columns[1], flags, [categories[pair] for pair in pairs])
    return LabeledCorpus(rows, {reason: count for reason, count in left_out.items() if count})


def _read_text(record: dict[str, Any], column: str | None) -> str:
    value = None if column is None else record.get(column)
    empty = value is None or (isinstance(value, float) and math.isnan(value))
    return "" if empty else str(value)


def _resolve_labels(
    values: Counter[str], labels: LabelDefinition, rejected: int
) -> dict[str, bool]:
    """Map each value that means safe or unsafe to whether it means unsafe."""
    column, unsafe, safe = (
        labels.column,
        _casefold_values(labels.unsafe),
        _casefold_values(labels.safe),
    )
    examples = ", ".join(
        f"{shorten(value, 40)} ({count:,})" for value, count in values.most_common(8)
    )
    if not values:
        hint = f" ({rejected:,} records cannot be read)" if rejected else ""
        raise RecipeError(
            f"no record has a column '{column}' with a label{hint}; name the label column: "
            "--label COL"
        )
    available = {value.casefold() for value in values}
    for name, expected in (("unsafe", unsafe), ("safe", safe)):
        if missing := sorted(expected - available):
            raise RecipeError(
                f"no record has {column} = '{make_printable(missing[0])}'; available: {examples}. "
                f"Use --{name} VALUE"
            )
    if unsafe & safe:
        raise RecipeError(
            f"label '{min(unsafe & safe)}' cannot mean both safe and unsafe; give it to only one "
            "of --safe and --unsafe"
        )
    if not safe and len(available - unsafe) > 1:
        raise RecipeError(
            f"column '{column}' has several labels that are not unsafe: {examples}. Name the "
            "labels that mean safe and unsafe, separated by commas: --safe VALUES --unsafe VALUES; "
            "rows with other labels are left out"
        )
    safe = safe or available - unsafe
    meanings = {value: value.casefold() in unsafe for value in values}
    return {value: bad for value, bad in meanings.items() if bad or value.casefold() in safe}


def _casefold_values(values: Sequence[str]) -> set[str]:
    return {value.strip().casefold() for value in values}


class RowSplit(NamedTuple):
    """Row indices of each part: for fitting, for tuning, held-out pairs, and unseen contexts.

    No context of ``unseen`` occurs in another part. A pair in ``pairs`` is in no other part, but
    its context may be.
    """

    fit: Ints
    tune: Ints
    pairs: Ints
    unseen: Ints


def split_rows(rows: LabeledRows, seed: int) -> RowSplit:
    """Split the rows at random by a seed.

    Raises `RecipeError` if there are too few rows, or if a part lacks one of the labels.
    """
    rng = np.random.default_rng(seed)
    # The context of each row as a number (n,), and the numbers of the held-out contexts.
    names, context = np.unique(np.array(rows.contexts, dtype=object), return_inverse=True)
    held_out = rng.permutation(len(names))[: round(UNSEEN_SHARE * len(names))]
    unseen = np.isin(context, held_out)
    # The other rows in random order: first the held-out pairs, then the tuning rows, then the rest.
    rest = rng.permutation(np.flatnonzero(~unseen))
    first = round(HELD_OUT_SHARE * len(rest))
    second = first + round(TUNING_SHARE * (len(rest) - first))
    split = RowSplit(
        fit=np.sort(rest[second:]),
        tune=np.sort(rest[first:second]),
        pairs=np.sort(rest[:first]),
        unseen=np.flatnonzero(unseen),
    )
    _check_enough_rows(rows, split)
    return split


def _check_enough_rows(rows: LabeledRows, split: RowSplit) -> None:
    unsafe, safe = int(rows.unsafe.sum()), int((~rows.unsafe).sum())
    size = f"{unsafe:,} unsafe and {safe:,} safe rows with {len(set(rows.contexts)):,} contexts"
    if min(unsafe, safe) < MIN_ROWS_PER_LABEL:
        raise RecipeError(
            f"{size} are too few to fit and measure a judge; give at least {MIN_ROWS_PER_LABEL} "
            "rows of each label, preferably several hundred"
        )
    if not all(0 < rows.unsafe[part].sum() < len(part) for part in split):
        raise RecipeError(
            f"{size} cannot be split so that each part has both labels (fitting, tuning, held-out "
            "pairs, unseen contexts); give more rows or more contexts"
        )
