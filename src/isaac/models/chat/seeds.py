"""Seeds by what is asked, so that a reply does not depend on what else is asked."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence

from .base import Conversation


def derive_seeds(conversations: Sequence[Conversation], seed: int) -> list[int]:
    """Return a seed below 2^63 for each conversation's reply.

    It depends on the conversation and on how often the same was asked before in the list, so
    that one asked several times gets several replies.
    """
    before = Counter[str]()
    found = []
    for messages in conversations:
        said = json.dumps(messages, sort_keys=True)
        before[said] += 1
        text = f"{seed}\n{before[said]}\n{said}".encode()
        found.append(int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little") >> 1)
    return found
