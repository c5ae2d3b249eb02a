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

from ...corpus.dialogue.schema import DialogueTurn

FORMS_BY_KIND = {
    "low": ("particle",),
    "high": ("insult", "insult", "address", "address", "insult address"),
    "unprofessional": ("tag", "promotion", "opener", "promotion", "tag promotion"),
}
"""What a turn of each kind is given, each as likely as it is often here."""

SENTENCE_END = re.compile(r"(?<![.?!])[.?!]+(?=\s|\Z)")
YOU = re.compile(r"\byou\b(?![-'’\w]|\s+['’])", re.IGNORECASE)
BRACKETED = re.compile(r"\[[^\[\]\s]*\]")
GRAMMAR_SYMBOL = re.compile(r"\{(\w+)\}")
ATTACHED_CLITIC = re.compile(r"(?<=\w)(n't|'(?:s|re|d|ll|ve|m))\b")
ATTACHED_MARKS = re.compile(r"(?<=[^\s,.?!])([,.?!]+)(?=\s|\Z)")
SENTENCE_CAPITAL = re.compile(r"(\A|[.?!] )(?!I\b)[A-Z]")
ABBREVIATIONS = frozenset({"st", "mr", "mrs", "ms", "dr", "nr", "rd", "ave", "approx", "etc", "vs"})


class InjectedText(NamedTuple):
    """Text that was put in; it stands at ``start`` of the polluted text."""

    start: int
    text: str


@cache
def load_pollution_data() -> dict[str, Any]:
    """Return the wordings and the word list that come with the package."""
    path = files("isaac") / "data" / "pollution.json"
    loaded: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return loaded


def choose_option(options: Sequence[Any], rng: Random) -> Any:
    """Return one of the options; of `Random` only ``random()`` is the same in all versions."""
    return options[int(rng.random() * len(options))]


class PhraseSampler:
    """Wordings drawn for one turn."""

    def __init__(self, rng: Random, wording: str) -> None:
        self.rng, self.wording = rng, wording

    def choose(self, options: Sequence[Any]) -> Any:
        """Return one of the options."""
        return choose_option(options, self.rng)

    def sample_phrase(self, form: str) -> str:
        """Return a wording of a form, its marks not spaced."""
        grammars = load_pollution_data()[form]
        if self.wording == "repeated":
            return str(self.choose(grammars["repeated"]))
        return self._expand("{start}", grammars["varied"])

    def _expand(self, text: str, grammar: Mapping[str, Sequence[str]]) -> str:
        return GRAMMAR_SYMBOL.sub(
            lambda slot: self._expand(self.choose(grammar[slot[1]]), grammar), text
        )


class InsertionPoints:
    """Where something can be put into a turn's text without cutting a value or a placeholder.

    ``starts`` of sentences, ``ends`` (before the closing mark, after it), ``you_ends`` ends of "you".
    """

    def __init__(self, turn: DialogueTurn, spaced: bool) -> None:
        self.text, self.spaced = turn.text, spaced
        self.held = _protected_ranges(turn)
        size = len(turn.text)
        first, last = _skip_spaces(turn.text, 0), len(turn.text.rstrip())
        first, self.last = first if self._free(first) else 0, last if self._free(last) else size
        ends = [
            end for end in self._find_sentence_ends() if self._free(end[0]) and self._free(end[1])
        ]
        self.closed = bool(ends) and ends[-1][1] == self.last
        self.ends = ends if self.closed else [*ends, (self.last, self.last)]
        later = [_skip_spaces(turn.text, end) for _, end in self.ends[:-1]]
        self.starts = [first, *(start for start in later if start < size and self._free(start))]
        self.you_ends = [you.end() for you in YOU.finditer(turn.text) if self._free(you.end())]
        letter = next((c for c in turn.text if c.isalpha()), "A")
        self.lower = letter.islower()

    def _free(self, place: int) -> bool:
        """Say whether a place is inside no value; its edges are outside."""
        before = bisect_left(self.held, (place, 0)) - 1
        return before < 0 or self.held[before][1] <= place

    def _find_sentence_ends(self) -> list[tuple[int, int]]:
        """Return where sentences end: before their closing marks, and after them."""
        found = []
        for end in SENTENCE_END.finditer(self.text):
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
        shortened = end[0] == "." and (before in ABBREVIATIONS or initials)
        return not shortened and after.isalpha() and (apart or after.isupper())

    def match_style(self, phrase: str) -> str:
        """Return a wording as this turn is written: its marks apart or not, its case."""
        if self.lower:
            phrase = SENTENCE_CAPITAL.sub(lambda letter: letter[0].lower(), phrase)
        return space_out_marks(phrase) if self.spaced else phrase


