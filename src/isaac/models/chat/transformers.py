"""Replies from a model on this machine, in batches, each drawn by chance of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ...text import shorten
from .base import Conversation, Decoding, Dtype, ModelError, messages_to_text
from .library_logging import quiet_transformers
from .loading import DEFAULT_CHAT_TEMPLATE, LoadedModel, load_model
from .seeds import derive_seeds


class _TokenizedPrompt(NamedTuple):
    """A conversation as the model reads it: its place among those asked, tokens and seed."""

    place: int
    tokens: list[int]
    seed: int


class LocalModel:
    """A chat model of the library transformers; see `load_model` for what it may be called.

    Conversations are sorted by length and answered so many at a time, which their order at the
    caller does not change. Where replies are drawn by chance, each has a generator of its own,
    seeded by the decoding's seed, the conversation and how often it was asked before in the same
    call: so a reply depends on what else is in its batch only as far as rounding does, which
    padding can change in the last bits. The same conversations, decoding and batch size give the
    same replies on the same machine.

    ``unanswered`` counts the conversations that got no reply, because they cannot be put to the
    model or are too long for it; ``first_error`` says why the first of them did not.
    """

    def __init__(self, name: str, batch: int = 16, *, dtype: Dtype | None = None) -> None:
        self.name, self.batch = name, batch
        self.loaded = load_model(name, dtype=dtype, merged=True)
        self.seq2seq = self.loaded.seq2seq
        self.tokenizer = self.loaded.tokenizer
        self.tokenizer.padding_side = "right" if self.seq2seq else "left"
        self.model = self.loaded.model
        self.model.generation_config = _build_generation_config(self.loaded)
        if head := self.model.get_output_embeddings():
            head.register_forward_pre_hook(_make_contiguous)
        self.unanswered = 0
        self.first_error: str | None = None

    def reply(self, conversations: Sequence[Conversation], decoding: Decoding) -> list[str | None]:
        """Return one reply a conversation, in order; None where the model was given none."""
        replies: list[str | None] = [None] * len(conversations)
        asked = self._prepare(conversations, decoding)
        asked.sort(key=lambda one: (-len(one.tokens), one.place))
        for start in range(0, len(asked), self.batch):
            some = asked[start : start + self.batch]
            for one, text in zip(some, self._generate(some, decoding), strict=True):
                replies[one.place] = text
        return replies

    def _prepare(
        self, conversations: Sequence[Conversation], decoding: Decoding
    ) -> list[_TokenizedPrompt]:
        """Return the conversations that can be put to the model; count the others."""
        found = []
        for place, seed in enumerate(derive_seeds(conversations, decoding.seed)):
            try:
                with quiet_transformers():
                    tokens = self._tokens(conversations[place])
                problem = self._describe_problem(len(tokens), decoding.max_tokens)
            except Exception as error:  # a template is code that may refuse in any way it likes
                tokens, problem = [], f"{type(error).__name__}: {error}"
            if problem:
                self.unanswered += 1
                self.first_error = self.first_error or shorten(problem, 300)
            else:
                found.append(_TokenizedPrompt(place, tokens, seed))
        return found

    def _describe_problem(self, tokens: int, reply: int) -> str:
        """Return why so many tokens cannot be put to the model, nothing if they can."""
        room = max_sequence_length(self.loaded)
        wanted = tokens if self.seq2seq else tokens + reply
        if not tokens:
            return "a conversation without a word"
        if room is None or wanted <= room:
            return ""
        return f"{wanted:,} tokens, reply included, are more than the {room:,} the model reads"

    def _tokens(self, messages: Conversation) -> list[int]:
        if self.seq2seq:
            tokens: list[int] = self.tokenizer(messages_to_text(messages))["input_ids"]
            return tokens
        encoded = self.tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_dict=True
        )
        return list(encoded["input_ids"])

    def _generate(self, asked: list[_TokenizedPrompt], decoding: Decoding) -> list[str]:
        import torch

        rows = {"input_ids": [one.tokens for one in asked]}
        inputs = self.tokenizer.pad(rows, return_tensors="pt").to(self.model.device)
        chance = []
        if decoding.temperature > 0:
            own = [one.seed for one in asked]
            chance.append(SeededSampler(own, decoding.temperature, decoding.top_p))
        try:
            with torch.inference_mode(), quiet_transformers():
                made = self.model.generate(
                    **inputs, max_new_tokens=decoding.max_tokens, logits_processor=chance
                )
        except torch.OutOfMemoryError:
            raise ModelError(
                f"no memory left on the card for {len(asked)} replies of {self.name} at a time; "
                "ask for fewer"
            ) from None
        new = made if self.seq2seq else made[:, inputs["input_ids"].shape[1] :]
        texts = self.tokenizer.batch_decode(new, skip_special_tokens=True)
        return [str(text).strip() for text in texts]


def max_sequence_length(loaded: LoadedModel) -> int | None:
    """Return how many tokens the model reads at most, None if it does not say."""
    declared = getattr(loaded.model.config, "max_position_embeddings", None)
    length = declared or loaded.tokenizer.model_max_length
    return int(length) if 0 < length < 2**30 else None


def _make_contiguous(_: Any, given: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return what a module is given, its first tensor without gaps in memory.

    Of a reply's first token the library gives the head a slice with gaps, for which PyTorch copies
    the head's weights once for each conversation.
    """
    return (given[0].contiguous(), *given[1:]) if given else given


