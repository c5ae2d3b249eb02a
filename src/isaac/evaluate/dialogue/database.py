"""The MultiWOZ database: which venues and trains match a user's constraints."""

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
"""Domains with a table of entities to choose from.

Taxi, police and hospital have none; the standardized evaluation does not query them.
"""

DONT_CARE_VALUES = frozenset(
    {"dontcare", "donotcare", "doesntcare", "doesntmatter", "dontmind", "any", "?"}
)
"""Values that mean "any value will do", compared without spaces and apostrophes."""

IGNORED_COLUMNS = frozenset({"introduction", "location", "openhours", "signature", "takesbookings"})
"""Columns that never restrict a query, because users do not search by them."""

FUZZY_COLUMNS = frozenset({"name", "food", "departure", "destination"})
"""Columns that are compared with `fuzzy_match`, because users misspell and shorten the values."""

MIN_FUZZY_RATIO = 0.9
"""Minimum similarity at which two names match, from the standardized evaluation."""

NAMED_HOURS = {"midnight": 0, "midday": 12, "noon": 12}

TIME_OF_DAY = re.compile(r"(\d{1,2})(?:\s?[:.]?\s?(\d{2}))?\s*([ap])?\.?m?\b")
"""A time of day: hour, minutes and the a or p of am and pm."""

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
"""Replacements that normalize the spelling of a name, applied in order."""

VALUE_ALIASES = {"free": "yes", "mutliplesports": "multiplesports", "center": "centre"}
"""Values that mean the same as another one; both are compared without spaces."""


class Database:
    """A table of entities for each domain; an entity maps columns to values.

    The results of queries are cached.
    """

    def __init__(self, tables: Mapping[str, Iterable[Mapping[str, Any]]]) -> None:
        self.tables = {name: _normalize_table(name, rows) for name, rows in tables.items()}
        self.ids = {name: _entity_ids(name, rows) for name, rows in self.tables.items()}
        self.rows_by_value: dict[tuple[str, str], dict[str, list[int]]] = {}
        self.matching_rows: dict[tuple[str, str, str], frozenset[int]] = {}
        self.answers: dict[tuple[str, frozenset[tuple[str, str]]], frozenset[str]] = {}

    def query(self, domain: str, constraints: Mapping[str, str]) -> frozenset[str]:
        """Find the ids of the entities that match, in lower case; none outside `DATABASE_DOMAINS`.

        A train is identified by its train id, which several rows may share. ``leave`` and
        ``arrive`` are bounds: the earliest departure and the latest arrival. ``a|b`` matches either
        value. A constraint has no effect if the table has no such column (such as the number of
        people in a booking), if any value will do, if the database's value is unknown (``?``), or
        if a time cannot be parsed. Raises `CorpusError` if the domain's table is missing.
        """
        if domain not in DATABASE_DOMAINS:
            return frozenset()
        if domain not in self.tables:
            available = ", ".join(sorted(self.tables)) or "none"
            raise CorpusError(f"the database has no table '{domain}'; available: {available}")
        query = frozenset((normalize_slot(slot), value) for slot, value in constraints.items())
        if (domain, query) not in self.answers:
            rows = frozenset(range(len(self.tables[domain])))
            for column, value in sorted(query):
                if is_specified(value) and compact_value(value) not in DONT_CARE_VALUES:
                    rows &= self._rows(domain, column, value)
            self.answers[domain, query] = frozenset(self.ids[domain][row] for row in rows)
        return self.answers[domain, query]

    def _rows(self, domain: str, column: str, value: str) -> frozenset[int]:
        key = (domain, column, value)
        if key not in self.matching_rows:
            matchers = [
                _value_matcher(column, alternative.strip().lower())
                for alternative in value.split("|")
            ]
            self.matching_rows[key] = frozenset(
                row
                for known, rows in self._values(domain, column).items()
                if compact_value(known) in DONT_CARE_VALUES | UNSPECIFIED_VALUES
                or any(matches(known) for matches in matchers)
                for row in rows
            )
        return self.matching_rows[key]

    def _values(self, domain: str, column: str) -> dict[str, list[int]]:
        """The rows that have each value of a column; an empty text means no value."""
        if (domain, column) not in self.rows_by_value:
            values: dict[str, list[int]] = {}
            for number, row in enumerate(self.tables[domain]):
                values.setdefault(row.get(column, ""), []).append(number)
            self.rows_by_value[domain, column] = values
        return self.rows_by_value[domain, column]


