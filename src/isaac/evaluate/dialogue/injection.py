"""What is put into a system's turn to pollute it, and where it can stand.

The wordings are in ``data/pollution.json``, mild and written for this project: for each form a few
that are repeated, and a grammar of parts for the varied ones.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from random import Random
from typing import Any, NamedTuple

from ...corpus.dialogue.schema import Turn

FORMS = {
    "low": ("particle",),
    "high": ("insult", "insult", "address", "address", "insult address"),
    "unprofessional": ("tag", "promotion", "opener", "promotion", "tag promotion"),
}
"""What a turn of each kind is given, each as likely as it is often here."""

END = re.compile(r"(?<![.?!])[.?!]+(?=\s|\Z)")
YOU = re.compile(r"\byou\b(?![-'’\w]|\s+['’])", re.IGNORECASE)
PLACEHOLDER = re.compile(r"\[[^\[\]\s]*\]")
SLOT = re.compile(r"\{(\w+)\}")
CLITIC = re.compile(r"(?<=\w)(n't|'(?:s|re|d|ll|ve|m))\b")
CLOSING = re.compile(r"(?<=[^\s,.?!])([,.?!]+)(?=\s|\Z)")
CAPITAL = re.compile(r"(\A|[.?!] )(?!I\b)[A-Z]")
SHORTENED = frozenset({"st", "mr", "mrs", "ms", "dr", "nr", "rd", "ave", "approx", "etc", "vs"})


class Piece(NamedTuple):
    """Text that was put in; it stands at ``start`` of the polluted text."""

    start: int
    text: str


@cache
def data() -> dict[str, Any]:
    """Return the wordings and the word list that come with the package."""
    path = files("isaac") / "data" / "pollution.json"
    loaded: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return loaded


def pick(options: Sequence[Any], rng: Random) -> Any:
    """Return one of the options; of `Random` only ``random()`` is the same in all versions."""
    return options[int(rng.random() * len(options))]


class Words:
    """Wordings drawn for one turn."""

    def __init__(self, rng: Random, wording: str) -> None:
        self.rng, self.wording = rng, wording

    def pick(self, options: Sequence[Any]) -> Any:
        """Return one of the options."""
        return pick(options, self.rng)

    def phrase(self, form: str) -> str:
        """Return a wording of a form, its marks not spaced."""
        grammars = data()[form]
        if self.wording == "repeated":
            return str(self.pick(grammars["repeated"]))
        return self._expanded("{start}", grammars["varied"])

    def _expanded(self, text: str, grammar: Mapping[str, Sequence[str]]) -> str:
        return SLOT.sub(lambda slot: self._expanded(self.pick(grammar[slot[1]]), grammar), text)


class Place:
    """Where something can be put into a turn's text without cutting a value or a placeholder.

    ``starts`` of sentences, ``ends`` (before the closing mark, after it), ``yous`` ends of "you".
    """

    def __init__(self, turn: Turn, spaced: bool) -> None:
        self.text, self.spaced = turn.text, spaced
        self.held = _merged(turn)
        size = len(turn.text)
        first, last = _skip_spaces(turn.text, 0), len(turn.text.rstrip())
        first, self.last = first if self._free(first) else 0, last if self._free(last) else size
        ends = [end for end in self._marks() if self._free(end[0]) and self._free(end[1])]
        self.closed = bool(ends) and ends[-1][1] == self.last
        self.ends = ends if self.closed else [*ends, (self.last, self.last)]
        later = [_skip_spaces(turn.text, end) for _, end in self.ends[:-1]]
        self.starts = [first, *(start for start in later if start < size and self._free(start))]
        self.yous = [you.end() for you in YOU.finditer(turn.text) if self._free(you.end())]
        letter = next((c for c in turn.text if c.isalpha()), "A")
        self.lower = letter.islower()

    def _free(self, place: int) -> bool:
        """Say whether a place is inside no value; its edges are outside."""
        before = bisect_left(self.held, (place, 0)) - 1
        return before < 0 or self.held[before][1] <= place

    def _marks(self) -> list[tuple[int, int]]:
        """Return where sentences end: before their closing marks, and after them."""
        found = []
        for end in END.finditer(self.text):
            start = end.start()
            while start and self.text[start - 1].isspace():
                start -= 1
            if self._ends(start, end):
                found.append((start, end.end()))
        return found

    def _ends(self, start: int, end: re.Match[str]) -> bool:
        """Say whether a mark ends a sentence, not a shortened word; ``start`` is before spaces."""
        next_start = _skip_spaces(self.text, end.end())
        if next_start == len(self.text):
            return True
        before = (self.text[max(0, start - 12) : start].split() or ["."])[-1].lower()
        after = self.text[next_start]
        apart = start < end.start()
        initials = (before.isalpha() and len(before) == 1) or re.search(r"[a-z]\.[a-z]", before)
        shortened = end[0] == "." and (before in SHORTENED or initials)
        return not shortened and after.isalpha() and (apart or after.isupper())

    def styled(self, phrase: str) -> str:
        """Return a wording as this turn is written: its marks apart or not, its case."""
        if self.lower:
            phrase = CAPITAL.sub(lambda letter: letter[0].lower(), phrase)
        return spaced(phrase) if self.spaced else phrase


def _merged(turn: Turn) -> list[tuple[int, int]]:
    """Return the stretches of text that hold values or placeholders, in order and apart."""
    held = [match.span() for match in PLACEHOLDER.finditer(turn.text)]
    size = len(turn.text)
    held += [(span.start, min(span.end, size)) for span in turn.spans if span.start < span.end]
    merged: list[tuple[int, int]] = []
    for start, end in sorted(held):
        if merged and start < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _skip_spaces(text: str, place: int) -> int:
    while place < len(text) and text[place].isspace():
        place += 1
    return place


def spaced(text: str) -> str:
    """Return plain text as tokenised corpora have it: marks and clitics apart from words."""
    return CLOSING.sub(r" \1", CLITIC.sub(r" \1", text))


def intrude(place: Place, words: Words, kind: str) -> tuple[str, tuple[Piece, ...]]:
    """Return the turn's text with what its kind puts in, and the pieces."""
    form = words.pick(FORMS[kind])
    if not place.yous and "address" in form:
        form = "insult"
    puts = sorted((PUT[part](place, words) for part in form.split()), key=lambda put: put.start)
    pieces, text, last, added = [], [], 0, 0
    for start, piece in puts:
        text += [place.text[last:start], piece]
        pieces.append(Piece(start + added, piece))
        last, added = start, added + len(piece)
    return "".join(text) + place.text[last:], tuple(pieces)


