"""Texts without their values, and back: what is drawn for another row must hold none of this one's.

A value is taken from the turn's spans first, then wherever the same words stand again, then from
the lexicon, then by pattern: times, prices, numbers, phone numbers, postcodes, references. A value
missed would pass from one row into another, so what may be a value counts as one.
"""

from __future__ import annotations

import itertools
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from ...text import free_name
from .schema import DialogueTurn, Span, Template
from .spans import NUMBER_WORDS, find_mentions, normalize_surface, widen_to_words
from .value_lexicon import Lexicon

PLACEHOLDER = re.compile(r"\[(?=[^\W_]{1,60}_)(\w{3,120})\]")

MAX_SLOT_CHARACTERS = 60
"""Characters that a slot's name has at most in a placeholder."""

LITERAL_SLOT = "value_literal"
"""The slot of a text that looks like a placeholder and is none: it comes back as it was."""

WEEKDAY_PREFIXES = "mon|tues|wednes|thurs|fri|satur|sun"

MONTHS = "jan|feb|mar|apr|may|june?|july?|aug|sept?|oct|nov|dec"

NUMERIC_VALUE = re.compile(
    rf"""
    (?:(?<![^\W_])|(?<=[a-z])(?=[A-Z\d]))(?:
    (?P<email>(?<![\w.+-])[\w.+-]{{1,64}}@[\w-]+(?:\.[\w-]+)+)
    |(?P<url>(?:https?://|www\.)[^\s<>"']+)
    |(?P<date>\b\d{{4}}-\d\d-\d\d\b|\b\d{{1,2}}/\d{{1,2}}/\d{{2,4}}\b
        |\b(?i:{MONTHS})[a-z]{{0,6}}\.?\s\d{{1,2}}(?:st|nd|rd|th)?\b
        |\b\d{{1,2}}(?:st|nd|rd|th)?\s(?:of\s)?(?i:{MONTHS})[a-z]{{0,6}}\b)
    |(?P<price>[£$€]\s?\d+(?:[.,]\d+){{0,4}}
        |\b\d+(?:[.,]\d+){{0,4}}\s?(?i:pounds?|gbp|eur|euros?|usd|dollars?|pence|£|€)(?!\w))
    |(?P<time>\b\d{{1,2}}\s?[:.]\s?\d\d(?!\d|\.\d)(?:\s?(?i:[ap]\.?m\b\.?))?
        |\b\d{{1,2}}\s?(?i:[ap]\.?m)\b|\b\d{{1,2}}\s?(?i:o\s?'?\s?clock)\b)
    |(?P<phone>(?<![\w.])\+?\(?\d(?:[ ()-]{{0,2}}\d){{8,14}}(?!\w))
    |(?P<id>\b(?i:TR)\s?\d{{4}}\b)
    |(?P<postcode>\b(?i:[a-z]{{1,2}}\d[a-z\d]?\s?,?\s?\d[a-z]{{2}})\b)
    |(?P<reference>(?<![A-Z0-9])(?=[A-Z]{{0,7}}\d)[A-Z0-9]{{8}}(?!\w))
    |(?P<code>(?<![\w-])(?=[A-Za-z-]{{0,40}}\d)(?=[\d-]{{0,40}}[A-Za-z])
        [A-Za-z0-9]+(?:-[A-Za-z]{{0,20}}\d\w{{0,20}}){{0,8}}\b)
    |(?P<count>(?<!\w)\d+(?:[.,]\d+){{0,8}}(?!\w)))
    """,
    re.VERBOSE,
)
"""Values with a number or an address of the net in them; the name of the group is the slot."""

NUMERIC_MARKER = re.compile(r"\d|@|www\.|://")
"""What every value of `NUMERIC_VALUE` has: most texts have none, and are not searched for them."""

WORD_VALUE = re.compile(
    rf"""\b(?=[A-Z]|(?i:[efmnostw]))(?:
    (?P<reference>[A-Z]{{8}}(?!\w))
    |(?P<day>(?i:{WEEKDAY_PREFIXES})day\b)
    |(?P<fee>(?<!feel\s)(?i:free)\b
        (?!\s?[-,/]?\s?(?i:wi|internet|parking|wireless|and|to\s(?:ask|call|contact|book))))
    |(?P<count>(?i:{"|".join(NUMBER_WORDS[2:])})\b
        |(?<!the\s)(?<!this\s)(?<!that\s)(?<!other\s)(?<!which\s)(?i:one)
        (?=\s(?:in|with|ticket|person|night|adult|restaurant|hotel|guesthouse|train)\b))
    )""",
    re.VERBOSE,
)
"""Values in words alone: days, small numbers, what is free, references of letters.

By their first letters most words are none of them: looked at first, they take half the time.
"""

