"""Values that a turn states without naming them, such as the yes of "pets are welcome".

A placeholder stands for a value that the text names. Other annotated values stand in no text: yes
and no, "don't care", the intent of an offer, and everything that is only paraphrased. Turns that
state different ones must not replace each other.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from .schema import DialogueTurn, Template
from .spans import matches_value

ASKING_INTENTS = frozenset({"request", "select", "reqmore", "confirm", "offer_intent"})
"""Intents that ask for a slot and so state nothing about it if they give no value."""

STATING_INTENTS = frozenset({"inform", "answer"})
"""Intents that state something even if they name no slot."""

NEGATION = re.compile(
    r"\b(?:no|not|none|nor|never|neither|cannot|without|unfortunately|un(?:available|able)|lacks?)\b"
    r"|n['’]?t\b|\bdont\b|\bdoesnt\b",
    re.IGNORECASE,
)
"""Words that deny something."""

PLACEHOLDER_NUMBER = re.compile(r"_\d+$")


def find_implied_values(turn: DialogueTurn, template: Template) -> tuple[str, ...]:
    """The annotated values that no placeholder of the turn's template stands for.

    Each is ``domain-slot=value`` in lower case without spaces, sorted and deduplicated. What the
    acts state without any value counts as ``yes`` or ``no``, by the negations in the text.
    """
    annotated: dict[tuple[str, str], dict[str, None]] = defaultdict(dict)
    for domain, intent, slot, value in turn.acts:
        if slot and value != "?" and (value or intent not in ASKING_INTENTS):
            annotated[domain, slot].setdefault(value)
        elif not slot and intent in STATING_INTENTS:
            annotated[domain, intent].setdefault(value)
    for slot, value in turn.values:
        annotated["", slot].setdefault(value.lower())
    surfaces = _surfaces_by_slot(template)
    implied = {
        f"{domain}-{slot}={value}".lstrip("-")
        for (domain, slot), values in annotated.items()
        for value in _find_unstated([*values], slot, surfaces, turn.text)
    }
    return tuple(sorted("_".join(each.split()) for each in implied))


def _find_unstated(
    values: Sequence[str], slot: str, surfaces: Mapping[str, Sequence[str]], text: str
) -> Iterator[str]:
    """Yield the values of a slot that no surface form in the text expresses.

    A form of the same slot that expresses none of them is taken to be a value's other spelling.
    """
    everywhere = [form for forms in surfaces.values() for form in forms]
    unstated = [value for value in values if value and not _is_expressed(value, everywhere)]
    spare = Counter(
        not any(matches_value(form, value) for value in values) for form in surfaces.get(slot, ())
    )[True]
    yield from unstated[spare:]
    if "" in values and slot not in surfaces and len(values) == 1:
        yield "no" if NEGATION.search(text) else "yes"


def _is_expressed(value: str, surfaces: Iterable[str]) -> bool:
    return any(matches_value(surface, value) for surface in surfaces)


def _surfaces_by_slot(template: Template) -> dict[str, list[str]]:
    """The surface forms in a template by slot, without domain; one for each placeholder."""
    surfaces: dict[str, list[str]] = defaultdict(list)
    for name, forms in template.values.items():
        slot = PLACEHOLDER_NUMBER.sub("", name).partition("_")[2]
        surfaces[slot].append(forms[0])
    return surfaces
