"""Seeds derived from conversations, so that a reply does not depend on the other conversations."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence

from .base import Conversation


def derive_seeds(conversations: Sequence[Conversation], seed: int) -> list[int]:
    """Derive a seed below 2^63 for the reply to each conversation.

    It depends on ``seed``, the conversation, and how often the same conversation occurs before it
    in the list, so that a repeated conversation gets different replies.
    """
    occurrences = Counter[str]()
    seeds = []
    for messages in conversations:
        key = json.dumps(messages, sort_keys=True)
        occurrences[key] += 1
        text = f"{seed}\n{occurrences[key]}\n{key}".encode()
        seeds.append(int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little") >> 1)
    return seeds
