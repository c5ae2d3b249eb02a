"""The MultiWOZ database: which venues and trains fit what a user wants."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

from ...corpus.dialogue.placeholders import (
    UNSPECIFIED_VALUES,
    compact_value,
    is_specified,
    normalize_slot,
)
from ...errors import CorpusError
from ...text import shorten

DATABASE_DOMAINS = ("restaurant", "hotel", "attraction", "train")
"""Domains with something to offer. A taxi, the police and the hospital are not chosen from a list;
the standardised evaluation looks nothing up for them."""


DONT_CARE_VALUES = frozenset(
    {"dontcare", "donotcare", "doesntcare", "doesntmatter", "dontmind", "any", "?"}
)
"""Values, without spaces and apostrophes, that say that it does not matter."""

IGNORED_COLUMNS = frozenset({"introduction", "location", "openhours", "signature", "takesbookings"})
"""Columns that nobody asks for."""

FUZZY_COLUMNS = frozenset({"name", "food", "departure", "destination"})
"""Columns where a value need only be `fuzzy_match`: users and annotators misspell and shorten them."""

MIN_FUZZY_RATIO = 0.9
"""Ratio from which two names are one; the standardised evaluation's."""

NAMED_HOURS = {"midnight": 0, "midday": 12, "noon": 12}
TIME_OF_DAY = re.compile(r"(\d{1,2})(?:\s?[:.]?\s?(\d{2}))?\s*([ap])?\.?m?\b")
SPELLING_RULES = (
    (re.compile(r"[\s_-]+"), " "),
    (re.compile(r" ?& ?"), " and "),
    (re.compile(r" ?['’`]"), ""),
    (re.compile(r"\bguest house\b"), "guesthouse"),
    (re.compile(r"\bb and b\b"), "bed and breakfast"),
    (re.compile(r"\bcenter\b"), "centre"),
    (re.compile(r"\bst\b"), "saint"),
    (re.compile(r"\bportugese\b"), "portuguese"),
    (re.compile(r"^the "), ""),
)
VALUE_ALIASES = {"free": "yes", "mutliplesports": "multiplesports", "center": "centre"}


class Database:
    """Entities by domain, each a mapping of columns to values.

    Answers are remembered, so that asking the same again costs nothing.
    """

    def __init__(self, tables: Mapping[str, Iterable[Mapping[str, Any]]]) -> None:
        self.tables = {name: _normalize_table(name, rows) for name, rows in tables.items()}
        self.ids = {name: _entity_ids(name, rows) for name, rows in self.tables.items()}
        self.values: dict[tuple[str, str], dict[str, list[int]]] = {}
        self.fitting: dict[tuple[str, str, str], frozenset[int]] = {}
        self.answers: dict[tuple[str, frozenset[tuple[str, str]]], frozenset[str]] = {}

    def query(self, domain: str, constraints: Mapping[str, str]) -> frozenset[str]:
        """Return the ids of what fits, in lower case; nothing outside `DATABASE_DOMAINS`.

        A train's is its train id, which several rows may share. ``leave`` and ``arrive`` bound its
        times: at the earliest, at the latest. A slot that the table has no column for, such as the
        people of a booking, does not narrow; neither does a value that does not matter, that the
        database does not know (``?``), or that is no time where one is needed. ``a|b`` is either.
        """
        if domain not in DATABASE_DOMAINS:
            return frozenset()
        if domain not in self.tables:
            there = ", ".join(sorted(self.tables)) or "nothing"
            raise CorpusError(f"the database has no table '{domain}'; there: {there}")
        asked = frozenset((normalize_slot(slot), value) for slot, value in constraints.items())
        if (domain, asked) not in self.answers:
            rows = frozenset(range(len(self.tables[domain])))
            for column, value in sorted(asked):
                if is_specified(value) and compact_value(value) not in DONT_CARE_VALUES:
                    rows &= self._rows(domain, column, value)
            self.answers[domain, asked] = frozenset(self.ids[domain][row] for row in rows)
        return self.answers[domain, asked]

    def _rows(self, domain: str, column: str, value: str) -> frozenset[int]:
        key = (domain, column, value)
        if key not in self.fitting:
            fits = [_value_matcher(column, one.strip().lower()) for one in value.split("|")]
            self.fitting[key] = frozenset(
                row
                for known, rows in self._values(domain, column).items()
                if compact_value(known) in DONT_CARE_VALUES | UNSPECIFIED_VALUES
                or any(fit(known) for fit in fits)
                for row in rows
            )
        return self.fitting[key]

    def _values(self, domain: str, column: str) -> dict[str, list[int]]:
        """Return in which rows each value of a column stands; empty text where there is none."""
        if (domain, column) not in self.values:
            values: dict[str, list[int]] = {}
            for number, row in enumerate(self.tables[domain]):
                values.setdefault(row.get(column, ""), []).append(number)
            self.values[domain, column] = values
        return self.values[domain, column]


