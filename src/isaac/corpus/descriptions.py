"""What else in a record is about its old response, and must not stay beside a new one.

A label or a score describes the response that was judged, reasoning led to it, and other columns
may repeat it. Copies are replaced too; the rest is moved out of the record. What says which of
several answers is the best stays, so that the record is read in the same way again.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from .formats.contents import TEXT_KEYS
from .formats.context_response import RESPONSE_COLUMNS
from .formats.prompt_columns import HISTORY_COLUMNS, SYSTEM_COLUMNS, TEXT_COLUMNS
from .formats.reasoning import REASONING_KEYS
from .formats.roles import fold_name
from .records import dumps

LABEL_KEYS = frozenset({"label", "labels", "is_safe", "safe", "unsafe", "safety", "verdict"})
"""Fields that may be about a response.

They are if they have a truth value, a number, a class, or an object of these.
"""

CLASSES = frozenset(
    {"safe", "unsafe", "good", "bad", "toxic", "harmful", "harmless", "desirable", "undesirable"}
)
"""Classes of responses."""

SCORE_KEYS = frozenset(
    {
        "score",
        "scores",
        "rating",
        "ratings",
        "reward",
        "quality",
        "toxicity",
        "harmlessness",
        "helpfulness",
        "helpful",
        "honesty",
        "truthfulness",
        "correctness",
        "coherence",
        "complexity",
        "verbosity",
        "overall_score",
        "logprobs",
        "token_ids",
    }
)
"""Fields that are about a response."""

SCORE_PATTERN = re.compile(
    r"\w+_(?:score|rating|reward|toxicity)s?|(?:score|rating|reward)_\w+"
    r"|is_(?:response_\w+_)?(?:un)?safe|is_(?:correct|toxic|harmful)"
    r"|(?:response|chosen)_\w*(?:safe|safety|label|severity_level|harm_category)"
)
"""Further names of such fields; those of rejected answers are not among them."""

NAMES = "|".join(sorted(LABEL_KEYS | SCORE_KEYS | REASONING_KEYS))
DESCRIPTION_PATTERN = rf'(?i)"(?:{NAMES}|{SCORE_PATTERN.pattern})"\s*:'
"""Matches the JSON of every record with a description, in the syntax of RE2."""

MIN_COPY_CHARACTERS = 12
"""Shortest text that is taken for a copy of the old response wherever it stands."""

COPY_COLUMNS = frozenset({"chosen", "messages", "conversations", "conversation", *RESPONSE_COLUMNS})
"""Columns in which a shorter one is too."""


class MovedFields:
    """Where the descriptions of old responses are moved to, and how many were, by field."""

    def __init__(self, column: str) -> None:
        self.column = column
        self.counts: Counter[str] = Counter()

    def write(self, moved: Mapping[str, Any]) -> dict[str, str]:
        """The column for one record, with what was moved out of it as JSON; empty if nothing was.

        It is text in every row, so that every loader finds one type in it.
        """
        self.counts.update({path.rpartition(".")[2] for path in moved})
        return {self.column: dumps(moved) if moved else ""}

    def describe(self) -> list[str]:
        """A sentence about what was moved, if anything was."""
        if not self.counts:
            return []
        fields = ", ".join(f"{name} of {count:,}" for name, count in sorted(self.counts.items()))
        return [
            "Fields that describe the old response of a replaced row were moved to "
            f"{self.column}, as JSON: {fields}."
        ]


def has_descriptions(corpus_texts: Iterable[pa.ChunkedArray]) -> bool:
    """Whether any record, as JSON, has a field that describes a response."""
    return any(
        pc.any(pc.match_substring_regex(texts.drop_null(), DESCRIPTION_PATTERN)).as_py()
        for texts in corpus_texts
    )


def describes_response(key: str, value: Any) -> bool:
    """Whether a field of a record describes a response of it."""
    if value is None or value in ("", [], {}):
        return False
    folded = fold_name(key)
    if "rejected" in folded:
        return False
    if folded in LABEL_KEYS:
        is_class = isinstance(value, str) and fold_name(value) in CLASSES
        return is_class or isinstance(value, bool | int | float | Mapping)
    is_score = folded in SCORE_KEYS or SCORE_PATTERN.fullmatch(folded) is not None
    return is_score or folded in REASONING_KEYS


def move_descriptions(
    original: Mapping[str, Any],
    record: Mapping[str, Any],
    texts: Mapping[str, str],
    others: Collection[str] = (),
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Take what describes an old response out of a record with new ones.

    ``texts`` maps each old response to the new one; ``others`` are fields about other responses,
    which stay. Returns the record, and what was taken out of
    it by the path of its field.
    """
    moved: dict[str, Any] = {}
    new = dict(record)
    for key, value in record.items():
        is_same = value == original.get(key)
        if key in others:
            continue
        if describes_response(key, value) and isinstance(value, list) and not is_same:
            # A list with an entry for each answer, from which its format took the replaced one's.
            old = enumerate(zip(original[key], value, strict=True))
            moved |= {f"{key}[{n}]": before for n, (before, after) in old if before != after}
        elif describes_response(key, value):
            moved[key], new[key] = value, None
        elif is_same and not _is_prompt(key) and not _is_rejected(key):
            if isinstance(value, Mapping):
                about = [name for name, field in value.items() if describes_response(name, field)]
                moved |= {f"{key}.{name}": value[name] for name in about}
                new[key] = {**value, **dict.fromkeys(about)}
            new[key] = _replace_copies(new[key], _choose_copies(key, texts), whole=False)
        elif not is_same:
            new[key] = _clean_changed(key, original.get(key), value, moved)
    return new, moved