def _before(place: Place, words: Words, form: str) -> Piece:
    """Return a wording before a sentence, with a mark that fits how the sentence begins."""
    start = words.pick(place.starts)
    joins = not place.text[start].isupper() or re.match(r"I\b", place.text[start : start + 2])
    mark = "," if joins else "!"
    return Piece(start, place.styled(words.phrase(form) + mark) + " ")


def _particle(place: Place, words: Words) -> Piece:
    return _before(place, words, "particle")


def _opener(place: Place, words: Words) -> Piece:
    return _before(place, words, "opener")


def _between(place: Place, words: Words, form: str) -> Piece:
    """Return a sentence before or after one of the turn's."""
    sentence = place.styled(words.phrase(form))
    chosen = words.pick([*place.starts, None])
    if chosen is not None:
        return Piece(chosen, f"{sentence} ")
    stop = "" if place.closed else (" ." if place.spaced else ".")
    return Piece(place.last, f"{stop} {sentence}")


def _insult(place: Place, words: Words) -> Piece:
    return _between(place, words, "insult")


def _promotion(place: Place, words: Words) -> Piece:
    return _between(place, words, "promotion")


def _aside(place: Place, start: int, phrase: str) -> Piece:
    """Return a wording set off by a comma before it, and one after it if the sentence goes on."""
    goes_on = place.text[_skip_spaces(place.text, start) :][:1].isalnum()
    aside = f", {phrase}," if goes_on else f", {phrase}"
    return Piece(start, f" {spaced(aside)}" if place.spaced else aside)


def _address(place: Place, words: Words) -> Piece:
    return _aside(place, words.pick(place.yous), words.phrase("address"))


def _tag(place: Place, words: Words) -> Piece:
    return _aside(place, words.pick(place.ends)[0], words.phrase("tag"))


PUT = {
    "particle": _particle,
    "insult": _insult,
    "address": _address,
    "tag": _tag,
    "opener": _opener,
    "promotion": _promotion,
}
"""What puts each form into a turn."""