def _protected_ranges(turn: DialogueTurn) -> list[tuple[int, int]]:
    """Return the stretches of text that hold values or placeholders, in order and apart."""
    held = [match.span() for match in BRACKETED.finditer(turn.text)]
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


def space_out_marks(text: str) -> str:
    """Return plain text as tokenised corpora have it: marks and clitics apart from words."""
    return ATTACHED_MARKS.sub(r" \1", ATTACHED_CLITIC.sub(r" \1", text))


def inject_text(
    place: InsertionPoints, words: PhraseSampler, kind: str
) -> tuple[str, tuple[InjectedText, ...]]:
    """Return the turn's text with what its kind puts in, and the pieces."""
    form = words.choose(FORMS_BY_KIND[kind])
    if not place.you_ends and "address" in form:
        form = "insult"
    puts = sorted(
        (FORM_PLACERS[part](place, words) for part in form.split()), key=lambda put: put.start
    )
    pieces, text, last, added = [], [], 0, 0
    for start, piece in puts:
        text += [place.text[last:start], piece]
        pieces.append(InjectedText(start + added, piece))
        last, added = start, added + len(piece)
    return "".join(text) + place.text[last:], tuple(pieces)


def _place_before_sentence(place: InsertionPoints, words: PhraseSampler, form: str) -> InjectedText:
    """Return a wording before a sentence, with a mark that fits how the sentence begins."""
    start = words.choose(place.starts)
    joins = not place.text[start].isupper() or re.match(r"I\b", place.text[start : start + 2])
    mark = "," if joins else "!"
    return InjectedText(start, place.match_style(words.sample_phrase(form) + mark) + " ")


def _place_particle(place: InsertionPoints, words: PhraseSampler) -> InjectedText:
    return _place_before_sentence(place, words, "particle")


def _place_opener(place: InsertionPoints, words: PhraseSampler) -> InjectedText:
    return _place_before_sentence(place, words, "opener")


def _place_sentence(place: InsertionPoints, words: PhraseSampler, form: str) -> InjectedText:
    """Return a sentence before or after one of the turn's."""
    sentence = place.match_style(words.sample_phrase(form))
    chosen = words.choose([*place.starts, None])
    if chosen is not None:
        return InjectedText(chosen, f"{sentence} ")
    stop = "" if place.closed else (" ." if place.spaced else ".")
    return InjectedText(place.last, f"{stop} {sentence}")


def _place_insult(place: InsertionPoints, words: PhraseSampler) -> InjectedText:
    return _place_sentence(place, words, "insult")


def _place_promotion(place: InsertionPoints, words: PhraseSampler) -> InjectedText:
    return _place_sentence(place, words, "promotion")


def _place_aside(place: InsertionPoints, start: int, phrase: str) -> InjectedText:
    """Return a wording set off by a comma before it, and one after it if the sentence goes on."""
    goes_on = place.text[_skip_spaces(place.text, start) :][:1].isalnum()
    aside = f", {phrase}," if goes_on else f", {phrase}"
    return InjectedText(start, f" {space_out_marks(aside)}" if place.spaced else aside)


def _place_address(place: InsertionPoints, words: PhraseSampler) -> InjectedText:
    return _place_aside(place, words.choose(place.you_ends), words.sample_phrase("address"))


def _place_tag(place: InsertionPoints, words: PhraseSampler) -> InjectedText:
    return _place_aside(place, words.choose(place.ends)[0], words.sample_phrase("tag"))


FORM_PLACERS = {
    "particle": _place_particle,
    "insult": _place_insult,
    "address": _place_address,
    "tag": _place_tag,
    "opener": _place_opener,
    "promotion": _place_promotion,
}
"""What puts each form into a turn."""
