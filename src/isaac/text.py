"""Text helpers: make corpus text safe to display, shorten it, and find unused names."""

from __future__ import annotations

import difflib
import itertools
import re
import unicodedata
from collections.abc import Container, Iterable

INVISIBLE_CHARACTERS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"
    "\ud800-\udfff\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
)
"""Control characters, text-direction marks, other invisible characters, and lone surrogates.

Tab and newline are allowed, and so are the joiners (U+200C and U+200D), without which some words
and emoji break apart.
"""

TOKEN_PATTERN = re.compile(r"\w+|[^\w\s]")
"""A run of letters, digits and underscores, or one punctuation mark."""

UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
"""The characters of scripts without spaces between words, as part of a character class."""

MARKS = (
    "\u0483-\u0487\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7"  # Cyrillic, Hebrew
    "\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06dc\u06df-\u06e4\u06e7\u06e8\u06ea-\u06ed"  # Arabic
    "\u0711\u0730-\u074a\u07a6-\u07b0"  # Syriac, Thaana
    "\u0900-\u0963\u0966-\u096f\u0971-\u0df3"  # the scripts of India, from Devanagari to Sinhala
    "\u0f71-\u0f84\u0f86\u0f87\u0f8d-\u0fbc\u135d-\u135f\u1b00-\u1b4b\ua980-\ua9c0"
)
"""Vowel signs and other marks within words, as part of a character class; letters are there too.

Python's ``\\w`` does not match these marks, so it cuts Tamil and Hindi words at each vowel sign.
The accents of Latin letters are not among them.
"""

WORD_PATTERN = re.compile(rf"[{UNSPACED}]|(?:[^\W{UNSPACED}]|[{MARKS}])+|[^\w\s{MARKS}]")
"""A word, a punctuation mark, or one character of a script without spaces between words."""

PUNCTUATION_PATTERN = re.compile(rf"[^\w\s{UNSPACED}{MARKS}]")
"""A punctuation mark, or another character that is in no word, such as an emoji."""

WORD = r"[^\W_]+(?:['’][^\W_]+)*"
"""The pattern of a word with its apostrophes, such as ``don't``."""


CASE_FOLDED_WORD_PATTERN = re.compile(rf"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|{WORD}")
"""A word; an ideograph, kana or hangul syllable is a word of its own."""


def extract_words(text: str) -> list[str]:
    """Split a text into case-folded words; an ideograph, kana or hangul syllable is a word."""
    return CASE_FOLDED_WORD_PATTERN.findall(text.casefold())


def share_of_distinct_pairs(texts: Iterable[str]) -> float | None:
    """The share of distinct pairs among all pairs of adjacent words: distinct-2 (Li et al. 2016).

    Pairs do not cross the end of a text. None if there is no pair.
    """
    pairs = [pair for text in texts for pair in itertools.pairwise(extract_words(text))]
    return len(set(pairs)) / len(pairs) if pairs else None


def suggest(name: str, names: Iterable[str]) -> str:
    """A question to add to a message about an unknown name: the known one that is most like it."""
    near = difflib.get_close_matches(name, list(names), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def make_printable(text: str) -> str:
    """Replace control, text-direction and invisible characters with visible symbols or names.

    Corpus text can then neither move the terminal's cursor nor hide or reverse part of a line.
    """
    return INVISIBLE_CHARACTERS.sub(_escape_character, text)


def _escape_character(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < 0x20:
        return chr(0x2400 + code)  # the block "Control Pictures", such as ␛ for escape
    return f"<{unicodedata.name(match[0], f'U+{code:04X}')}>"


def replace_surrogates(text: str) -> str:
    """Replace lone surrogates, which no tokenizer accepts, with question marks."""
    return text.encode("utf-8", "replace").decode()


def truncate(text: str, length: int) -> str:
    """Cut a text to ``length`` with an ellipsis and make it printable; line breaks stay."""
    return make_printable(text) if len(text) <= length else make_printable(text[: length - 1]) + "…"


def shorten(text: str, length: int = 100) -> str:
    """Put a text on one line, make it printable, and cut it to ``length`` with an ellipsis."""
    line = make_printable(" ".join(text[: 4 * length].split()))
    is_cut = len(line) > length or len(text) > 4 * length
    return line[: length - 1].rstrip() + "…" if is_cut else line


def keep_end(text: str, length: int) -> str:
    """Cut the beginning of a text down to ``length`` with an ellipsis, and make it printable."""
    return make_printable(text) if len(text) <= length else "…" + make_printable(text[1 - length :])


def format_error(error: BaseException, length: int = 200) -> str:
    """An error's class name and message, on one line."""
    return shorten(f"{type(error).__name__}: {error}", length)


def free_name(name: str, taken: Container[str]) -> str:
    """``name`` if it is not taken, otherwise the first of name_2, name_3, ... that is not."""
    numbered = (f"{name}_{number}" for number in itertools.count(2))
    return name if name not in taken else next(free for free in numbered if free not in taken)


def short_name(name: str) -> str:
    """A model's or judge's name for readers: ``trained:/a/b/tone`` is ``trained:tone``.

    A path becomes its last part, and the address of an endpoint is left out; a model of the Hub
    keeps its owner.
    """
    prefix, colon, rest = name.partition(":")
    if prefix == "openai":
        rest = rest.partition("@")[0]
    place = rest if colon else prefix
    is_path = place.count("/") > 1 or place[:1] in ("/", ".", "~") or "\\" in place
    if is_path or prefix == "trained":
        place = re.split(r"[/\\]", place.rstrip("/\\"))[-1]
    return prefix + colon + place if colon else place


_SECRET_KEYS = re.compile(r"key|token|secret|sig|passw|auth|credential", re.IGNORECASE)
_URL_USER = re.compile(r"(?<=://)[^/\s?#]*@")
_URL_QUERY = re.compile(r"(://[^\s?#'\"]*)\?[^\s'\"=]*=[^\s'\"]*")


def has_url_secret(name: str) -> bool:
    """Whether a name with a URL has a user, a password, or a key or token in its query."""
    query = name.partition("://")[2].partition("?")[2]
    keys = (part.partition("=")[0] for part in query.split("&"))
    return _URL_USER.search(name) is not None or any(map(_SECRET_KEYS.search, keys))


def hide_url_secrets(text: str) -> str:
    """The text with the user, the password and the query of every URL left out."""
    return _URL_QUERY.sub(r"\1", _URL_USER.sub("", text))
