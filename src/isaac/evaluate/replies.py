"""A model's answers, stored in a file as they arrive, so that no prompt is asked twice."""

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
"""Minimum number of prompts per chunk; after each chunk, the answers are written to disk."""


class ReplyRequest(NamedTuple):
    """What each model is asked: the prompts, the samples per prompt, and the decoding.

    ``dtype`` is the data type of a local model's weights.
    """

    prompts: Sequence[Prompt]
    samples: int
    decoding: Decoding
    dtype: Dtype | None = None


Replies = list[list[str | None]]
"""For each prompt, one reply per sample; None if the model gave none."""


class ReplyFile:
    """The file of one model's answers, with a JSON file of their settings next to it.

    ``first_error`` is the first reason that the model gave for a missing answer, if any.
    """

    def __init__(self, folder: Path, model: str, batch: int = 1) -> None:
        self.model, self.chunk = model, max(batch, MIN_CHUNK_PROMPTS)
        self.file = folder / f"{safe_file_name(model)}.jsonl"  # one answer per line
        self.settings = self.file.with_suffix(".json")
        # The answers so far, by the id of the prompt and the index of the sample.
        self.known: dict[tuple[str, int], str] = {}
        self.first_error: str | None = None

    def collect(
        self, request: ReplyRequest, load: Callable[[], ChatModel], tick: Tick = lambda _: None
    ) -> Replies:
        """Collect the replies to all prompts, asking the model only for those not in the file.

        The model is loaded only if any are missing. Raises `RunError` if the answers in the file
        were made with other settings, or by a model that has changed since.
        """
        self._check_settings(request)
        self._read({prompt.id: prompt.digest for prompt in request.prompts})
        tick(sum((prompt.id, sample) in self.known for prompt, sample in _list_samples(request)))
        model: ChatModel | None = None
        for sample in range(request.samples):
            for start in range(0, len(request.prompts), self.chunk):
                chunk = request.prompts[start : start + self.chunk]
                missing = [prompt for prompt in chunk if (prompt.id, sample) not in self.known]
                if missing:
                    model = load() if model is None else model
                    self._ask(model, missing, sample, request.decoding)
                    tick(len(missing))
        return [
            [self.known.get((prompt.id, sample)) for sample in range(request.samples)]
            for prompt in request.prompts
        ]

    def _check_settings(self, request: ReplyRequest) -> None:
        """Compare the settings with the stored ones; store them if there are none yet."""
        current = {
            "model": self.model,
            "fingerprint": fingerprint_model(self.model),
            "decoding": request.decoding._asdict(),
            "dtype": request.dtype,
        }
        if not self.settings.exists():
            with atomic_write(self.settings) as out:
                out.write(dumps(current) + "\n")
        stored = read_json(self.settings)
        for name, value in current.items():
            if stored.get(name) != value:
                raise RunError(
                    f"the answers in {self.file} were made with another {name}: "
                    f"{dumps(stored.get(name))}, now {dumps(value)}. Repeat the earlier command "
                    "unchanged, or choose another folder with -o"
                )

    def _read(self, digests: dict[str, str]) -> None:
        """Read the stored answers; an incomplete last line is removed from the file."""
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
            prompt_id, sample, reply = answer["prompt"], int(answer["sample"]), answer["reply"]
            digest = answer["digest"]
        except (ValueError, KeyError, TypeError):
            raise RunError(
                f"{self.file} line {number} is not a valid answer; remove the line, and the prompt "
                "will be asked again"
            ) from None
        if prompt_id in digests and digests[prompt_id] != digest:
            raise RunError(
                f"{self.file} line {number} answers a different prompt with the id '{prompt_id}'; "
                "use the same prompts, or choose another folder with -o"
            )
        if isinstance(reply, str):
            self.known[prompt_id, sample] = replace_surrogates(reply)

    def _ask(
        self, model: ChatModel, prompts: Sequence[Prompt], sample: int, decoding: Decoding
    ) -> None:
        """Ask a model and append its answers to the file; missing ones are asked for next time."""
        seeded = decoding._replace(seed=decoding.seed + sample)
        replies = model.reply([prompt.messages for prompt in prompts], seeded)
        self.first_error = self.first_error or getattr(model, "first_error", None)
        if len(replies) != len(prompts):
            raise RunError(
                f"model {self.model} returned {len(replies)} replies; expected {len(prompts)}, one "
                "per prompt"
            )
        lines = []
        for prompt, raw in zip(prompts, replies, strict=True):
            reply = None if raw is None else replace_surrogates(raw)
            if reply is not None:
                self.known[prompt.id, sample] = reply
            answer = {"prompt": prompt.id, "sample": sample, "digest": prompt.digest}
            lines.append(dumps({**answer, "reply": reply}) + "\n")
        with self.file.open("a", encoding="utf-8") as out:
            out.write("".join(lines))


def _list_samples(request: ReplyRequest) -> list[tuple[Prompt, int]]:
    return [(prompt, sample) for prompt in request.prompts for sample in range(request.samples)]


def validate_request(request: ReplyRequest) -> None:
    """Raise `RecipeError` if all samples for a prompt would be the same."""
    if request.samples > 1 and request.decoding.temperature == 0:
        raise RecipeError(
            f"{request.samples} samples at temperature 0 are all the same; "
            "use a --temperature above 0"
        )


def safe_file_name(model: str) -> str:
    """Turn a model's name into a file name; if that changes it, a hash keeps it unique."""
    plain = re.sub(r"[^\w.-]+", "-", model, flags=re.ASCII).strip("-.")[-60:]
    if plain == model:
        return plain
    return f"{plain or 'model'}-{hashlib.sha256(model.encode()).hexdigest()[:8]}"