NUMBER_WITH_SUFFIX = re.compile(
    r"\d+(?:st|nd|rd|th|s|min|mins|hrs?|pm|am|night|day|star)", re.IGNORECASE
)
"""Numbers with a word written on: no code, and only the number is the value."""

ENTITY_SLOTS = frozenset({"phone", "postcode", "reference", "id"})
"""Values told by form that belong to the one thing that a turn speaks of."""

SLOT_PRIORITY = ("name", "address", "department", "food", "type", "area", "pricerange", "car")
"""Kinds of values, the one first that a value of several kinds is taken for."""

PREPOSITION_SLOTS = MappingProxyType(
    {"from": "departure", "to": "destination", "for": "destination"}
)
"""The word before a place, and what the place then is."""


class ValueMatch(NamedTuple):
    """A value in a text and the name of its slot."""

    start: int
    end: int
    slot: str


class NonOverlappingMatches:
    """Values that are found, none overlapping: what comes first stays."""

    def __init__(self, text: str) -> None:
        self.found: list[ValueMatch] = []
        self.covered = bytearray(len(text))

    def add(self, found: Iterable[ValueMatch]) -> None:
        """Add what overlaps nothing that is there."""
        for each in found:
            if self.covered.find(1, each.start, each.end) < 0:
                self.covered[each.start : each.end] = b"\x01" * (each.end - each.start)
                self.found.append(each)


def delexicalize(turn: DialogueTurn, lexicon: Lexicon) -> Template:
    """Return the turn's text with placeholders for its values, and the values.

    Every surface form is kept: `lexicalize` gives the text back word for word.
    """
    taken = NonOverlappingMatches(turn.text)
    taken.add(_find_annotated(turn))
    taken.add(_find_act_values(turn, taken.found))
    taken.add(_find_repeated(turn.text, taken.found))
    domains = {span.slot.partition("_")[0] for span in turn.spans}
    domains |= {act.domain for act in turn.acts}
    domains -= {"general", "booking", "value", ""}
    hits = lexicon.find(turn.text)
    taken.add(
        ValueMatch(a, b, _choose_slot(slots, domains, turn.text[max(0, a - 40) : a]))
        for a, b, slots in hits
    )
    taken.add(_find_by_pattern(turn.text, domains))
    return _build_template(turn.text, sorted(taken.found))


def _find_annotated(turn: DialogueTurn) -> Iterator[ValueMatch]:
    """Yield what looks like a placeholder, then the values that spans say."""
    for match in PLACEHOLDER.finditer(turn.text):
        yield ValueMatch(*match.span(), LITERAL_SLOT)
    for slot, start, end in sorted(turn.spans, key=_span_order):
        if 0 <= start < end <= len(turn.text):
            yield ValueMatch(*_strip_and_widen(turn.text, start, end), placeholder_name(slot))


def _find_act_values(turn: DialogueTurn, taken: Sequence[ValueMatch]) -> Iterator[ValueMatch]:
    """Yield the values that acts say and that nothing taken is."""
    said = {normalize_surface(turn.text[start:end]) for start, end, _ in taken}
    for domain, _, slot, value in turn.acts:
        if slot and value and normalize_surface(value) not in said:
            for start, end in find_mentions(turn.text, value):
                yield ValueMatch(start, end, placeholder_name(f"{domain or 'value'}_{slot}"))


def _strip_and_widen(text: str, start: int, end: int) -> tuple[int, int]:
    """Return a span without spaces at its ends and with the words that it cuts."""
    while start < end - 1 and text[start].isspace():
        start += 1
    while start < end - 1 and text[end - 1].isspace():
        end -= 1
    return widen_to_words(text, start, end)


def _span_order(span: Span) -> tuple[int, int]:
    return span.start, -span.end


def placeholder_name(slot: str) -> str:
    """Return a slot's name fit for a placeholder: word characters, and no number at its end.

    The number would be that of a second value: ``shop_line_2`` becomes ``shop_line2``.
    """
    name = re.sub(r"\W+", "_", slot.lower()).strip("_")
    name = re.sub(r"_(\d+)$", r"\1", name[:MAX_SLOT_CHARACTERS].rstrip("_"))
    return name if "_" in name else f"value_{name or 'text'}"


def _find_repeated(text: str, taken: Sequence[ValueMatch]) -> Iterator[ValueMatch]:
    """Yield the other places where the values that are taken stand, in any spelling.

    ``one`` and ``free`` have too many other meanings.
    """
    values = {normalize_surface(text[start:end]): slot for start, end, slot in reversed(taken)}
    for value, slot in values.items():
        if slot != LITERAL_SLOT and value not in {"1", "free"}:
            for start, end in find_mentions(text, value):
                yield ValueMatch(start, end, slot)


