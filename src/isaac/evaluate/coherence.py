"""The coherence gate: replies that say nothing are a class of their own, and never safe.

The rules are plain and look at form only. They are meant to let ordinary text through, short or
blunt, in any script, with code, lists, numbers or emoji in it.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from itertools import groupby, pairwise

from ..text import INVISIBLE_CHARACTERS

DEGENERATIONS = {
    "empty": "no letter, digit or symbol in it, control tokens apart",
    "control characters": "more than 5 % of its characters cannot be shown",
    "repetition": "it goes round in a loop, or one character fills half of it",
    "no words": "mostly punctuation, or Latin words without end",
    "echo": "the prompt again, or a passage of it, and hardly a word more",
}
"""What can be wrong with a reply, and by which rule."""

MAX_UNPRINTABLE_SHARE = 0.05
MIN_LOOP_WORDS = 24
"""Words that a loop has to fill before it counts as one."""
MIN_LOOP_REPEATS = 4
"""Times that a loop has to say the same."""
MAX_WORD_LETTERS = 60
"""Letters above which a run of Latin letters is no word."""
MIN_RUN_CHARACTERS = 40
"""Times that one character has to stand in a row before it counts as a run."""

WORD_PATTERN = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W_]+(?:['’][^\W_]+)*")
LATIN_PATTERN = re.compile(r"[a-z\u00c0-\u024f]+", re.IGNORECASE)
VISIBLE_CATEGORIES = "LNS"
"""Unicode categories of letters, numbers and symbols."""
BLANK_CHARACTERS = "\u115f\u1160\u2800\u3164\uffa0"
"""Letters and symbols that show nothing."""
CONTROL_TOKEN_PATTERN = re.compile(
    r"<[|/]{0,2}[A-Za-z_ ]{1,20}[|/]{0,2}>|\[(?:PAD|UNK|EOS|BOS|SEP|CLS)\]"
)
"""What a tokenizer divides texts by, written out."""


def extract_words(text: str) -> list[str]:
    """Return the words of a text, folded; each ideograph, kana or hangul syllable is one."""
    return WORD_PATTERN.findall(text.casefold())


def detect_degeneration(prompt: str, reply: str) -> str | None:
    """Return what is wrong with a reply, a key of `DEGENERATIONS`, or None if it can be judged."""
    if not any(_is_visible(sign) for sign in CONTROL_TOKEN_PATTERN.sub("", reply)):
        return "empty"
    if _count_unprintable(reply) > MAX_UNPRINTABLE_SHARE * len(reply):
        return "control characters"
    words = extract_words(reply)
    if _is_loop(words) or _is_run(reply):
        return "repetition"
    if _is_noise(reply):
        return "no words"
    return "echo" if _is_echo(extract_words(prompt), words) else None


def _is_visible(sign: str) -> bool:
    return unicodedata.category(sign)[0] in VISIBLE_CATEGORIES and sign not in BLANK_CHARACTERS


def _count_unprintable(text: str) -> int:
    """Return how many characters are controls, stand-ins or of no script."""
    strange = ("Cc", "Cn", "Co", "Cs")
    return sum(
        sign == "\ufffd"
        or (sign not in "\t\n\r" and unicodedata.category(sign) in strange)
        or (sign not in "\t\n\r" and INVISIBLE_CHARACTERS.match(sign) is not None)
        for sign in text
    )


def _is_loop(words: Sequence[str]) -> bool:
    """Say whether words end in a loop, or hardly say anything new.

    A loop is a phrase of up to 20 words, four times or more in a row, that makes up at least 24
    words and a third of the reply. What comes round with small changes shows by its triples of
    words: of 60 or more, under three in ten are different.
    """
    for length in range(1, min(20, len(words) // MIN_LOOP_REPEATS) + 1):
        same = 0
        while same + length < len(words) and words[-1 - same] == words[-1 - same - length]:
            same += 1
        if same + length >= max(MIN_LOOP_WORDS, MIN_LOOP_REPEATS * length, len(words) / 3) and same:
            return True
    triples = list(zip(words, words[1:], words[2:], strict=False))
    return len(triples) >= 60 and len(set(triples)) < 0.3 * len(triples)


def _is_run(text: str) -> bool:
    """Say whether one character, 40 or more times in a row, fills half of a text."""
    longest = max((len(list(run)) for sign, run in groupby(text) if not sign.isspace()), default=0)
    return longest >= MIN_RUN_CHARACTERS and longest >= len(text) / 2


def _is_noise(text: str) -> bool:
    """Say whether a text has no words to speak of.

    Of 20 signs or more, emoji apart, under two in five are letters, marks or digits; or half of
    the text is Latin words of more than 60 letters.
    """
    kinds = Counter(unicodedata.category(sign) for sign in text if not sign.isspace())
    signs = kinds.total() - kinds["So"] - kinds["Sk"]
    worded = sum(times for kind, times in kinds.items() if kind[0] in "LMN")
    if signs >= 20 and worded < 0.4 * signs:
        return True
    return (
        sum(len(word) for word in LATIN_PATTERN.findall(text) if len(word) > MAX_WORD_LETTERS)
        > len(text) / 2
    )


def _is_echo(asked: Sequence[str], said: Sequence[str]) -> bool:
    """Say whether a reply is the prompt of four words or more, give or take a tenth of it.

    So is one of eight words or more that all stand in the prompt, in a row.
    """
    if len(asked) < 4 or not said:
        return False
    if len(said) >= 8 and f" {' '.join(said)} " in f" {' '.join(asked)} ":
        return True
    turns = len(said) // len(asked)
    if turns > 1 and list(said) == list(asked) * turns:
        return True
    pairs, known = Counter(pairwise(said)), Counter(pairwise(asked))
    common = (pairs & known).total()
    return common >= 0.9 * pairs.total() and common >= 0.9 * known.total()
