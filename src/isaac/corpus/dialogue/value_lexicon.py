"""A lexicon of slot values, from a database or from a corpus's own annotations.

It finds these values in texts that are not annotated.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from ...errors import CorpusError
from ...text import TOKEN_PATTERN
from .acts import canonical_slot, canonical_value
from .schema import Dialogue
from .spans import UNSEARCHABLE_VALUES


def _split_set(words: str) -> frozenset[str]:
    return frozenset(words.split())


"""A token of a text or a value: a word, or a single punctuation mark."""

IGNORED_MARKS = frozenset("'’`,-‐–#\"")
"""Marks that are ignored when values are compared: ``christ's`` equals ``christ 's``."""

PATTERN_SLOTS = _split_set(
    """
    arrive choice count day duration fee internet leave openhours parking people price
    reference stars stay time intent
    """
)
"""Slots whose values are numbers or common words: only patterns and spans find them."""

COMMON_WORDS = _split_set(
    """
    a all an and any are as at be both by do for free from go have hotel i in is it its no
    none not of on one or other place restaurant so some that the their them there they
    this to town train was we what where which with yes you your
    """
)
"""Words that are not a value on their own, even if a database or an annotation has them."""

MAX_VALUE_WORDS = 16
"""Maximum length of a value in words."""

SHORT_NAME_CHARACTERS = 4
"""A one-word name of at most this many characters must be capitalized in the text."""

COLUMN_ALIASES = MappingProxyType({"trainID": "id"})
"""Slot names of the database columns that are named differently."""

LEXICON_COLUMNS = _split_set(
    """
    address area departure department destination food id name phone postcode pricerange
    trainID type
    """
)
"""Columns of MultiWOZ's database whose values appear verbatim in texts."""

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
"""Pairs of spellings of the same words."""


class Token(NamedTuple):
    """A word or mark of a text, and its position."""

    text: str
    start: int
    end: int


class LexiconMatch(NamedTuple):
    """A value found in a text, and the slots that it can fill."""

    start: int
    end: int
    slots: tuple[str, ...]


@dataclass(frozen=True)
class Lexicon:
    """Values and the slots that each can fill.

    ``slots`` maps a value, as lowercase words joined by spaces, to its slots. ``lengths`` maps the
    first word of values to their lengths in words, longest first.
    """

    slots: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    lengths: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    @classmethod
    def from_values(cls, values: Iterable[tuple[str, str]]) -> Lexicon:
        """Build a lexicon from (slot, value) pairs; adds common spelling variants of each value."""
        slots_by_value: dict[str, set[str]] = defaultdict(set)
        slots_by_spelling: dict[str, set[str]] = defaultdict(set)
        for slot, value in values:
            words = tuple(token.text for token in _tokenize(value.lower()))
            if not _is_distinctive(words):
                continue
            slots_by_value[" ".join(words)].add(slot)
            for form in filter(_is_distinctive, _spelling_variants(words, slot)):
                slots_by_spelling[" ".join(form)].add(slot)
        lengths: dict[str, set[int]] = defaultdict(set)
        for spelling in map(str.split, slots_by_spelling):
            lengths[spelling[0]].add(len(spelling))
        return cls(
            {
                form: tuple(sorted(slots_by_value.get(form, slots)))
                for form, slots in slots_by_spelling.items()
            },
            {word: tuple(sorted(sizes, reverse=True)) for word, sizes in lengths.items()},
        )

    @classmethod
    def read(cls, folder: Path | str) -> Lexicon:
        """Read the values in MultiWOZ's database, a folder with a ``<domain>_db.json`` per domain.

        An ``ontology.json`` in the folder or in its parent adds values that the tables lack. Raises
        `CorpusError` if there is no table or one cannot be read.
        """
        path = Path(folder)
        tables = sorted(path.glob("*_db.json"))
        if not tables:
            raise CorpusError(f"no <domain>_db.json in {path}; expected MultiWOZ's db folder")
        values = [each for table in tables for each in _read_table(table)]
        known = {value for _, value in values}
        for ontology in (path / "ontology.json", path.parent / "ontology.json"):
            if ontology.is_file():
                values += [each for each in _read_ontology(ontology) if each[1] not in known]
                break
        return cls.from_values(values)

    @classmethod
    def of(cls, dialogues: Iterable[Dialogue]) -> Lexicon:
        """Build a lexicon from a corpus's own spans and belief states.

        A single word is a value only if at least half of the turns that contain it annotate it as
        one; otherwise it is an ordinary word.
        """
        values: dict[tuple[str, str], None] = {}
        annotated: Counter[str] = Counter()  # value -> turns that annotate it
        present: Counter[str] = Counter()  # word -> turns that contain it
        for dialogue in dialogues:
            for turn in dialogue.turns:
                pairs = [(span.slot, turn.text[span.start : span.end]) for span in turn.spans]
                annotated.update({value.lower() for _, value in pairs})
                present.update(set(TOKEN_PATTERN.findall(turn.text.lower())))
                for domain, slots in turn.state.items():
                    pairs += [(f"{domain}_{slot}", value) for slot, value in slots.items()]
                values |= dict.fromkeys((slot, value.lower()) for slot, value in pairs)
        return cls.from_values(
            (slot, value)
            for slot, value in values
            if slot.rpartition("_")[2] not in PATTERN_SLOTS
            and 2 * annotated[value] >= present[value]
        )

    def find(self, text: str) -> list[LexiconMatch]:
        """Find the values in a text, from left to right; the longest match wins, none overlap.

        Time is linear in the length of the text, however many values the lexicon has.
        """
        if not self.slots:
            return []
        lowered = text.lower()
        # Lowercasing may change the length of a text, which would shift the positions.
        tokens = _tokenize(lowered if len(lowered) == len(text) else text)
        matches, index = [], 0
        while index < len(tokens):
            size, slots = self._longest_value(tokens, index)
            start, end = tokens[index].start, tokens[index + max(size, 1) - 1].end
            if slots and _is_plausible_mention(text[start:end], slots):
                matches.append(LexiconMatch(start, end, slots))
                index += size
            else:
                index += 1
        return matches

    def _longest_value(self, tokens: list[Token], index: int) -> tuple[int, tuple[str, ...]]:
        """Find the longest value that starts at a token: its length in tokens, and its slots."""
        for size in self.lengths.get(tokens[index].text, ()):
            if index + size <= len(tokens):
                value = " ".join(token.text for token in tokens[index : index + size])
                if value in self.slots:
                    return size, self.slots[value]
        return 0, ()


