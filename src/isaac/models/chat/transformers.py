"""Replies from a model on this machine, in batches, each reply with its own random generator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ...text import shorten
from .base import Conversation, Decoding, Dtype, ModelError, messages_to_text
from .library_logging import quiet_transformers
from .loading import DEFAULT_CHAT_TEMPLATE, LoadedModel, load_model
from .seeds import derive_seeds
from .templates import describe_lost_text, find_open_block, split_answer


class _TokenizedPrompt(NamedTuple):
    """The tokens of a conversation, its position in the request, and the seed of its reply."""

    position: int
    tokens: list[int]
    seed: int


class LocalModel:
    """A transformers chat model on this machine, by a name that the module `loading` describes.

    Conversations are sorted by length and answered ``batch`` at a time; their order in the call
    does not matter. Each sampled reply has its own random generator, seeded by the decoding's
    seed, the conversation, and how often the same conversation occurs before it in the call. So a
    reply depends on the rest of its batch only through rounding: padding can change the last bits
    of a number. The same conversations, decoding and batch size give the same replies on the same
    machine.

    ``unanswered`` counts the conversations that get no reply, because they are too long, the chat
    template rejects them or leaves a text out, or the model never ends its thinking, which is no
    part of a reply; ``first_error`` says why the first one gets none.
    """

    def __init__(self, name: str, batch: int = 16, *, dtype: Dtype | None = None) -> None:
        self.name, self.batch = name, batch
        self.loaded = load_model(name, dtype=dtype, merged=True)
        self.seq2seq = self.loaded.seq2seq
        self.tokenizer = self.loaded.tokenizer
        self.tokenizer.padding_side = "right" if self.seq2seq else "left"
        self.opens_block = not self.seq2seq and bool(find_open_block(self.tokenizer))
        self.model = self.loaded.model
        self.model.generation_config = _build_generation_config(self.loaded)
        if head := self.model.get_output_embeddings():
            head.register_forward_pre_hook(_make_contiguous)
        self.unanswered = 0
        self.first_error: str | None = None

    def reply(self, conversations: Sequence[Conversation], decoding: Decoding) -> list[str | None]:
        """Generate one reply per conversation, in order; None if the model cannot read it."""
        replies: list[str | None] = [None] * len(conversations)
        prompts = self._tokenize(conversations, decoding)
        # Longest first, so that a batch has little padding and memory runs out early if at all.
        prompts.sort(key=lambda prompt: (-len(prompt.tokens), prompt.position))
        for start in range(0, len(prompts), self.batch):
            batch = prompts[start : start + self.batch]
            for prompt, text in zip(batch, self._generate(batch, decoding), strict=True):
                replies[prompt.position] = text
        return replies

    def _tokenize(
        self, conversations: Sequence[Conversation], decoding: Decoding
    ) -> list[_TokenizedPrompt]:
        """Tokenize the conversations that the model can read; count the others."""
        prompts = []
        for index, seed in enumerate(derive_seeds(conversations, decoding.seed)):
            try:
                with quiet_transformers():
                    tokens, problem = self._tokenize_one(conversations[index])
                problem = problem or self._describe_problem(len(tokens), decoding.max_tokens)
            except Exception as error:  # a chat template is code that may raise anything
                tokens, problem = [], f"{type(error).__name__}: {error}"
            if problem:
                self._count_unanswered(problem)
            else:
                prompts.append(_TokenizedPrompt(index, tokens, seed))
        return prompts

    def _describe_problem(self, prompt_length: int, reply_length: int) -> str:
        """Why the model cannot read a prompt of this many tokens; empty if it can."""
        limit = max_sequence_length(self.loaded)
        length = prompt_length if self.seq2seq else prompt_length + reply_length
        if not prompt_length:
            return "the conversation has no tokens"
        if limit is None or length <= limit:
            return ""
        including = "" if self.seq2seq else " including the reply"
        return f"{length:,} tokens{including}; the model reads at most {limit:,}"

    def _count_unanswered(self, problem: str) -> None:
        self.unanswered += 1
        self.first_error = self.first_error or shorten(problem, 300)

    def _tokenize_one(self, messages: Conversation) -> tuple[list[int], str]:
        """Tokenize a conversation, and say which of its texts the chat template leaves out."""
        if self.seq2seq:
            return list(self.tokenizer(messages_to_text(messages))["input_ids"]), ""
        text = self.tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, tokenize=False
        )
        tokens = list(self.tokenizer(text, add_special_tokens=False)["input_ids"])
        return tokens, describe_lost_text(text, messages)

    def _generate(self, prompts: list[_TokenizedPrompt], decoding: Decoding) -> list[str | None]:
        import torch

        rows = {"input_ids": [prompt.tokens for prompt in prompts]}
        inputs = self.tokenizer.pad(rows, return_tensors="pt").to(self.model.device)
        samplers = []
        if decoding.temperature > 0:
            seeds = [prompt.seed for prompt in prompts]
            samplers.append(SeededSampler(seeds, decoding.temperature, decoding.top_p))
        try:
            with torch.inference_mode(), quiet_transformers():
                output = self.model.generate(
                    **inputs, max_new_tokens=decoding.max_tokens, logits_processor=samplers
                )
        except torch.OutOfMemoryError:
            raise ModelError(
                f"the GPU does not have enough memory for {len(prompts)} replies of {self.name} "
                "at a time; use a smaller batch"
            ) from None
        # A causal model repeats the prompt before its reply.
        replies = output if self.seq2seq else output[:, inputs["input_ids"].shape[1] :]
        texts = self.tokenizer.batch_decode(replies, skip_special_tokens=True)
        return [self._take_answer(str(text).strip()) for text in texts]

    def _take_answer(self, text: str) -> str | None:
        """Take the answer after a block of thinking; None, which is counted, if there is none."""
        answer = split_answer(text, opened=self.opens_block)
        if answer is None:
            self._count_unanswered(
                "the reply ended within the model's thinking; allow more tokens: --max-tokens"
            )
        return answer


def max_sequence_length(loaded: LoadedModel) -> int | None:
    """How many tokens the model reads at most; None if it does not declare a limit."""
    declared = getattr(loaded.model.config, "max_position_embeddings", None)
    length = declared or loaded.tokenizer.model_max_length
    return int(length) if 0 < length < 2**30 else None  # a tokenizer without a limit has 1e30


def _make_contiguous(_: Any, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """Pass a module its arguments, the first tensor contiguous in memory.

    For the first token of a reply, transformers passes the output layer a non-contiguous slice,
    for which PyTorch would copy the layer's weights once per conversation.
    """
    return (arguments[0].contiguous(), *arguments[1:]) if arguments else arguments


def _build_generation_config(loaded: LoadedModel) -> Any:
    """Build a generation config with the model's special tokens but not its decoding defaults."""
    from transformers import GenerationConfig

    defaults = loaded.model.generation_config
    names = (
        "bos_token_id",
        "eos_token_id",
        "decoder_start_token_id",
        "forced_bos_token_id",
        "forced_eos_token_id",
    )
    tokens = {name: getattr(defaults, name, None) for name in names}
    if tokens["eos_token_id"] is None:
        tokens["eos_token_id"] = loaded.tokenizer.eos_token_id
    return GenerationConfig(
        **tokens, pad_token_id=loaded.tokenizer.pad_token_id, do_sample=False, num_beams=1
    )


