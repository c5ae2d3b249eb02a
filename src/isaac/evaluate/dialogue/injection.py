"""Inject text into a system turn to pollute it: the wordings, and the positions for them.

The wordings are in ``data/pollution.json``; they are mild and were written for this project. Each
form has a few fixed wordings for ``repeated``, and a grammar that generates the ``varied`` ones.
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
"""The forms that each kind of pollution chooses from; an entry listed twice is twice as likely."""

SENTENCE_END = re.compile(r"(?<![.?!])[.?!]+(?=\s|\Z)")
"""Punctuation that may end a sentence."""

YOU = re.compile(r"\byou\b(?![-'’\w]|\s+['’])", re.IGNORECASE)
"""The pronoun, but not ``you're`` or ``you 're``."""

BRACKETED = re.compile(r"\[[^\[\]\s]*\]")
"""A placeholder, or any other word in brackets."""

GRAMMAR_SYMBOL = re.compile(r"\{(\w+)\}")
"""A symbol of a grammar, which is replaced by one of its expansions."""

ATTACHED_CLITIC = re.compile(r"(?<=\w)(n't|'(?:s|re|d|ll|ve|m))\b")
"""A clitic without the space that tokenized corpora have before it: ``n't`` in ``don't``."""

ATTACHED_MARKS = re.compile(r"(?<=[^\s,.?!])([,.?!]+)(?=\s|\Z)")
"""Punctuation marks without a space before them."""

SENTENCE_CAPITAL = re.compile(r"(\A|[.?!] )(?!I\b)[A-Z]")
"""The capital letter at the start of a sentence, except in the pronoun "I"."""

ABBREVIATIONS = frozenset({"st", "mr", "mrs", "ms", "dr", "nr", "rd", "ave", "approx", "etc", "vs"})
"""Words after which a period does not end a sentence."""


class InjectedText(NamedTuple):
    """A piece of injected text, and where it starts in the polluted text."""

    start: int
    text: str


@cache
def load_pollution_data() -> dict[str, Any]:
    """Load the wordings and the word list that come with the package."""
    path = files("isaac") / "data" / "pollution.json"
    loaded: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return loaded


def choose_option(options: Sequence[Any], rng: Random) -> Any:
    """Choose an option with ``random()``, whose results are the same in all Python versions."""
    return options[int(rng.random() * len(options))]


class PhraseSampler:
    """Draws the wordings for one turn."""

    def __init__(self, rng: Random, wording: str) -> None:
        self.rng, self.wording = rng, wording

    def choose(self, options: Sequence[Any]) -> Any:
        """Choose one of the options."""
        return choose_option(options, self.rng)

    def sample_phrase(self, form: str) -> str:
        """Draw a wording of a form; its punctuation is attached to the words."""
        grammars = load_pollution_data()[form]
        if self.wording == "repeated":
            return str(self.choose(grammars["repeated"]))
        return self._expand("{start}", grammars["varied"])

    def _expand(self, text: str, grammar: Mapping[str, Sequence[str]]) -> str:
        return GRAMMAR_SYMBOL.sub(
            lambda slot: self._expand(self.choose(grammar[slot[1]]), grammar), text
        )


class InsertionPoints:
    """The positions where text can be injected without cutting a value or a placeholder.

    ``sentence_starts``: where sentences start. ``sentence_ends``: pairs of positions, before and
    after the closing mark. ``you_ends``: where the word "you" ends.
    """

    def __init__(self, turn: DialogueTurn, spaced: bool) -> None:
        self.text, self.spaced = turn.text, spaced
        self.protected = _protected_ranges(turn)
        size = len(turn.text)
        # The first and last position, inside surrounding whitespace unless that is protected.
        first, last = _skip_spaces(turn.text, 0), len(turn.text.rstrip())
        first, self.last = first if self._free(first) else 0, last if self._free(last) else size
        # The end of the text counts as the end of a sentence even without a closing mark.
        ends = [
            end for end in self._find_sentence_ends() if self._free(end[0]) and self._free(end[1])
        ]
        self.has_closing_mark = bool(ends) and ends[-1][1] == self.last
        self.sentence_ends = ends if self.has_closing_mark else [*ends, (self.last, self.last)]
        later = [_skip_spaces(turn.text, end) for _, end in self.sentence_ends[:-1]]
        self.sentence_starts = [
            first,
            *(start for start in later if start < size and self._free(start)),
        ]
        self.you_ends = [you.end() for you in YOU.finditer(turn.text) if self._free(you.end())]
        letter = next((c for c in turn.text if c.isalpha()), "A")
        self.is_lowercase = letter.islower()

    def _free(self, position: int) -> bool:
        """Whether a position is not inside a protected range; the edges of a range are outside."""
        before = bisect_left(self.protected, (position, 0)) - 1
        return before < 0 or self.protected[before][1] <= position

    def _find_sentence_ends(self) -> list[tuple[int, int]]:
        """Where sentences end: positions before and after their closing marks."""
        ends = []
        for mark in SENTENCE_END.finditer(self.text):
            start = mark.start()
            while start and self.text[start - 1].isspace():
                start -= 1
            if self._is_sentence_end(start, mark):
                ends.append((start, mark.end()))
        return ends

    def _is_sentence_end(self, start: int, mark: re.Match[str]) -> bool:
        """Whether a mark ends a sentence rather than an abbreviation.

        ``start`` is the position before the mark and the spaces that precede it.
        """
        next_start = _skip_spaces(self.text, mark.end())
        if next_start == len(self.text):
            return True
        previous_word = (self.text[max(0, start - 12) : start].split() or ["."])[-1].lower()
        next_character = self.text[next_start]
        is_spaced = start < mark.start()
        is_initial = (previous_word.isalpha() and len(previous_word) == 1) or re.search(
            r"[a-z]\.[a-z]", previous_word
        )
        is_abbreviation = mark[0] == "." and (previous_word in ABBREVIATIONS or is_initial)
        return (
            not is_abbreviation
            and next_character.isalpha()
            and (is_spaced or next_character.isupper())
        )

    def match_style(self, phrase: str) -> str:
        """Adapt a wording to the turn: spacing of punctuation, and lower case."""
        if self.is_lowercase:
            phrase = SENTENCE_CAPITAL.sub(lambda letter: letter[0].lower(), phrase)
        return space_out_marks(phrase) if self.spaced else phrase


def _protected_ranges(turn: DialogueTurn) -> list[tuple[int, int]]:
    """The ranges of text that contain values or placeholders, merged and in order."""
    ranges = [match.span() for match in BRACKETED.finditer(turn.text)]
    size = len(turn.text)
    ranges += [(span.start, min(span.end, size)) for span in turn.spans if span.start < span.end]
    merged: list[tuple[int, int]] = []
    for start, end in sorted(ranges):
        if merged and start < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _skip_spaces(text: str, position: int) -> int:
    while position < len(text) and text[position].isspace():
        position += 1
    return position


def space_out_marks(text: str) -> str:
    """Write a text as tokenized corpora do, with spaces before marks and clitics."""
    return ATTACHED_MARKS.sub(r" \1", ATTACHED_CLITIC.sub(r" \1", text))


def inject_text(
    points: InsertionPoints, sampler: PhraseSampler, kind: str
) -> tuple[str, tuple[InjectedText, ...]]:
    """Inject what a kind of pollution adds; returns the polluted text and the injected pieces."""
    form = sampler.choose(FORMS_BY_KIND[kind])
    if not points.you_ends and "address" in form:
        form = "insult"
    insertions = sorted(
        (FORM_PLACERS[part](points, sampler) for part in form.split()),
        key=lambda insertion: insertion.start,
    )
    # An insertion starts at a position of the original text, a piece at one of the polluted text.
    pieces, parts, last, added = [], [], 0, 0
    for start, piece in insertions:
        parts += [points.text[last:start], piece]
        pieces.append(InjectedText(start + added, piece))
        last, added = start, added + len(piece)
    return "".join(parts) + points.text[last:], tuple(pieces)


def _place_before_sentence(
    points: InsertionPoints, sampler: PhraseSampler, form: str
) -> InjectedText:
    """Place a wording before a sentence, with a comma or an exclamation mark between them."""
    start = sampler.choose(points.sentence_starts)
    joins = not points.text[start].isupper() or re.match(r"I\b", points.text[start : start + 2])
    mark = "," if joins else "!"
    return InjectedText(start, points.match_style(sampler.sample_phrase(form) + mark) + " ")


def _place_particle(points: InsertionPoints, sampler: PhraseSampler) -> InjectedText:
    return _place_before_sentence(points, sampler, "particle")


def _place_opener(points: InsertionPoints, sampler: PhraseSampler) -> InjectedText:
    return _place_before_sentence(points, sampler, "opener")


def _place_sentence(points: InsertionPoints, sampler: PhraseSampler, form: str) -> InjectedText:
    """Place a sentence before one of the turn's sentences, or at the end."""
    sentence = points.match_style(sampler.sample_phrase(form))
    chosen = sampler.choose([*points.sentence_starts, None])
    if chosen is not None:
        return InjectedText(chosen, f"{sentence} ")
    stop = "" if points.has_closing_mark else (" ." if points.spaced else ".")
    return InjectedText(points.last, f"{stop} {sentence}")