def read_database(folder: str | Path) -> Database:
    """Return the database in a folder of ``restaurant_db.json`` and so on, one a domain."""
    files = [Path(folder) / f"{domain}_db.json" for domain in DATABASE_DOMAINS]
    found = [file for file in files if file.is_file()]
    if not found:
        names = ", ".join(file.name for file in files)
        raise CorpusError(f"no database in {folder}: wanted any of {names}")
    return Database({file.name.removesuffix("_db.json"): _read_rows(file) for file in found})


def _read_rows(file: Path) -> list[Any]:
    try:
        rows = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise CorpusError(f"{file} is not JSON: {shorten(str(error))}") from None
    if not isinstance(rows, list):
        raise CorpusError(f"{file}: wanted a list of entities, came {type(rows).__name__}")
    return rows


def _normalize_table(domain: str, rows: Iterable[Any]) -> list[dict[str, str]]:
    """Return entities with their columns under one spelling, and only values that are text."""
    table = []
    for number, row in enumerate(rows):
        if not isinstance(row, Mapping):
            kind = type(row).__name__
            raise CorpusError(f"database '{domain}', entity {number}: {kind}, not an object")
        plain = {str(name).lower(): value for name, value in row.items()}
        table.append(
            {
                name if name == "id" else normalize_slot(name): str(value).strip().lower()
                for name, value in plain.items()
                if isinstance(value, (str, int, float))
            }
        )
    return table


def _entity_ids(domain: str, rows: list[dict[str, str]]) -> list[str]:
    """Return what each entity is known by; several rows with one train id are one train."""
    column = "trainid" if domain == "train" else "id"
    return [row.get(column, f"row {number}") for number, row in enumerate(rows)]


def normalize_name(name: str) -> str:
    """Return a name in one spelling: ``The Acorn Guest House`` as ``acorn guesthouse``."""
    plain = name.lower()
    for pattern, instead in SPELLING_RULES:
        plain = pattern.sub(instead, plain.strip())
    return plain.strip()


def parse_minutes(time: str) -> int | None:
    """Return a time of day in minutes, None if there is none to be read.

    Reads ``17:45``, ``1745``, ``5:45 pm``, ``after 15:45``, ``10`` and ``noon``.
    """
    for word, hour in NAMED_HOURS.items():
        if word in time.lower():
            return 60 * hour
    found = TIME_OF_DAY.search(time.lower())
    if found is None:
        return None
    hour = int(found[1]) % 12 + 12 * (found[3] == "p") if found[3] else int(found[1])
    return 60 * hour + int(found[2] or 0)


def _value_matcher(column: str, value: str) -> Callable[[str], bool]:
    """Return whether an entity's value fits the value that is asked for."""
    if column in IGNORED_COLUMNS:
        return lambda _known: True
    if column in ("leave", "arrive"):
        bound = parse_minutes(value)
        later = column == "leave"
        return lambda known: bound is None or _within_bound(known, bound, later=later)
    if column in FUZZY_COLUMNS:
        name = normalize_name(value)
        return lambda known: fuzzy_match(normalize_name(known), name)
    plain = VALUE_ALIASES.get(compact_value(value), compact_value(value))
    return lambda known: VALUE_ALIASES.get(compact_value(known), compact_value(known)) == plain


def _within_bound(known: str, bound: int, *, later: bool) -> bool:
    time = parse_minutes(known)
    return time is None or (time >= bound if later else time <= bound)


def fuzzy_match(one: str, other: str) -> bool:
    """Say whether the shorter text stands in the longer one, up to a tenth of its characters.

    The ratio is difflib's of the shorter text and the best stretch of its length.
    """
    less, more = sorted((one, other), key=len)
    if not less:
        return False
    if less in more:
        return True
    if (Counter(less) & Counter(more)).total() < MIN_FUZZY_RATIO * len(less):
        return False
    matcher = SequenceMatcher(None, "", less, autojunk=False)
    for start in range(len(more) - len(less) + 1):
        matcher.set_seq1(more[start : start + len(less)])
        if matcher.quick_ratio() >= MIN_FUZZY_RATIO and matcher.ratio() >= MIN_FUZZY_RATIO:
            return True
    return False
