"""What is lost when texts lose their values and get them back, and what never left them."""

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
    """How many system turns there are and how many came back word for word.

    ``precision`` and ``recall`` are those of the slots' values in the turns that did not: of the
    values that came, those that were wanted, and of those wanted, those that came; 1 where there
    are none.
    """

    turns: int
    verbatim: int
    precision: float
    recall: float

    @property
    def share(self) -> float:
        """The share of turns that came back word for word; 1 where there are no turns."""
        return self.verbatim / self.turns if self.turns else 1.0


class ValueLeak(NamedTuple):
    """How many of a slot's annotated values a text showed, and its template still shows."""

    shown: int
    left: int


def measure_round_trip(
    dialogues: Iterable[Dialogue],
    lexicon: Lexicon,
    back: Callable[[Template], str | None] = lambda made: lexicalize(made.text, made.values),
) -> RoundTrip:
    """Return what comes back of the system's turns; ``back`` fills a template."""
    turns = verbatim = right = came = wanted = 0
    for turn in chain.from_iterable(map(system_turns, dialogues)):
        made = delexicalize(turn, lexicon)
        filled = back(made)
        turns += 1
        if filled == turn.text:
            verbatim += 1
            continue
        own = _count_values(made)
        other = _count_values(delexicalize(_replace_text(turn, filled or ""), lexicon))
        right += (own & other).total()
        came, wanted = came + other.total(), wanted + own.total()
    precision, recall = right / came if came else 1.0, right / wanted if wanted else 1.0
    return RoundTrip(turns, verbatim, precision, recall)


def count_leaks(dialogues: Iterable[Dialogue], lexicon: Lexicon) -> Mapping[str, ValueLeak]:
    """Return, by slot of the acts, how many values still stand in the templates.

    A value that the text shows nowhere, such as a parking's yes, does not count.
    """
    shown: Counter[str] = Counter()
    left: Counter[str] = Counter()
    for turn in chain.from_iterable(map(system_turns, dialogues)):
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


def _count_values(made: Template) -> Counter[tuple[str, str]]:
    """Return slot and value of every placeholder, however many there are of a slot."""
    numbered = ((name, form) for name, forms in made.values.items() for form in forms)
    return Counter(
        (name.rstrip("0123456789").rstrip("_"), normalize_surface(form)) for name, form in numbered
    )


def _replace_text(turn: DialogueTurn, text: str) -> DialogueTurn:
    """Return the turn with another text: its acts hold, its places do not."""
    return DialogueTurn(turn.index, turn.role, text, turn.acts)