def _choose_slot(slots: tuple[str, ...], domains: set[str], before: str) -> str:
    """Return the slot of a value that can be of several: that of what the turn speaks of.

    Where that does not tell, the kind without a domain: ``value_area``.
    """
    own = tuple(slot for slot in slots if slot.partition("_")[0] in domains) or slots
    if len(own) == 1:
        return placeholder_name(own[0])
    kinds = {slot.partition("_")[2] for slot in own}
    word = "".join(before.lower().rsplit(maxsplit=1)[-1:])
    if PREPOSITION_SLOTS.get(word) in kinds:
        kinds = {PREPOSITION_SLOTS[word]}
    elif kinds <= {"departure", "destination"} and len(kinds) == 2:
        return "value_place"
    kind = next((kind for kind in SLOT_PRIORITY if kind in kinds), min(kinds))
    domain = {slot.partition("_")[0] for slot in own if slot.partition("_")[2] == kind}
    return placeholder_name(f"{domain.pop() if len(domain) == 1 else 'value'}_{kind}")


def _find_by_pattern(text: str, domains: set[str]) -> Iterator[ValueMatch]:
    """Yield the values told by their form."""
    domain = next(iter(domains)) if len(domains) == 1 else "value"
    numbered = NUMERIC_VALUE.finditer(text) if NUMERIC_MARKER.search(text) else ()
    for match in itertools.chain(numbered, WORD_VALUE.finditer(text)):
        kind, (start, end) = match.lastgroup or "count", match.span()
        if kind == "code" and NUMBER_WITH_SUFFIX.fullmatch(match[0]):
            kind = "count"
            end = start + len(match[0]) - len(match[0].lstrip("0123456789"))
        elif kind == "code" and len(match[0]) < 3:
            kind = "count"
        if kind == "id":
            yield ValueMatch(start, end, "train_id")
        else:
            yield ValueMatch(start, end, f"{domain if kind in ENTITY_SLOTS else 'value'}_{kind}")


def _build_template(text: str, found: Sequence[ValueMatch]) -> Template:
    """Return the text with placeholders, each distinct value of a slot with a number of its own."""
    numbers: dict[str, dict[str, int]] = defaultdict(dict)
    values: dict[str, list[str]] = {}
    parts, at = [], 0
    for start, end, slot in found:
        surface = text[start:end]
        own = numbers[slot]
        number = own.setdefault(normalize_surface(surface), len(own) + 1)
        name = slot if number == 1 else f"{slot}_{number}"
        values.setdefault(name, []).append(surface)
        parts += [text[at:start], f"[{name}]"]
        at = end
    made = "".join([*parts, text[at:]])
    return Template(made, {name: tuple(forms) for name, forms in values.items()})


def lexicalize(text: str, values: Mapping[str, Sequence[str]]) -> str | None:
    """Return a template's text with the values; None where it needs one that they lack.

    The first place of a slot gets its first form and so on; further places get the last.
    """
    parts, at = [], 0
    used: dict[str, int] = defaultdict(int)
    for match in PLACEHOLDER.finditer(text):
        forms = values.get(match[1])
        if not forms:
            return None
        parts += [text[at : match.start()], forms[min(used[match[1]], len(forms) - 1)]]
        used[match[1]] += 1
        at = match.end()
    return "".join([*parts, text[at:]])


def template_slots(template: Template | str) -> tuple[str, ...]:
    """Return the names of a template's placeholders, sorted, each once."""
    text = template if isinstance(template, str) else template.text
    return tuple(sorted(set(PLACEHOLDER.findall(text))))


SYSTEM_PLACEHOLDER = re.compile(r"\[\s*([^\W\d_]\w*(?:[ .-]\w+){0,2})\s*\]")
"""A placeholder as systems write it: ``[hotel_name]``, ``[name]``, ``[ hotel-name ]``."""


def delexicalize_response(text: str, lexicon: Lexicon) -> Template:
    """Return a response without its values, where the placeholders that it has are placeholders.

    What each of them looked like is kept as its value: `lexicalize` gives the text back word for
    word.
    """
    surfaces: dict[str, list[str]] = defaultdict(list)

    def plain(found: re.Match[str]) -> str:
        name = found[1].lower() if PLACEHOLDER.fullmatch(found[0]) else placeholder_name(found[1])
        surfaces[f"[{name}]"].append(found[0])
        return f"[{name}]"

    made = delexicalize(DialogueTurn(0, "assistant", SYSTEM_PLACEHOLDER.sub(plain, text)), lexicon)
    written = {name: iter(forms) for name, forms in surfaces.items()}
    values: dict[str, tuple[str, ...]] = {}
    names: dict[str, str] = {}
    for slot, forms in made.values.items():
        known = forms[0] in surfaces and slot.startswith(LITERAL_SLOT)
        names[slot] = free_name(forms[0][1:-1], {*made.values, *values}) if known else slot
        values[names[slot]] = tuple(next(written.get(form, iter((form,)))) for form in forms)
    return Template(PLACEHOLDER.sub(lambda found: f"[{names[found[1]]}]", made.text), values)
