"""Text from a corpus made fit to be shown, and names that are free."""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Container

INVISIBLE_CHARACTERS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"
    "\ud800-\udfff\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
)
"""Controls, marks of direction, half surrogates and invisible characters; not the joiners
(U+200C and U+200D), without which words and emoji fall apart, nor tab and new line."""


def make_printable(text: str) -> str:
    """Return the text with control, direction and invisible characters replaced by stand-ins.

    So no text of a corpus can move a terminal's cursor, hide itself or turn a line round.
    """
    return INVISIBLE_CHARACTERS.sub(_escape_character, text)


def _escape_character(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < 0x20:
        return chr(0x2400 + code)
    return f"<{unicodedata.name(match[0], f'U+{code:04X}')}>"


def replace_surrogates(text: str) -> str:
    """Return the text without half surrogates, which no tokenizer takes."""
    return text.encode("utf-8", "replace").decode()


def truncate(text: str, length: int) -> str:
    """Return the text visible, lines and all, and cut to a length with an ellipsis."""
    return make_printable(text) if len(text) <= length else make_printable(text[: length - 1]) + "…"


def shorten(text: str, length: int = 100) -> str:
    """Return the text on one line, visible, and cut to a length with an ellipsis."""
    line = make_printable(" ".join(text[: 4 * length].split()))
    cut = len(line) > length or len(text) > 4 * length
    return line[: length - 1].rstrip() + "…" if cut else line


def format_error(error: BaseException, length: int = 200) -> str:
    """Return an error on one line, with its kind."""
    return shorten(f"{type(error).__name__}: {error}", length)


def free_name(name: str, taken: Container[str]) -> str:
    """The name itself, or the name with the first number from 2 up that is not taken."""
    numbered = (f"{name}_{number}" for number in itertools.count(2))
    return name if name not in taken else next(free for free in numbered if free not in taken)
