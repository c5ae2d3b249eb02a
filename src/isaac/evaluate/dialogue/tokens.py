"""Words of responses: what they are, and whether given ones are among them."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ...corpus.dialogue.placeholders import unify_placeholders
from ...errors import CorpusError

CLITIC_SPACE = re.compile(r" (?=(?:n['’]t|['’](?:s|d|m|ll|re|ve))\b)", re.IGNORECASE)
"""The space that MultiWOZ 2.1 has in ``do n't`` and ``I 'd``, where people write none."""

WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")


def join_contractions(text: str) -> str:
    """Return the text with contractions in one piece and its whitespace as single spaces."""
    return CLITIC_SPACE.sub("", " ".join(text.split()))


def split_words(text: str) -> list[str]:
    """Return the words of a text in lower case, without punctuation; a placeholder is one word."""
    return WORD.findall(unify_placeholders(join_contractions(text)).replace("’", "'"))


class PhraseMatcher:
    """Words and phrases that can be looked for in texts: whole words, in any case.

    What has no word in it, such as an emoji, is looked for as it stands. Raises `CorpusError` if
    one is empty, since it would be in every text.
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
                raise CorpusError("a word or phrase to look for is empty")

    def among(self, words: list[str], text: str) -> bool:
        """Say whether any of the phrases is in a text, given with its `split_words`."""
        return any(sign in text for sign in self.symbols) or any(
            tuple(words[place : place + len(phrase)]) == phrase
            for place, word in enumerate(words)
            for phrase in self.by_first_word.get(word, ())
        )