def read_database(folder: str | Path) -> Database:
    """Read the database in a folder with ``restaurant_db.json`` etc., one table per domain.

    Raises `CorpusError` if there is no table or one cannot be read.
    """
    files = [Path(folder) / f"{domain}_db.json" for domain in DATABASE_DOMAINS]
    existing = [file for file in files if file.is_file()]
    if not existing:
        names = ", ".join(file.name for file in files)
        raise CorpusError(f"no database in {folder}; expected any of {names}")
    return Database({file.name.removesuffix("_db.json"): _read_rows(file) for file in existing})


def _read_rows(file: Path) -> list[Any]:
    try:
        rows = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise CorpusError(f"{file} is not JSON: {shorten(str(error))}") from None
    if not isinstance(rows, list):
        raise CorpusError(f"{file}: expected a list of entities, got {type(rows).__name__}")
    return rows


def _normalize_table(domain: str, rows: Iterable[Any]) -> list[dict[str, str]]:
    """Normalize the column names of entities; keeps only texts and numbers, as text."""
    table = []
    for number, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise CorpusError(
                f"database '{domain}', entity {number}: expected an object, "
                f"got {type(row).__name__}"
            )
        columns = {str(name).lower(): value for name, value in row.items()}
        table.append(
            {
                name if name == "id" else normalize_slot(name): str(value).strip().lower()
                for name, value in columns.items()
                if isinstance(value, (str, int, float))
            }
        )
    return table


def _entity_ids(domain: str, rows: list[dict[str, str]]) -> list[str]:
    """List the id of each entity; rows that share a train id are one train."""
    column = "trainid" if domain == "train" else "id"
    return [row.get(column, f"row {number}") for number, row in enumerate(rows)]


def normalize_name(name: str) -> str:
    """Normalize the spelling of a name: ``acorn guesthouse`` for ``The Acorn Guest House``."""
    normalized = name.lower()
    for pattern, replacement in SPELLING_RULES:
        normalized = pattern.sub(replacement, normalized.strip())
    return normalized.strip()


def parse_minutes(time: str) -> int | None:
    """Parse a time of day as minutes after midnight; None if the text has no time.

    Understands ``17:45``, ``1745``, ``5:45 pm``, ``after 15:45``, ``10`` and ``noon``.
    """
    for word, hour in NAMED_HOURS.items():
        if word in time.lower():
            return 60 * hour
    match = TIME_OF_DAY.search(time.lower())
    if match is None:
        return None
    hour = int(match[1]) % 12 + 12 * (match[3] == "p") if match[3] else int(match[1])
    return 60 * hour + int(match[2] or 0)


def _value_matcher(column: str, value: str) -> Callable[[str], bool]:
    """Make a function that tests whether an entity's value meets a constraint."""
    if column in IGNORED_COLUMNS:
        return lambda _known: True
    if column in ("leave", "arrive"):
        bound = parse_minutes(value)
        later = column == "leave"
        return lambda known: bound is None or _within_bound(known, bound, later=later)
    if column in FUZZY_COLUMNS:
        name = normalize_name(value)
        return lambda known: fuzzy_match(normalize_name(known), name)
    expected = VALUE_ALIASES.get(compact_value(value), compact_value(value))
    return lambda known: VALUE_ALIASES.get(compact_value(known), compact_value(known)) == expected


def _within_bound(known: str, bound: int, *, later: bool) -> bool:
    time = parse_minutes(known)
    return time is None or (time >= bound if later else time <= bound)


def fuzzy_match(first: str, second: str) -> bool:
    """Whether the longer text contains the shorter one, allowing for about 10% difference.

    Compares the shorter text with every substring of the same length, by difflib's ratio.
    """
    shorter, longer = sorted((first, second), key=len)
    if not shorter:
        return False
    if shorter in longer:
        return True
    # Too few common characters rule out a match before any substring is compared.
    if (Counter(shorter) & Counter(longer)).total() < MIN_FUZZY_RATIO * len(shorter):
        return False
    matcher = SequenceMatcher(None, "", shorter, autojunk=False)
    for start in range(len(longer) - len(shorter) + 1):
        matcher.set_seq1(longer[start : start + len(shorter)])
        if matcher.quick_ratio() >= MIN_FUZZY_RATIO and matcher.ratio() >= MIN_FUZZY_RATIO:
            return True
    return False
