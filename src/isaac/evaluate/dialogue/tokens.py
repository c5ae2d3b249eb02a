"""Split responses into words, and search them for words and phrases."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ...corpus.dialogue.placeholders import unify_placeholders
from ...errors import CorpusError
from ...text import WORD

CLITIC_SPACE = re.compile(r" (?=(?:n['’]t|['’](?:s|d|m|ll|re|ve))\b)", re.IGNORECASE)
"""The space in MultiWOZ 2.1's ``do n't`` and ``I 'd``, which people do not write."""

WORD_PATTERN = re.compile(WORD)


def join_contractions(text: str) -> str:
    """Join contractions, and reduce whitespace to single spaces."""
    return CLITIC_SPACE.sub("", " ".join(text.split()))


def split_words(text: str) -> list[str]:
    """Split a text into lowercase words without punctuation; a placeholder is one word."""
    return WORD_PATTERN.findall(unify_placeholders(join_contractions(text)).replace("’", "'"))


class PhraseMatcher:
    """Searches texts for words and phrases: whole words, in any case.

    A phrase without any word, such as an emoji, is searched for verbatim. Raises `CorpusError` for
    an empty phrase, which would be in every text.
    """

    def __init__(self, phrases: Iterable[str]) -> None:
        self.by_first_word: dict[str, set[tuple[str, ...]]] = {}
        self.symbols: set[str] = set()
        for phrase in phrases:
            words = tuple(split_words(phrase))
            if words:
                self.by_first_word.setdefault(words[0], set()).add(words)
            elif phrase.strip():
                self.symbols.add(phrase.strip())
            else:
                raise CorpusError(
                    "a word or phrase to search for is empty; remove it from the list"
                )

    def occurs_in(self, words: list[str], text: str) -> bool:
        """Whether a text contains any of the phrases; ``words`` are its `split_words`."""
        return any(symbol in text for symbol in self.symbols) or any(
            tuple(words[start : start + len(phrase)]) == phrase
            for start, word in enumerate(words)
            for phrase in self.by_first_word.get(word, ())
        )
