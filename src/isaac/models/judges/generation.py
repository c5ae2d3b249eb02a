"""Short answers from a causal language model, with word probabilities at each of their tokens."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from .windows import BATCH_SEQUENCES, TransformersModules, compute_revision, move_to_device

WordProbabilities = dict[str, float]
"""For each word, the probability that the next token begins it."""


class GeneratedText(NamedTuple):
    """An answer, the offset of each token in its text, and the word probabilities at each token."""

    text: str
    starts: list[int]
    probabilities: list[WordProbabilities]

    def at(self, offset: int) -> WordProbabilities:
        """The word probabilities at the token that contains this offset of the text."""
        if not self.probabilities:
            return {}
        return self.probabilities[max(bisect_right(self.starts, offset) - 1, 0)]


class TextGenerator(Protocol):
    """The interface of a guard's language model; tests replace it with a fake."""

    processor: Any
    revision: str

    @property
    def control_tokens(self) -> Sequence[str]:
        """The texts of the model's control tokens."""
        ...

    def write(
        self, prompts: Sequence[str], words: Sequence[str], max_tokens: int
    ) -> list[GeneratedText]:
        """Generate an answer to each prompt and record the probabilities of ``words``."""
        ...


class TokenProbabilityRecorder:
    """A logits processor that records the words' probabilities at each step and changes nothing.

    Storing the scores of the whole vocabulary instead would take a gigabyte per batch.
    """

    def __init__(self, first_tokens: dict[str, list[int]]) -> None:
        self.first_tokens, self.steps = first_tokens, list[list[WordProbabilities]]()

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        """Record the scores of the next token, of shape (rows, vocabulary), and pass them on."""
        del input_ids
        probabilities = scores.float().softmax(dim=-1)
        # One list per word: in each row, the total probability of the tokens that begin the word.
        columns = [probabilities[:, ids].sum(dim=1).tolist() for ids in self.first_tokens.values()]
        self.steps.append(
            [dict(zip(self.first_tokens, row, strict=True)) for row in zip(*columns, strict=True)]
        )
        return scores


class GreedyGenerator:
    """A transformers causal language model that always takes the most likely token."""

    def __init__(
        self, modules: TransformersModules, processor: Any, model: Any, revision: str
    ) -> None:
        self.modules, self.processor, self.model = modules, processor, model
        self.revision = revision
        self.tokenizer = getattr(processor, "tokenizer", processor)
        self.tokenizer.padding_side = "left"
        if self.tokenizer.pad_token is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        config = model.config.get_text_config()
        self.context_length = getattr(config, "max_position_embeddings", None) or 2**31
        added = self.tokenizer.added_tokens_decoder.values()
        self.control_tokens = sorted({str(token) for token in added if token.special})
        self.first_tokens: dict[tuple[str, ...], dict[str, list[int]]] = {}

    def write(
        self, prompts: Sequence[str], words: Sequence[str], max_tokens: int
    ) -> list[GeneratedText]:
        """Generate the answers; a prompt that is too long for the model gets an empty one."""
        encoded = [self.tokenizer(text, add_special_tokens=False)["input_ids"] for text in prompts]
        fitting = [
            index
            for index, ids in enumerate(encoded)
            if len(ids) + max_tokens <= self.context_length
        ]
        # Batch prompts of similar length, so that little of a batch is padding.
        order = sorted(fitting, key=lambda index: (len(encoded[index]), index))
        answers: dict[int, GeneratedText] = {}
        for start in range(0, len(order), BATCH_SEQUENCES):
            batch = order[start : start + BATCH_SEQUENCES]
            texts = self._generate_batch([encoded[index] for index in batch], words, max_tokens)
            answers.update(zip(batch, texts, strict=True))
        return [answers.get(index, GeneratedText("", [], [])) for index in range(len(prompts))]

    def _generate_batch(
        self, ids: list[list[int]], words: Sequence[str], max_tokens: int
    ) -> list[GeneratedText]:
        recorder = TokenProbabilityRecorder(self._find_first_tokens(tuple(words)))
        padded = self.tokenizer.pad({"input_ids": ids}, return_tensors="pt").to(self.model.device)
        with self.modules.torch.inference_mode():
            output = self.model.generate(
                **padded,
                max_new_tokens=max_tokens,
                do_sample=False,
                logits_processor=[recorder],
                pad_token_id=self.tokenizer.pad_token_id,
            )
        # The output repeats the prompts, which are padded on the left; the answers follow them.
        generated = output[:, padded["input_ids"].shape[1] :].tolist()
        return [
            self._decode(tokens, [step[row] for step in recorder.steps])
            for row, tokens in enumerate(generated)
        ]

    def _find_first_tokens(self, words: tuple[str, ...]) -> dict[str, list[int]]:
        """Find, for each word, the tokens that begin this word and no other one."""
        if words not in self.first_tokens:
            tokens: dict[str, list[int]] = {word: [] for word in words}
            for token, number in self.tokenizer.get_vocab().items():
                # "Ġ" and "▁" are the spaces in the vocabularies of BPE and SentencePiece.
                bare = token.replace("Ġ", " ").replace("▁", " ").strip().lower()
                matches = [word for word in words if bare and word.startswith(bare)]
                if len(matches) == 1:
                    tokens[matches[0]].append(number)
            self.first_tokens[words] = {word: sorted(ids) for word, ids in tokens.items()}
        return self.first_tokens[words]

    def _decode(self, ids: list[int], probabilities: list[WordProbabilities]) -> GeneratedText:
        """Decode an answer; each token starts where the text of the preceding tokens ends."""
        texts = [
            self.tokenizer.decode(ids[:count], skip_special_tokens=True)
            for count in range(len(ids) + 1)
        ]
        return GeneratedText(texts[-1], [len(text) for text in texts[:-1]], probabilities)


def build_generator(
    modules: TransformersModules, processor: Any, model: Any, name: str
) -> GreedyGenerator:
    """Build a generator on the GPU, or on the CPU if there is none."""
    return GreedyGenerator(
        modules, processor, move_to_device(modules, model), compute_revision(name, model.config)
    )


__all__ = [
    "GeneratedText",
    "GreedyGenerator",
    "TextGenerator",
    "WordProbabilities",
    "build_generator",
]