def _build_generation_config(loaded: LoadedModel) -> Any:
    """Return a generation config with a model's special tokens, and none of its own decoding."""
    from transformers import GenerationConfig

    own = loaded.model.generation_config
    names = (
        "bos_token_id",
        "eos_token_id",
        "decoder_start_token_id",
        "forced_bos_token_id",
        "forced_eos_token_id",
    )
    kept = {name: getattr(own, name, None) for name in names}
    if kept["eos_token_id"] is None:
        kept["eos_token_id"] = loaded.tokenizer.eos_token_id
    return GenerationConfig(
        **kept, pad_token_id=loaded.tokenizer.pad_token_id, do_sample=False, num_beams=1
    )


NUCLEUS_SEARCH_SIZES = (256, 4096)
"""Tokens among which the nucleus is looked for first; to sort a whole vocabulary is slow."""


class SeededSampler:
    """Draws the next token of each reply by a stream of chance of its own.

    The drawn token alone keeps a score, so that the library, told to take the highest, takes it.
    """

    def __init__(self, seeds: list[int], temperature: float, top_p: float) -> None:
        import torch

        self.torch, self.temperature, self.top_p = torch, temperature, top_p
        self.streams = [torch.Generator().manual_seed(seed) for seed in seeds]

    def __call__(self, _: Any, scores: Any) -> Any:
        """Return the scores of every token, a row a reply, minus infinity but for one a row."""
        odds = (scores.float() / self.temperature).softmax(-1)
        if self.top_p < 1:
            odds = odds * (odds >= self._nucleus_threshold(odds))
        upto = odds.cumsum(-1)
        chance = [self.torch.rand(1, generator=one) for one in self.streams]
        bound = self.torch.stack(chance).to(upto.device) * upto[:, -1:]
        drawn = self.torch.searchsorted(upto, bound, right=True)
        drawn = drawn.clamp(max=scores.shape[-1] - 1)  # a broken model's scores are no numbers
        return self.torch.full_like(scores, -self.torch.inf).scatter(-1, drawn, 0.0)

    def _nucleus_threshold(self, odds: Any) -> Any:
        """Return the odds of the least likely token of each nucleus, a column.

        A nucleus is the fewest of the likeliest tokens whose odds come to ``top_p`` (Holtzman and
        others, 2020); tokens as likely as its last are drawn from too.
        """
        for size in (*NUCLEUS_SEARCH_SIZES, odds.shape[-1]):
            likely = odds.topk(min(size, odds.shape[-1])).values
            upto = likely.cumsum(-1)
            if bool((upto[:, -1] >= self.top_p).all()):
                break
        last = (upto < self.top_p).sum(-1, keepdim=True).clamp(max=likely.shape[-1] - 1)
        return likely.gather(-1, last)


__all__ = ["DEFAULT_CHAT_TEMPLATE", "LocalModel", "load_model", "max_sequence_length"]