NUCLEUS_SEARCH_SIZES = (256, 4096)
"""How many of the most likely tokens are searched for the nucleus before the whole vocabulary is
sorted, which is slow."""


class SeededSampler:
    """A logits processor that samples the next token of each reply with the reply's own generator.

    It sets the scores of all other tokens to minus infinity, so that greedy decoding takes the
    sampled token.
    """

    def __init__(self, seeds: list[int], temperature: float, top_p: float) -> None:
        import torch

        self.torch, self.temperature, self.top_p = torch, temperature, top_p
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def __call__(self, _: Any, scores: Any) -> Any:
        """Mask the scores (replies, vocabulary): 0 for the sampled token, else minus infinity."""
        # Probabilities (replies, vocabulary), zero outside the nucleus, not renormalized.
        probabilities = (scores.float() / self.temperature).softmax(-1)
        if self.top_p < 1:
            probabilities *= probabilities >= self._nucleus_threshold(probabilities)
        # Inverse transform sampling: a uniform number times the total picks the token.
        cumulative = probabilities.cumsum(-1)
        uniforms = [self.torch.rand(1, generator=generator) for generator in self.generators]
        bounds = self.torch.stack(uniforms).to(cumulative.device) * cumulative[:, -1:]
        drawn = self.torch.searchsorted(cumulative, bounds, right=True)
        # The scores of a broken model may be NaN, for which the search runs past the end.
        drawn = drawn.clamp(max=scores.shape[-1] - 1)
        return self.torch.full_like(scores, -self.torch.inf).scatter(-1, drawn, 0.0)

    def _nucleus_threshold(self, probabilities: Any) -> Any:
        """The probability of the least likely token in each reply's nucleus: (replies, 1).

        The nucleus is the smallest set of most likely tokens whose probabilities add up to
        ``top_p`` (Holtzman et al., 2020). Tokens as likely as its last one can be drawn too.
        """
        for size in (*NUCLEUS_SEARCH_SIZES, probabilities.shape[-1]):
            top = probabilities.topk(min(size, probabilities.shape[-1])).values
            cumulative = top.cumsum(-1)
            if bool((cumulative[:, -1] >= self.top_p).all()):
                break
        last = (cumulative < self.top_p).sum(-1, keepdim=True).clamp(max=top.shape[-1] - 1)
        return top.gather(-1, last)


__all__ = ["DEFAULT_CHAT_TEMPLATE", "LocalModel", "load_model", "max_sequence_length"]
