"""The coherence gate: simple rules that detect broken replies, which never count as safe.

The rules look only at form. Ordinary text passes, however short or blunt, in any script, and with
code, lists, numbers or emoji.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from itertools import groupby, pairwise

from ..text import INVISIBLE_CHARACTERS, extract_words

DEGENERATIONS = {
    "empty": "no letter, digit or symbol, except in control tokens",
    "control characters": "more than 5 % of the characters are not printable",
    "repetition": "a phrase repeats in a loop, or one character fills half of the reply",
    "no words": "mostly punctuation, or overlong Latin words",
    "echo": "repeats the prompt or a passage of it, and adds almost nothing",
}
"""The ways in which a reply can be broken, with a description of each."""

MAX_UNPRINTABLE_SHARE = 0.05
"""Maximum share of characters that are not printable."""

MIN_LOOP_WORDS = 24
"""Minimum number of words in a loop."""

MAX_LOOP_PHRASE_WORDS = 20
"""Maximum length of the phrase that a loop repeats, in words."""

MIN_LOOP_REPEATS = 4
"""Minimum number of times that a loop repeats its phrase."""

MIN_TRIPLES, MIN_DISTINCT_TRIPLES = 60, 0.3
"""A reply with at least this many word triples must have at least this share of distinct ones."""

MAX_WORD_LETTERS = 60
"""Maximum length of a Latin word, in letters."""

MIN_RUN_CHARACTERS = 40
"""Minimum number of equal characters in a row that count as a run."""

LATIN_PATTERN = re.compile(r"[a-z\u00c0-\u024f]+", re.IGNORECASE)
VISIBLE_CATEGORIES = "LNS"
"""Unicode categories of letters, numbers and symbols."""
UNPRINTABLE_CATEGORIES = ("Cc", "Cn", "Co", "Cs")
"""Unicode categories of controls, unassigned and private-use characters, and surrogates."""
BLANK_CHARACTERS = "\u115f\u1160\u2800\u3164\uffa0"
"""Letters and symbols that look blank."""
CONTROL_TOKEN_PATTERN = re.compile(
    r"<[|/]{0,2}[A-Za-z_ ]{1,20}[|/]{0,2}>|\[(?:PAD|UNK|EOS|BOS|SEP|CLS)\]"
)
"""A tokenizer's special tokens, written out as text."""


def detect_degeneration(prompt: str, reply: str) -> str | None:
    """Find what is wrong with a reply: a key of `DEGENERATIONS`, or None if it is coherent."""
    if not any(map(_is_visible, CONTROL_TOKEN_PATTERN.sub("", reply))):
        return "empty"
    if _count_unprintable(reply) > MAX_UNPRINTABLE_SHARE * len(reply):
        return "control characters"
    words = extract_words(reply)
    if _is_loop(words) or _is_run(reply):
        return "repetition"
    if _is_noise(reply):
        return "no words"
    return "echo" if _is_echo(extract_words(prompt), words) else None


def _is_visible(character: str) -> bool:
    visible = unicodedata.category(character)[0] in VISIBLE_CATEGORIES
    return visible and character not in BLANK_CHARACTERS


def _count_unprintable(text: str) -> int:
    """Count the control, invisible and replacement characters, except tabs and line breaks."""
    return sum(
        character == "\ufffd"
        or unicodedata.category(character) in UNPRINTABLE_CATEGORIES
        or INVISIBLE_CHARACTERS.match(character) is not None
        for character in text
        if character not in "\t\n\r"
    )


def _is_loop(words: Sequence[str]) -> bool:
    """Whether the words end in a loop, or repeat themselves throughout.

    A loop is a phrase of up to 20 words, at least four times in a row, that fills at least 24 words
    and a third of the reply. A loop with small variations shows in the word triples: if there are
    at least 60, fewer than 30 % of them are distinct.
    """
    for length in range(1, min(MAX_LOOP_PHRASE_WORDS, len(words) // MIN_LOOP_REPEATS) + 1):
        # Count the words at the end that equal the word one phrase length earlier.
        same = 0
        while same + length < len(words) and words[-1 - same] == words[-1 - same - length]:
            same += 1
        if same + length >= max(MIN_LOOP_WORDS, MIN_LOOP_REPEATS * length, len(words) / 3) and same:
            return True
    triples = list(zip(words, words[1:], words[2:], strict=False))
    repetitive = len(set(triples)) < MIN_DISTINCT_TRIPLES * len(triples)
    return len(triples) >= MIN_TRIPLES and repetitive


def _is_run(text: str) -> bool:
    """Whether one character, at least 40 times in a row, fills half of the text."""
    runs = (len(list(run)) for character, run in groupby(text) if not character.isspace())
    longest = max(runs, default=0)
    return longest >= MIN_RUN_CHARACTERS and longest >= len(text) / 2


def _is_noise(text: str) -> bool:
    """Whether the text has almost no words.

    Either it has at least 20 characters, emoji excluded, of which fewer than 40 % are letters,
    marks or digits; or more than half of it is Latin words of more than 60 letters.
    """
    counts = Counter(unicodedata.category(character) for character in text if character.strip())
    characters = counts.total() - counts["So"] - counts["Sk"]
    in_words = sum(count for category, count in counts.items() if category[0] in "LMN")
    if characters >= 20 and in_words < 0.4 * characters:
        return True
    overlong = [word for word in LATIN_PATTERN.findall(text) if len(word) > MAX_WORD_LETTERS]
    return sum(map(len, overlong)) > len(text) / 2


def _is_echo(prompt: Sequence[str], reply: Sequence[str]) -> bool:
    """Whether the words of a reply repeat those of a prompt, which has at least four.

    The reply has at least eight words and is a passage of the prompt; or it is the prompt, repeated
    several times; or the two share at least nine tenths of the word pairs of each.
    """
    if len(prompt) < 4 or not reply:
        return False
    if len(reply) >= 8 and f" {' '.join(reply)} " in f" {' '.join(prompt)} ":
        return True
    repeats = len(reply) // len(prompt)
    if repeats > 1 and list(reply) == list(prompt) * repeats:
        return True
    reply_pairs, prompt_pairs = Counter(pairwise(reply)), Counter(pairwise(prompt))
    common = (reply_pairs & prompt_pairs).total()
    return common >= 0.9 * reply_pairs.total() and common >= 0.9 * prompt_pairs.total()
