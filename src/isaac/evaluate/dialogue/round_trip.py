"""Quality of delexicalization: what a round trip loses, and which values it misses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from typing import NamedTuple

from ...corpus.dialogue.delexicalization import PLACEHOLDER, delexicalize, lexicalize
from ...corpus.dialogue.schema import Dialogue, DialogueTurn, Template, system_turns
from ...corpus.dialogue.spans import UNSEARCHABLE_VALUES, find_mentions, normalize_surface
from ...corpus.dialogue.value_lexicon import Lexicon


class RoundTrip(NamedTuple):
    """How many system turns a round trip of delexicalizing and lexicalizing restores verbatim.

    ``precision`` and ``recall`` are those of the slot values in the other turns: the share of
    restored values that are right, and the share of original values that are restored; 1 if there
    are none.
    """

    turns: int
    verbatim: int
    precision: float
    recall: float

    @property
    def share(self) -> float:
        """The share of turns restored verbatim; 1 if there are no turns."""
        return self.verbatim / self.turns if self.turns else 1.0


class ValueLeak(NamedTuple):
    """How many of a slot's annotated values are in the texts, and still left in the templates."""

    shown: int
    left: int


def restore_text(template: Template) -> str | None:
    """Fill a template with its own values."""
    return lexicalize(template.text, template.values)


def measure_round_trip(
    dialogues: Iterable[Dialogue],
    lexicon: Lexicon,
    restore: Callable[[Template], str | None] = restore_text,
) -> RoundTrip:
    """Delexicalize the system turns, restore the texts, and compare them with the originals."""
    turns = verbatim = right = restored = expected = 0
    for turn in chain.from_iterable(map(system_turns, dialogues)):
        template = delexicalize(turn, lexicon)
        text = restore(template)
        turns += 1
        if text == turn.text:
            verbatim += 1
            continue
        original_values = _count_values(template)
        restored_values = _count_values(delexicalize(_replace_text(turn, text or ""), lexicon))
        right += (original_values & restored_values).total()
        restored += restored_values.total()
        expected += original_values.total()
    precision = right / restored if restored else 1.0
    recall = right / expected if expected else 1.0
    return RoundTrip(turns, verbatim, precision, recall)


def count_leaks(dialogues: Iterable[Dialogue], lexicon: Lexicon) -> Mapping[str, ValueLeak]:
    """Count, for each slot, the values of acts that are still in the templates.

    Values that the text does not mention, such as ``yes`` for parking, are left out.
    """
    shown: Counter[str] = Counter()
    left: Counter[str] = Counter()
    for turn in chain.from_iterable(map(system_turns, dialogues)):
        # A separator instead of each placeholder, so that no mention spans two pieces of text.
        text = PLACEHOLDER.sub("\n\x00\n", delexicalize(turn, lexicon).text)
        for act in turn.acts:
            if (
                act.slot
                and normalize_surface(act.value) not in UNSEARCHABLE_VALUES
                and find_mentions(turn.text, act.value)
            ):
                shown[act.slot] += 1
                left[act.slot] += bool(find_mentions(text, act.value))
    return {slot: ValueLeak(shown[slot], left[slot]) for slot in sorted(shown)}


def _count_values(template: Template) -> Counter[tuple[str, str]]:
    """Count the slots and values of placeholders, ignoring the numbers in placeholder names."""
    numbered = ((name, form) for name, forms in template.values.items() for form in forms)
    return Counter(
        (name.rstrip("0123456789").rstrip("_"), normalize_surface(form)) for name, form in numbered
    )


def _replace_text(turn: DialogueTurn, text: str) -> DialogueTurn:
    """Copy a turn with another text; keeps the acts and drops the spans."""
    return DialogueTurn(turn.index, turn.role, text, turn.acts)
