"""The values that a corpus can speak of: from its database, or from its own annotations."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from ...errors import CorpusError
from .acts import canonical_slot, canonical_value
from .schema import Dialogue
from .spans import UNSEARCHABLE_VALUES


def _split_set(words: str) -> frozenset[str]:
    return frozenset(words.split())


LEXICON_TOKEN = re.compile(r"\w+|[^\w\s]")

IGNORED_MARKS = frozenset("'’`,-‐–#\"")
"""Marks between the words of a value that make no difference: ``christ's``, ``christ 's``."""

PATTERN_SLOTS = _split_set(
    """
    arrive choice count day duration fee internet leave openhours parking people price
    reference stars stay time intent
    """
)
"""Slots whose values are numbers or everyday words: found by patterns, or where a span says so."""

COMMON_WORDS = _split_set(
    """
    a all an and any are as at be both by do for free from go have hotel i in is it its no
    none not of on one or other place restaurant so some that the their them there they
    this to town train was we what where which with yes you your
    """
)
"""Words that alone are no value, whatever a database or an annotation says."""

MAX_VALUE_WORDS = 16
"""Words that a value of a lexicon has at most."""

SHORT_NAME_CHARACTERS = 4
"""A name of one word with at most so many letters must be written with a capital."""

COLUMN_ALIASES = MappingProxyType({"trainID": "id"})
"""A database's columns that have another name here."""

LEXICON_COLUMNS = _split_set(
    """
    address area departure department destination food id name phone postcode pricerange
    trainID type
    """
)
"""The columns of MultiWOZ's database whose values stand in texts as they are."""

SPELLING_VARIANTS = (
    (("guest", "house"), ("guesthouse",)),
    (("bed", "and", "breakfast"), ("b", "&", "b")),
    (("bed", "and", "breakfast"), ("b", "and", "b")),
    (("and",), ("&",)),
    (("saint",), ("st",)),
    (("centre",), ("center",)),
    (("theatre",), ("theater",)),
    (("road",), ("rd",)),
    (("street",), ("st",)),
    (("night", "club"), ("nightclub",)),
    (("swimming", "pool"), ("swimmingpool",)),
)
"""Words that are written in two ways."""


class LexiconMatch(NamedTuple):
    """A value found in a text, and the slots that it can be of."""

    start: int
    end: int
    slots: tuple[str, ...]


@dataclass(frozen=True)
class Lexicon:
    """Values by their words, with the slots that each can be of.

    ``lengths`` has, by first word, how many words the values have that begin with it.
    """

    slots: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    lengths: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    @classmethod
    def from_values(cls, values: Iterable[tuple[str, str]]) -> Lexicon:
        """Return a lexicon of (slot, value); a value is also found in its usual spellings."""
        meant: dict[str, set[str]] = defaultdict(set)
        spelled: dict[str, set[str]] = defaultdict(set)
        for slot, value in values:
            own = tuple(word for word, _, _ in _tokenize(value.lower()))
            if not _is_distinctive(own):
                continue
            meant[" ".join(own)].add(slot)
            for form in filter(_is_distinctive, _spelling_variants(own, slot)):
                spelled[" ".join(form)].add(slot)
        lengths: dict[str, set[int]] = defaultdict(set)
        for words in map(str.split, spelled):
            lengths[words[0]].add(len(words))
        return cls(
            {form: tuple(sorted(meant.get(form, found))) for form, found in spelled.items()},
            {word: tuple(sorted(sizes, reverse=True)) for word, sizes in lengths.items()},
        )

    @classmethod
    def read(cls, folder: Path | str) -> Lexicon:
        """Return the values of MultiWOZ's database: ``<domain>_db.json`` in the folder.

        ``ontology.json`` in it, or beside it, adds what the tables lack. Raises `CorpusError`
        where there is no table or one cannot be read.
        """
        place = Path(folder)
        tables = sorted(place.glob("*_db.json"))
        if not tables:
            raise CorpusError(f"no <domain>_db.json in {place}; wanted a folder of MultiWOZ's db/")
        values = [each for table in tables for each in _read_table(table)]
        known = {value for _, value in values}
        for ontology in (place / "ontology.json", place.parent / "ontology.json"):
            if ontology.is_file():
                values += [each for each in _read_ontology(ontology) if each[1] not in known]
                break
        return cls.from_values(values)

    @classmethod
    def of(cls, dialogues: Iterable[Dialogue]) -> Lexicon:
        """Return the values that the corpus's own spans, acts and states say.

        A single word is a value only where it is annotated as one in at least half of the turns
        that have it: otherwise it is a word like others.
        """
        values: dict[tuple[str, str], None] = {}
        said: Counter[str] = Counter()
        there: Counter[str] = Counter()
        for dialogue in dialogues:
            for turn in dialogue.turns:
                own = [(span.slot, turn.text[span.start : span.end]) for span in turn.spans]
                said.update({value.lower() for _, value in own})
                there.update(set(LEXICON_TOKEN.findall(turn.text.lower())))
                for domain, slots in turn.state.items():
                    own += [(f"{domain}_{slot}", value) for slot, value in slots.items()]
                values |= dict.fromkeys((slot, value.lower()) for slot, value in own)
        return cls.from_values(
            (slot, value)
            for slot, value in values
            if slot.rpartition("_")[2] not in PATTERN_SLOTS and 2 * said[value] >= there[value]
        )

    def find(self, text: str) -> list[LexiconMatch]:
        """Return the values in a text from left to right, the longest first, none overlapping.

        Time is linear in the text's length, however many values there are.
        """
        if not self.slots:
            return []
        low = text.lower()
        words = _tokenize(low if len(low) == len(text) else text)
        hits, at = [], 0
        while at < len(words):
            size, slots = self._at(words, at)
            if slots and _is_plausible_mention(text[words[at][1] : words[at + size - 1][2]], slots):
                hits.append(LexiconMatch(words[at][1], words[at + size - 1][2], slots))
                at += size
            else:
                at += 1
        return hits

    def _at(self, words: list[tuple[str, int, int]], at: int) -> tuple[int, tuple[str, ...]]:
        for size in self.lengths.get(words[at][0], ()):
            if at + size <= len(words):
                form = " ".join(word for word, _, _ in words[at : at + size])
                if form in self.slots:
                    return size, self.slots[form]
        return 0, ()


