"""A causal model that writes short answers, with how likely it was to begin with each word."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from .windows import BATCH_SEQUENCES, TransformersModules, compute_revision, move_to_device

WordProbabilities = dict[str, float]


class GeneratedText(NamedTuple):
    """An answer: its text, where in it each token begins, and there the odds of some words."""

    text: str
    starts: list[int]
    odds: list[WordProbabilities]

    def at(self, place: int) -> WordProbabilities:
        """Return the odds of the words at the token that a place of the text is in."""
        return self.odds[max(bisect_right(self.starts, place) - 1, 0)] if self.odds else {}


class TextGenerator(Protocol):
    """What a guard needs of a model: the seam at which tests put another."""

    processor: Any
    revision: str

    @property
    def control(self) -> Sequence[str]:
        """Return the texts of the model's control tokens."""
        ...

    def write(
        self, prompts: Sequence[str], words: Sequence[str], tokens: int
    ) -> list[GeneratedText]:
        """Return an answer of at most so many tokens to each prompt."""
        ...


class TokenProbabilityRecorder:
    """Takes down at each step how likely each of the words was to begin, and changes nothing.

    Keeping the scores of whole vocabularies instead would take a gigabyte a batch.
    """

    def __init__(self, begin: dict[str, list[int]]) -> None:
        self.begin, self.steps = begin, list[list[WordProbabilities]]()

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        """Return the scores of the next token, of shape (rows, vocabulary), as they are."""
        del input_ids
        shares = scores.float().softmax(dim=-1)
        columns = [shares[:, ids].sum(dim=1).tolist() for ids in self.begin.values()]
        self.steps.append(
            [dict(zip(self.begin, row, strict=True)) for row in zip(*columns, strict=True)]
        )
        return scores


class GreedyGenerator:
    """A model of transformers that takes the likeliest token each time."""

    def __init__(
        self, tools: TransformersModules, processor: Any, model: Any, revision: str
    ) -> None:
        self.tools, self.processor, self.model, self.revision = tools, processor, model, revision
        self.tokenizer = getattr(processor, "tokenizer", processor)
        self.tokenizer.padding_side = "left"
        if self.tokenizer.pad_token is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        config = model.config.get_text_config()
        self.context_length = getattr(config, "max_position_embeddings", None) or 2**31
        added = self.tokenizer.added_tokens_decoder.values()
        self.control = sorted({str(token) for token in added if token.special})
        self.first_tokens: dict[tuple[str, ...], dict[str, list[int]]] = {}

    def write(
        self, prompts: Sequence[str], words: Sequence[str], tokens: int
    ) -> list[GeneratedText]:
        """Return the answers; one to a prompt that does not fit into the model is empty."""
        encoded = [self.tokenizer(text, add_special_tokens=False)["input_ids"] for text in prompts]
        fitting = [i for i, ids in enumerate(encoded) if len(ids) + tokens <= self.context_length]
        order = sorted(fitting, key=lambda place: (len(encoded[place]), place))
        found: dict[int, GeneratedText] = {}
        for start in range(0, len(order), BATCH_SEQUENCES):
            places = order[start : start + BATCH_SEQUENCES]
            answers = self._generate_batch(
                [encoded[place] for place in places], tuple(words), tokens
            )
            found.update(zip(places, answers, strict=True))
        return [found.get(place, GeneratedText("", [], [])) for place in range(len(prompts))]

    def _generate_batch(
        self, ids: list[list[int]], words: tuple[str, ...], tokens: int
    ) -> list[GeneratedText]:
        heard = TokenProbabilityRecorder(self._find_first_tokens(words))
        padded = self.tokenizer.pad({"input_ids": ids}, return_tensors="pt").to(self.model.device)
        with self.tools.torch.inference_mode():
            out = self.model.generate(
                **padded,
                max_new_tokens=tokens,
                do_sample=False,
                logits_processor=[heard],
                pad_token_id=self.tokenizer.pad_token_id,
            )
        new = out[:, padded["input_ids"].shape[1] :].tolist()
        return [
            self._written(row, [step[place] for step in heard.steps])
            for place, row in enumerate(new)
        ]

    def _find_first_tokens(self, words: tuple[str, ...]) -> dict[str, list[int]]:
        """Return the tokens that begin one of the words and none of the others."""
        if words not in self.first_tokens:
            found: dict[str, list[int]] = {word: [] for word in words}
            for token, number in self.tokenizer.get_vocab().items():
                bare = token.replace("Ġ", " ").replace("▁", " ").strip().lower()
                fitting = [word for word in words if bare and word.startswith(bare)]
                if len(fitting) == 1:
                    found[fitting[0]].append(number)
            self.first_tokens[words] = {word: sorted(ids) for word, ids in found.items()}
        return self.first_tokens[words]

    def _written(self, ids: list[int], odds: list[WordProbabilities]) -> GeneratedText:
        """Return the answer up to its end; a token begins where the text before it ends."""
        texts = [
            self.tokenizer.decode(ids[:count], skip_special_tokens=True)
            for count in range(len(ids) + 1)
        ]
        return GeneratedText(texts[-1], [len(text) for text in texts[:-1]], odds)


def build_generator(
    tools: TransformersModules, processor: Any, model: Any, name: str
) -> GreedyGenerator:
    """Return a writer on a GPU if there is one."""
    return GreedyGenerator(
        tools, processor, move_to_device(tools, model), compute_revision(name, model.config)
    )


__all__ = [
    "GeneratedText",
    "GreedyGenerator",
    "TextGenerator",
    "WordProbabilities",
    "build_generator",
]
