"""Scripts: the writing system of a text, such as Latin or Cyrillic."""

from __future__ import annotations

import functools
import unicodedata
from collections import Counter

MAX_CHARACTERS = 1000
"""Characters of a text that are read, from its beginning."""

CHINESE_AND_JAPANESE = frozenset({"CJK", "HIRAGANA", "KATAKANA"})
"""Writing systems that one text mixes."""


def find_script(text: str) -> str:
    """The script of most letters of a text, empty if it has no letters."""
    counts = Counter(filter(None, map(_find_letter_script, text[:MAX_CHARACTERS])))
    return max(counts, key=lambda script: (counts[script], script), default="")


@functools.lru_cache(maxsize=4096)
def _find_letter_script(char: str) -> str:
    """The first word of a letter's Unicode name, empty for other characters."""
    if not char.isalpha():
        return ""
    script = unicodedata.name(char, "").partition(" ")[0]
    return "CJK" if script in CHINESE_AND_JAPANESE else script