def _tokenize(text: str) -> list[Token]:
    """Split a text into words and marks, without `IGNORED_MARKS`."""
    return [
        Token(match[0], match.start(), match.end())
        for match in TOKEN_PATTERN.finditer(text)
        if match[0] not in IGNORED_MARKS
    ]


def _is_distinctive(words: tuple[str, ...]) -> bool:
    """Whether a value can be recognized in a text: it is no bare number and no common word."""
    value = " ".join(words)
    if (
        len(words) > MAX_VALUE_WORDS
        or value in UNSEARCHABLE_VALUES
        or len(value) < 2
        or COMMON_WORDS.issuperset(words)
    ):
        return False
    return any(char.isalpha() for char in value) or len(value) >= 8


def _is_plausible_mention(surface: str, slots: tuple[str, ...]) -> bool:
    """Whether a match is likely to be a value: the short name ``Ask`` must be capitalized."""
    if len(surface) > SHORT_NAME_CHARACTERS or not all(slot.endswith("_name") for slot in slots):
        return True
    return surface != surface.lower()


def _spelling_variants(words: tuple[str, ...], slot: str) -> Iterator[tuple[str, ...]]:
    """Yield a value and its spelling variants."""
    forms = {words}
    for left, right in SPELLING_VARIANTS:
        for form in list(forms):
            for old, new in ((left, right), (right, left)):
                # "st" may abbreviate "saint" or "street", so it is never expanded.
                if right != ("st",) or old == left:
                    forms.add(_replace_words(form, old, new))
    name = slot.rpartition("_")[2]
    for form in sorted(forms):
        yield form
        if name == "name":
            yield from _name_variants(form, slot.partition("_")[0])
        elif name in {"type", "food"} and form[-1].isalpha():
            yield (*form[:-1], f"{form[-1]}s")
            yield (*form[:-1], f"{form[-1]}es")
        elif name == "pricerange":
            yield from ((*form, "priced"), (f"{form[0]}ly", "priced"), (f"{form[0]}ly",))


def _name_variants(form: tuple[str, ...], domain: str) -> Iterator[tuple[str, ...]]:
    """Yield a name with and without "the", and without a final type such as "hotel".

    The type is removed only if at least two words remain.
    """
    bare = form[1:] if form[0] == "the" and len(form) > 2 else form
    yield bare
    yield ("the", *bare)
    if len(bare) > 2 and bare[-1] in {domain, "hotel", "restaurant"}:
        yield bare[:-1]
        yield ("the", *bare[:-1])


def _replace_words(
    words: tuple[str, ...], old: tuple[str, ...], new: tuple[str, ...]
) -> tuple[str, ...]:
    """Replace each occurrence of a sequence of words by another sequence."""
    replaced: list[str] = []
    index = 0
    while index < len(words):
        matches = words[index : index + len(old)] == old
        replaced.extend(new if matches else words[index : index + 1])
        index += len(old) if matches else 1
    return tuple(replaced)


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CorpusError(f"{path} cannot be read as JSON: {error}") from None


def _read_table(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the slot and value of a table's cells; a taxi is any color with any make."""
    domain = path.name.removesuffix("_db.json")
    rows = _read_json(path)
    if isinstance(rows, Mapping):
        colors, makes = rows.get("taxi_colors"), rows.get("taxi_types")
        if isinstance(colors, list) and isinstance(makes, list):
            yield from ((f"{domain}_car", f"{color} {make}") for color in colors for make in makes)
        return
    if not isinstance(rows, list):
        raise CorpusError(f"{path}: expected a list of rows, got {type(rows).__name__}")
    for row in rows:
        for column, value in row.items() if isinstance(row, Mapping) else ():
            is_text = column in LEXICON_COLUMNS and isinstance(value, str)
            if is_text and value.lower() != domain:
                yield f"{domain}_{COLUMN_ALIASES.get(column, column)}", canonical_value(value)


def _read_ontology(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the slots and values in an ontology, ``{"hotel-name": [...]}``.

    Taxis and buses are left out: their departures and destinations are the names of other venues.
    """
    content = _read_json(path)
    for key, values in content.items() if isinstance(content, Mapping) else ():
        domain, _, slot = key.lower().partition("-")
        name = canonical_slot(domain, slot)
        if name in LEXICON_COLUMNS and domain not in {"taxi", "bus"} and isinstance(values, list):
            for value in values:
                if isinstance(value, str) and value.lower() != domain:
                    yield f"{domain}_{name}", canonical_value(value)
