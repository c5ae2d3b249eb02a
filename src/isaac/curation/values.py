"""Values: the words of a response that are about one message only, such as numbers and addresses.

A response with a booking number, a sum or a link answers the message that it was written for. It
may answer another message only if that message has the same value.
"""

from __future__ import annotations

import re

VALUE_PATTERN = re.compile(
    r"(?<!\w)\w+://\S+|(?<![^\s@])[^\s@]+@[^\s@]+\.\w+|(?<![^\W_])[^\W_]*\d[^\W_]*"
)
"""A URL, an email address, or a word with a digit.

Each starts where no other character of its kind precedes, so that a long text without spaces takes
no longer than any other.
"""

PUNCTUATION = ".,;:!?()[]{}<>'\""
"""Characters around a value that are not part of it."""


def find_values(text: str) -> frozenset[str]:
    """Find the values that a text mentions, in lower case."""
    return frozenset(value.strip(PUNCTUATION).lower() for value in VALUE_PATTERN.findall(text))
