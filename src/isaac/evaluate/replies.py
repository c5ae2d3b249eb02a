"""The answers of a model, kept in a file as they come, so that none is asked for twice."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from ..corpus.records import dumps, parse_json
from ..errors import RecipeError, RunError
from ..models.chat.base import ChatModel, Decoding, Dtype
from ..models.chat.loading import fingerprint_model
from ..runtime.atomic_files import atomic_write, read_json
from ..runtime.progress import Tick
from ..text import replace_surrogates
from .prompts import Prompt

MIN_CHUNK_PROMPTS = 32
"""Prompts at least that a model is asked at a time; then its answers are on the disk."""


class ReplyRequest(NamedTuple):
    """What is asked of each model: which prompts, how often each, and how replies are drawn.

    ``dtype`` is of the weights, where the model is a local one.
    """

    prompts: Sequence[Prompt]
    samples: int
    decoding: Decoding
    dtype: Dtype | None = None


Replies = list[list[str | None]]
"""The replies to each prompt, one a sample; None where the model gave none."""


class ReplyFile:
    """The file of one model's answers, with the settings that they were drawn by beside it.

    ``first_error`` is why the model gave no answer where it did not, if it said so.
    """

    def __init__(self, folder: Path, model: str, batch: int = 1) -> None:
        self.model, self.chunk = model, max(batch, MIN_CHUNK_PROMPTS)
        self.file = folder / f"{safe_file_name(model)}.jsonl"
        self.settings = self.file.with_suffix(".json")
        self.known: dict[tuple[str, int], str] = {}
        self.first_error: str | None = None

    def collect(
        self, asked: ReplyRequest, load: Callable[[], ChatModel], tick: Tick = lambda _: None
    ) -> Replies:
        """Return the replies to all prompts, asking the model only for those that are missing.

        The model is loaded only if there is something to ask it. Raises `RunError` if the file
        holds answers that were drawn otherwise, or by a model that has changed since.
        """
        self._check_settings(asked)
        tick(sum((prompt.id, sample) in self.known for prompt, sample in _list_samples(asked)))
        model: ChatModel | None = None
        for sample in range(asked.samples):
            for start in range(0, len(asked.prompts), self.chunk):
                chunk = asked.prompts[start : start + self.chunk]
                missing = [prompt for prompt in chunk if (prompt.id, sample) not in self.known]
                if missing:
                    model = load() if model is None else model
                    self._ask(model, missing, sample, asked.decoding)
                    tick(len(missing))
        return [
            [self.known.get((prompt.id, sample)) for sample in range(asked.samples)]
            for prompt in asked.prompts
        ]

    def _check_settings(self, asked: ReplyRequest) -> None:
        """Read the answers that are there, or write down how they will be drawn."""
        wanted = {
            "model": self.model,
            "fingerprint": fingerprint_model(self.model),
            "decoding": asked.decoding._asdict(),
            "dtype": asked.dtype,
        }
        if not self.settings.exists():
            with atomic_write(self.settings) as out:
                out.write(dumps(wanted) + "\n")
        known = read_json(self.settings)
        for name, value in wanted.items():
            if known.get(name) != value:
                raise RunError(
                    f"{self.file} holds answers by another {name}: {dumps(known.get(name))}, now "
                    f"{dumps(value)}. Use the same, or another folder with -o"
                )
        self._read({prompt.id: prompt.digest for prompt in asked.prompts})

    def _read(self, digests: dict[str, str]) -> None:
        """Read the answers of the file; a last line that was cut off is removed from it."""
        if not self.file.exists():
            return
        data = self.file.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        if len(whole) < len(data):
            with atomic_write(self.file, "wb") as out:
                out.write(whole)
        for number, line in enumerate(whole.split(b"\n"), start=1):
            if line:
                self._store_line(line, number, digests)

    def _store_line(self, line: bytes, number: int, digests: dict[str, str]) -> None:
        try:
            answer = parse_json(line.decode("utf-8"))
            name, sample, reply = answer["prompt"], int(answer["sample"]), answer["reply"]
            digest = answer["digest"]
        except (ValueError, KeyError, TypeError):
            raise RunError(
                f"{self.file} line {number} is no answer; remove the line, and it is asked again"
            ) from None
        if name in digests and digests[name] != digest:
            raise RunError(
                f"{self.file} line {number} answers another prompt '{name}' than that of now; "
                "use the same prompts, or another folder with -o"
            )
        if isinstance(reply, str):
            self.known[name, sample] = replace_surrogates(reply)

    def _ask(
        self, model: ChatModel, prompts: Sequence[Prompt], sample: int, decoding: Decoding
    ) -> None:
        """Ask a model, and write down what it says; what it left out is asked for next time."""
        drawn = decoding._replace(seed=decoding.seed + sample)
        replies = model.reply([prompt.messages for prompt in prompts], drawn)
        self.first_error = self.first_error or getattr(model, "first_error", None)
        if len(replies) != len(prompts):
            raise RunError(
                f"model {self.model} gave {len(replies)} replies to {len(prompts)} prompts"
            )
        lines = []
        for prompt, given in zip(prompts, replies, strict=True):
            reply = None if given is None else replace_surrogates(given)
            if reply is not None:
                self.known[prompt.id, sample] = reply
            answer = {"prompt": prompt.id, "sample": sample, "digest": prompt.digest}
            lines.append(dumps({**answer, "reply": reply}) + "\n")
        with self.file.open("a", encoding="utf-8") as out:
            out.write("".join(lines))


def _list_samples(asked: ReplyRequest) -> list[tuple[Prompt, int]]:
    return [(prompt, sample) for prompt in asked.prompts for sample in range(asked.samples)]


def validate_request(asked: ReplyRequest) -> ReplyRequest:
    """Return what is asked; raise `RecipeError` if several samples would all be the same."""
    if asked.samples > 1 and asked.decoding.temperature == 0:
        raise RecipeError(
            f"{asked.samples} samples at temperature 0 are all the same; "
            "give a --temperature above 0"
        )
    return asked


def safe_file_name(model: str) -> str:
    """Return a file's name for a model's; where it had to change, with a hash to tell it apart."""
    plain = re.sub(r"[^\w.-]+", "-", model, flags=re.ASCII).strip("-.")[-60:]
    if plain == model:
        return plain
    return f"{plain or 'model'}-{hashlib.sha256(model.encode()).hexdigest()[:8]}"