def _choose_copies(key: str, texts: Mapping[str, str]) -> dict[str, str]:
    """The old responses that a column may repeat, with the new ones."""
    short = fold_name(key) in COPY_COLUMNS
    return {old: text for old, text in texts.items() if short or _is_long(old)}


def _clean_changed(path: str, old: Any, new: Any, moved: dict[str, Any]) -> Any:
    """Move the descriptions out of those turns, in lists or trees, whose texts were replaced."""
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        pairs = enumerate(zip(old, new, strict=True))
        return [
            _clean_changed(f"{path}[{n}]", before, after, moved) for n, (before, after) in pairs
        ]
    if old == new or not isinstance(old, Mapping) or not isinstance(new, Mapping):
        return new
    cleaned = {
        name: _clean_changed(f"{path}.{name}", old.get(name), value, moved)
        for name, value in new.items()
    }
    if all(old.get(key) == new.get(key) for key in TEXT_KEYS):
        return cleaned
    fields = {name: value for name, value in old.items() if name not in TEXT_KEYS}
    about = {name for name, value in fields.items() if describes_response(name, value)}
    moved |= {f"{path}.{name}": old[name] for name in sorted(about)}
    return {name: value for name, value in cleaned.items() if name not in about}


def _replace_copies(value: Any, texts: Mapping[str, str], *, whole: bool) -> Any:
    """Replace the old responses in a value: texts that equal one or, at the top, contain one."""
    if isinstance(value, str):
        if (new := texts.get(value.strip())) is not None:
            return new
        for old, new in texts.items() if not whole else ():
            if _is_long(old) and old in value:
                value = value.replace(old, new)
        return value
    if isinstance(value, list):
        return [_replace_copies(item, texts, whole=True) for item in value]
    if isinstance(value, Mapping):
        return {
            key: item if _is_rejected(key) else _replace_copies(item, texts, whole=True)
            for key, item in value.items()
        }
    return value


def _is_long(text: str) -> bool:
    return len(text) >= MIN_COPY_CHARACTERS


def _is_prompt(key: str) -> bool:
    folded = fold_name(key)
    return folded in ("user", *TEXT_COLUMNS, *SYSTEM_COLUMNS, *HISTORY_COLUMNS)


def _is_rejected(key: str) -> bool:
    return "rejected" in fold_name(key)