def _tokenize(text: str) -> list[tuple[str, int, int]]:
    """Return words and marks with their places, but for marks that make no difference."""
    return [
        (match[0], match.start(), match.end())
        for match in LEXICON_TOKEN.finditer(text)
        if match[0] not in IGNORED_MARKS
    ]


def _is_distinctive(words: tuple[str, ...]) -> bool:
    """Say whether a value can be told from other text: not a bare number, yes or no."""
    plain = " ".join(words)
    if (
        len(words) > MAX_VALUE_WORDS
        or plain in UNSEARCHABLE_VALUES
        or len(plain) < 2
        or COMMON_WORDS.issuperset(words)
    ):
        return False
    return any(char.isalpha() for char in plain) or len(plain) >= 8


def _is_plausible_mention(surface: str, slots: tuple[str, ...]) -> bool:
    """Say whether a short word is a name: ``Ask`` may be one, ``ask`` is none."""
    if len(surface) > SHORT_NAME_CHARACTERS or not all(slot.endswith("_name") for slot in slots):
        return True
    return surface != surface.lower()


def _spelling_variants(words: tuple[str, ...], slot: str) -> Iterator[tuple[str, ...]]:
    """Yield the other ways to write a value."""
    forms = {words}
    for one, other in SPELLING_VARIANTS:
        for form in list(forms):
            for old, new in ((one, other), (other, one)):
                if other != ("st",) or old == one:
                    forms.add(_replace_words(form, old, new))
    kind = slot.rpartition("_")[2]
    for form in sorted(forms):
        yield form
        if kind == "name":
            yield from _name_variants(form, slot.partition("_")[0])
        elif kind in {"type", "food"} and form[-1].isalpha():
            yield (*form[:-1], f"{form[-1]}s")
            yield (*form[:-1], f"{form[-1]}es")
        elif kind == "pricerange":
            yield from ((*form, "priced"), (f"{form[0]}ly", "priced"), (f"{form[0]}ly",))


def _name_variants(form: tuple[str, ...], domain: str) -> Iterator[tuple[str, ...]]:
    """Yield a name with and without its article and, if two words are left, its kind."""
    bare = form[1:] if form[0] == "the" and len(form) > 2 else form
    yield bare
    yield ("the", *bare)
    if len(bare) > 2 and bare[-1] in {domain, "hotel", "restaurant"}:
        yield bare[:-1]
        yield ("the", *bare[:-1])


def _replace_words(
    words: tuple[str, ...], old: tuple[str, ...], new: tuple[str, ...]
) -> tuple[str, ...]:
    """Return the words with each run of some replaced."""
    made: list[str] = []
    at = 0
    while at < len(words):
        here = words[at : at + len(old)] == old
        made.extend(new if here else words[at : at + 1])
        at += len(old) if here else 1
    return tuple(made)


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CorpusError(f"{path} cannot be read as JSON: {error}") from None


def _read_table(path: Path) -> Iterator[tuple[str, str]]:
    """Yield slot and value of the rows of a table; of taxis, their colours with their makes."""
    domain = path.name.removesuffix("_db.json")
    rows = _read_json(path)
    if isinstance(rows, Mapping):
        colors, makes = rows.get("taxi_colors"), rows.get("taxi_types")
        if isinstance(colors, list) and isinstance(makes, list):
            yield from ((f"{domain}_car", f"{one} {other}") for one in colors for other in makes)
        return
    if not isinstance(rows, list):
        raise CorpusError(f"{path} is no list of rows")
    for row in rows:
        for column, value in row.items() if isinstance(row, Mapping) else ():
            named = column in LEXICON_COLUMNS and isinstance(value, str) and value.lower() != domain
            if named:
                yield f"{domain}_{COLUMN_ALIASES.get(column, column)}", canonical_value(value)


def _read_ontology(path: Path) -> Iterator[tuple[str, str]]:
    """Yield slot and value of an ontology, ``{"hotel-name": [...]}``.

    Taxis go to places that have a name of their own kind: their slots are left out.
    """
    content = _read_json(path)
    for key, values in content.items() if isinstance(content, Mapping) else ():
        domain, _, slot = key.lower().partition("-")
        name = canonical_slot(domain, slot)
        if name in LEXICON_COLUMNS and domain not in {"taxi", "bus"} and isinstance(values, list):
            for value in values:
                if isinstance(value, str) and value.lower() != domain:
                    yield f"{domain}_{name}", canonical_value(value)
