"""Delexicalization: replace the values in a text by placeholders, and put values back.

A response drawn for another row must not carry over any value of its own row. Values are therefore
found in four ways, in this order: the turn's annotated spans and acts, other mentions of the same
values in the text, the lexicon, and patterns (times, prices, numbers, phone numbers, postcodes,
references). A missed value would leak into another row, so when in doubt a match counts as a
value.
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
"""A placeholder as `delexicalize` writes it: ``[hotel_name]``, ``[hotel_name_2]``."""

MAX_SLOT_CHARACTERS = 60
"""Maximum length of a slot name in a placeholder, in characters."""

LITERAL_SLOT = "value_literal"
"""The slot of literal text that looks like a placeholder; `lexicalize` restores it unchanged."""

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
"""Values that contain a digit, an email address or a URL; the group name is the slot."""

NUMERIC_MARKER = re.compile(r"\d|@|www\.|://")
"""Every match of `NUMERIC_VALUE` contains a match of this; most texts contain none."""

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
"""Values without digits: weekdays, small numbers, "free", and references of eight capitals.

The lookahead for the first letter excludes most words, which halves the time.
"""

NUMBER_WITH_SUFFIX = re.compile(
    r"\d+(?:st|nd|rd|th|s|min|mins|hrs?|pm|am|night|day|star)", re.IGNORECASE
)
"""Numbers with a suffix, such as ``3rd`` or ``4night``: only the number is the value."""

ENTITY_SLOTS = frozenset({"phone", "postcode", "reference", "id"})
"""Slots found by pattern that describe the entity a turn is about, so they get its domain."""

SLOT_PRIORITY = ("name", "address", "department", "food", "type", "area", "pricerange", "car")
"""Slots in order of priority, for values that could fill more than one."""

PREPOSITION_SLOTS = MappingProxyType(
    {"from": "departure", "to": "destination", "for": "destination"}
)
"""The slot of a place, by the word before it."""


class ValueMatch(NamedTuple):
    """The position of a value in a text, and the name of its slot."""

    start: int
    end: int
    slot: str


class NonOverlappingMatches:
    """Collects matches in a text; a match that overlaps an earlier one is dropped."""

    def __init__(self, text: str) -> None:
        self.matches: list[ValueMatch] = []
        self.covered = bytearray(len(text))  # 1 for each character inside a match

    def add(self, matches: Iterable[ValueMatch]) -> None:
        """Add the matches that overlap none of those collected so far."""
        for match in matches:
            if self.covered.find(1, match.start, match.end) < 0:
                self.covered[match.start : match.end] = b"\x01" * (match.end - match.start)
                self.matches.append(match)


def delexicalize(turn: DialogueTurn, lexicon: Lexicon) -> Template:
    """Replace the values in a turn's text by placeholders; the template keeps the values.

    Every surface form is kept, so `lexicalize` restores the text word for word.
    """
    collected = NonOverlappingMatches(turn.text)
    collected.add(_find_annotated(turn))
    collected.add(_find_act_values(turn, collected.matches))
    collected.add(_find_repeated(turn.text, collected.matches))
    # The domains that the turn is about decide which of several slots a value fills.
    domains = {span.slot.partition("_")[0] for span in turn.spans}
    domains |= {act.domain for act in turn.acts}
    domains -= {"general", "booking", "value", ""}
    collected.add(
        ValueMatch(start, end, _choose_slot(slots, domains, turn.text[max(0, start - 40) : start]))
        for start, end, slots in lexicon.find(turn.text)
    )
    collected.add(_find_by_pattern(turn.text, domains))
    return _build_template(turn.text, sorted(collected.matches))


def _find_annotated(turn: DialogueTurn) -> Iterator[ValueMatch]:
    """Yield literal text that looks like a placeholder, then the values that spans mark."""
    for match in PLACEHOLDER.finditer(turn.text):
        yield ValueMatch(*match.span(), LITERAL_SLOT)
    for slot, start, end in sorted(turn.spans, key=_span_order):
        if 0 <= start < end <= len(turn.text):
            yield ValueMatch(*_strip_and_widen(turn.text, start, end), placeholder_name(slot))


def _find_act_values(turn: DialogueTurn, matches: Sequence[ValueMatch]) -> Iterator[ValueMatch]:
    """Yield the mentions of values that acts name and that no match has found yet."""
    known = {normalize_surface(turn.text[start:end]) for start, end, _ in matches}
    for domain, _, slot, value in turn.acts:
        if slot and value and normalize_surface(value) not in known:
            for start, end in find_mentions(turn.text, value):
                yield ValueMatch(start, end, placeholder_name(f"{domain or 'value'}_{slot}"))


def _strip_and_widen(text: str, start: int, end: int) -> tuple[int, int]:
    """Strip whitespace from the ends of a span, and widen it to whole words."""
    while start < end - 1 and text[start].isspace():
        start += 1
    while start < end - 1 and text[end - 1].isspace():
        end -= 1
    return widen_to_words(text, start, end)


def _span_order(span: Span) -> tuple[int, int]:
    return span.start, -span.end


def placeholder_name(slot: str) -> str:
    """Turn a slot's name into a valid placeholder name: word characters, no trailing number.

    A trailing number denotes a second value of the slot, so ``shop_line_2`` becomes
    ``shop_line2``.
    """
    name = re.sub(r"\W+", "_", slot.lower()).strip("_")
    name = re.sub(r"_(\d+)$", r"\1", name[:MAX_SLOT_CHARACTERS].rstrip("_"))
    return name if "_" in name else f"value_{name or 'text'}"


def _find_repeated(text: str, matches: Sequence[ValueMatch]) -> Iterator[ValueMatch]:
    """Yield the other mentions of the values found so far, in any spelling.

    Skips ``one`` and ``free``, which have too many other meanings.
    """
    values = {normalize_surface(text[start:end]): slot for start, end, slot in reversed(matches)}
    for value, slot in values.items():
        if slot != LITERAL_SLOT and value not in {"1", "free"}:
            for start, end in find_mentions(text, value):
                yield ValueMatch(start, end, slot)


def _choose_slot(slots: tuple[str, ...], domains: set[str], before: str) -> str:
    """Choose the slot of a value that could fill several: the one whose domain the turn is about.

    If the domain is still ambiguous, the slot gets none: ``value_area``. ``before`` is the text
    that precedes the value.
    """
    relevant = tuple(slot for slot in slots if slot.partition("_")[0] in domains) or slots
    if len(relevant) == 1:
        return placeholder_name(relevant[0])
    names = {slot.partition("_")[2] for slot in relevant}
    previous_word = "".join(before.lower().rsplit(maxsplit=1)[-1:])
    if PREPOSITION_SLOTS.get(previous_word) in names:
        names = {PREPOSITION_SLOTS[previous_word]}
    elif names <= {"departure", "destination"} and len(names) == 2:
        return "value_place"
    name = next((name for name in SLOT_PRIORITY if name in names), min(names))
    owners = {slot.partition("_")[0] for slot in relevant if slot.partition("_")[2] == name}
    return placeholder_name(f"{owners.pop() if len(owners) == 1 else 'value'}_{name}")


def _find_by_pattern(text: str, domains: set[str]) -> Iterator[ValueMatch]:
    """Yield the values that `NUMERIC_VALUE` and `WORD_VALUE` match."""
    domain = next(iter(domains)) if len(domains) == 1 else "value"
    numeric = NUMERIC_VALUE.finditer(text) if NUMERIC_MARKER.search(text) else ()
    for match in itertools.chain(numeric, WORD_VALUE.finditer(text)):
        slot, (start, end) = match.lastgroup or "count", match.span()
        if slot == "code" and NUMBER_WITH_SUFFIX.fullmatch(match[0]):
            slot = "count"  # without the suffix
            end = start + len(match[0]) - len(match[0].lstrip("0123456789"))
        elif slot == "code" and len(match[0]) < 3:
            slot = "count"  # too short for a code
        if slot == "id":
            yield ValueMatch(start, end, "train_id")
        else:
            yield ValueMatch(start, end, f"{domain if slot in ENTITY_SLOTS else 'value'}_{slot}")


def _build_template(text: str, matches: Sequence[ValueMatch]) -> Template:
    """Replace the matches by placeholders; the second distinct value of a slot gets number 2."""
    numbers: dict[str, dict[str, int]] = defaultdict(dict)  # slot -> normalized value -> number
    values: dict[str, list[str]] = {}
    parts, position = [], 0
    for start, end, slot in matches:
        surface = text[start:end]
        known = numbers[slot]
        number = known.setdefault(normalize_surface(surface), len(known) + 1)
        name = slot if number == 1 else f"{slot}_{number}"
        values.setdefault(name, []).append(surface)
        parts += [text[position:start], f"[{name}]"]
        position = end
    parts.append(text[position:])
    return Template("".join(parts), {name: tuple(forms) for name, forms in values.items()})


def lexicalize(text: str, values: Mapping[str, Sequence[str]]) -> str | None:
    """Fill a template's placeholders with values; None if a value is missing.

    Repeated placeholders get the surface forms of their value in order; once the forms are used up,
    the last one is repeated.
    """
    parts, position = [], 0
    used: dict[str, int] = defaultdict(int)
    for match in PLACEHOLDER.finditer(text):
        forms = values.get(match[1])
        if not forms:
            return None
        parts += [text[position : match.start()], forms[min(used[match[1]], len(forms) - 1)]]
        used[match[1]] += 1
        position = match.end()
    return "".join([*parts, text[position:]])


def template_slots(template: Template | str) -> tuple[str, ...]:
    """The names of a template's placeholders, sorted and deduplicated."""
    text = template if isinstance(template, str) else template.text
    return tuple(sorted(set(PLACEHOLDER.findall(text))))


