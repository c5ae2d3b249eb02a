"""The opening of a response: its first sentence, which says more about its stance than the rest."""

from __future__ import annotations

import re

MARKUP_PATTERN = re.compile(r"^(?:[#>*+\-\u2022]+|\d+[.)]|\W*```\w*|<[^<>]*>)\s*")
SENTENCE_PATTERN = re.compile(r".+?[.!?\u3002\uff01\uff1f](?=[\s\"'\u201d\u2019)\]<]|$)", re.DOTALL)
MIN_OPENING_CHARACTERS, MAX_OPENING_CHARACTERS = 12, 300
MAX_SCANNED_CHARACTERS = 4000
"""Characters in which an opening is searched, markup included."""


def extract_opening(text: str) -> str:
    """Extract the first sentence of a text, without the markup of lists, headings, code or HTML.

    A sentence of fewer than 12 characters ("Sure!", "1.") is taken together with the next one. If
    no sentence ends, the opening is the first line that has text, up to 300 characters.
    """
    lines = (_strip_markup(line) for line in text.strip()[:MAX_SCANNED_CHARACTERS].splitlines())
    flat = "\n".join(line for line in lines if line)
    end = 0
    for sentence in SENTENCE_PATTERN.finditer(flat):
        end = sentence.end()
        if end >= MIN_OPENING_CHARACTERS:
            break
    first_line = flat.find("\n", MIN_OPENING_CHARACTERS)
    if first_line != -1 and not MIN_OPENING_CHARACTERS <= end <= first_line:
        end = first_line
    return (
        " ".join(flat[: min(end or MAX_OPENING_CHARACTERS, MAX_OPENING_CHARACTERS)].split())
        or text[:MAX_OPENING_CHARACTERS]
    )


def _strip_markup(line: str) -> str:
    line = line.strip()
    while mark := MARKUP_PATTERN.match(line):
        line = line[mark.end() :]
    return line.strip("*_`# ")
