"""Rephrasers: trained models that rewrite a response, given its context.

Both training and rewriting build their prompts with the functions in this module.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .base import Conversation, Decoding, ModelError
from .loading import METADATA_FILE
from .transformers import LocalModel

WITHOUT_VALUES = "without_values"
"""The metadata key of rephrasers trained on delexicalized turns of dialogues."""

INSTRUCTION = (
    "Rewrite the last response of a conversation so that it is one that people would agree with. "
    "Leave it as it is if it already is. Say nothing but the response."
)


def build_chat_prompt(context: str, response: str, *, system: bool = True) -> Conversation:
    """Build the prompt that asks a causal model to rewrite a response.

    The instruction is the system turn, or part of the user's turn if ``system`` is false.
    """
    exchange = f"Conversation:\n{context}\n\nResponse:\n{response}"
    if not system:
        return [{"role": "user", "content": f"{INSTRUCTION}\n\n{exchange}"}]
    return [{"role": "system", "content": INSTRUCTION}, {"role": "user", "content": exchange}]


def supports_system_role(tokenizer: Any) -> bool:
    """Whether a tokenizer's chat template supports a system turn; Gemma's, for one, rejects it."""
    try:
        return INSTRUCTION in tokenizer.apply_chat_template(
            build_chat_prompt("", ""), tokenize=False
        )
    except Exception:  # a template is code that may raise anything
        return False


def build_text_prompt(context: str, response: str) -> str:
    """Build the input that asks an encoder-decoder to rewrite a response."""
    return f"rewrite the response. context: {context}\nresponse: {response}"


class TrainedRephraser:
    """A trained rephraser; load one with `load_rephraser`."""

    def __init__(self, model: LocalModel, decoding: Decoding) -> None:
        self.model, self.decoding = model, decoding
        self.system = not model.seq2seq and supports_system_role(model.tokenizer)

    def rewrite(
        self, contexts: Sequence[str], responses: Sequence[str], seed: int = 0
    ) -> list[str | None]:
        """Rewrite each response, given its context; None if the model gave no text.

        The seed matters only if the decoding's temperature is above 0.
        """
        prompts = [
            self._build_prompt(context, response)
            for context, response in zip(contexts, responses, strict=True)
        ]
        replies = self.model.reply(prompts, self.decoding._replace(seed=seed))
        return [reply or None for reply in replies]

    def _build_prompt(self, context: str, response: str) -> Conversation:
        if self.model.seq2seq:
            return [{"role": "user", "content": build_text_prompt(context, response)}]
        return build_chat_prompt(context, response, system=self.system)

    @property
    def first_error(self) -> str | None:
        """Why the model gave no reply the first time that happened; None if it always did."""
        return self.model.first_error


def load_rephraser(
    folder: str | Path, *, batch: int = 16, decoding: Decoding | None = None
) -> TrainedRephraser:
    """Load the rephraser from a folder that ``isaac train rephraser`` wrote.

    ``decoding`` defaults to the most likely tokens, up to the length of the longest response in
    the training data. Raises `ModelError` if the folder contains no rephraser.
    """
    metadata = read_metadata(folder)
    kind = metadata.get("kind")
    if kind != "rephraser":
        content = f"a model of kind '{kind}'" if kind else "no rephraser"
        raise ModelError(
            f"expected a rephraser, but {folder} contains {content}; train one with: "
            f"isaac train rephraser RUN --model BASE -o {folder}"
        )
    decoding = decoding or Decoding(max_tokens=int(metadata.get("max_tokens", 128)))
    return TrainedRephraser(LocalModel(str(folder), batch), decoding)


def read_metadata(folder: str | Path) -> dict[str, Any]:
    """Read what the model in a folder was trained for; empty if the folder does not record it."""
    try:
        metadata = json.loads((Path(folder) / METADATA_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return metadata if isinstance(metadata, dict) else {}