def _place_insult(points: InsertionPoints, sampler: PhraseSampler) -> InjectedText:
    return _place_sentence(points, sampler, "insult")


def _place_promotion(points: InsertionPoints, sampler: PhraseSampler) -> InjectedText:
    return _place_sentence(points, sampler, "promotion")


def _place_aside(points: InsertionPoints, start: int, phrase: str) -> InjectedText:
    """Place a wording after a comma; a second comma follows if the sentence continues."""
    continues = points.text[_skip_spaces(points.text, start) :][:1].isalnum()
    aside = f", {phrase}," if continues else f", {phrase}"
    return InjectedText(start, f" {space_out_marks(aside)}" if points.spaced else aside)


def _place_address(points: InsertionPoints, sampler: PhraseSampler) -> InjectedText:
    return _place_aside(points, sampler.choose(points.you_ends), sampler.sample_phrase("address"))


def _place_tag(points: InsertionPoints, sampler: PhraseSampler) -> InjectedText:
    return _place_aside(
        points, sampler.choose(points.sentence_ends)[0], sampler.sample_phrase("tag")
    )


FORM_PLACERS = {
    "particle": _place_particle,
    "insult": _place_insult,
    "address": _place_address,
    "tag": _place_tag,
    "opener": _place_opener,
    "promotion": _place_promotion,
}
"""The function that places each form."""