SYSTEM_PLACEHOLDER = re.compile(r"\[\s*([^\W\d_]\w*(?:[ .-]\w+){0,2})\s*\]")
"""A placeholder as dialogue systems write it: ``[hotel_name]``, ``[name]``, ``[ hotel-name ]``."""


def delexicalize_response(text: str, lexicon: Lexicon) -> Template:
    """Delexicalize a response that may already contain placeholders, which stay placeholders.

    The original spelling of each placeholder is kept as its value, so `lexicalize` restores the
    response word for word.
    """
    originals: dict[str, list[str]] = defaultdict(list)  # normalized placeholder -> spellings

    def normalize(match: re.Match[str]) -> str:
        name = match[1].lower() if PLACEHOLDER.fullmatch(match[0]) else placeholder_name(match[1])
        originals[f"[{name}]"].append(match[0])
        return f"[{name}]"

    normalized = SYSTEM_PLACEHOLDER.sub(normalize, text)
    # `delexicalize` treats the response's own placeholders as literal text with numbered names; the
    # loop below gives them their original names back.
    template = delexicalize(DialogueTurn(0, "assistant", normalized), lexicon)
    spellings = {placeholder: iter(forms) for placeholder, forms in originals.items()}
    values: dict[str, tuple[str, ...]] = {}
    names: dict[str, str] = {}
    for slot, forms in template.values.items():
        is_placeholder = forms[0] in originals and slot.startswith(LITERAL_SLOT)
        names[slot] = (
            free_name(forms[0][1:-1], {*template.values, *values}) if is_placeholder else slot
        )
        values[names[slot]] = tuple(next(spellings.get(form, iter((form,)))) for form in forms)
    return Template(PLACEHOLDER.sub(lambda match: f"[{names[match[1]]}]", template.text), values)
