"""A judge that stores its verdicts in a file, so that you do not pay for an exchange twice."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from ...errors import JudgeError
from .base import Judge, Judgment, format_count_mismatch, validate_judgment


class CachedJudge:
    """A judge with a cache: a JSON Lines file of verdicts that is only ever appended to.

    The key of a line is a hash of the judge's name and revision, the context and the response.
    Unscored judgments are not stored, so that a timeout is not remembered as an answer. Damaged
    lines are skipped, and their exchanges are judged again.
    """

    def __init__(self, judge: Judge, file: Path, name: str) -> None:
        self.inner, self.file = judge, file
        self.revision = str(getattr(judge, "revision", ""))
        self.base_hash = hashlib.sha256(f"{len(name)}:{name}{self.revision}".encode())
        self.cached: dict[str, Judgment] = {}
        self.hits = 0
        self._load()

    def judge(self, contexts: list[str], responses: list[str]) -> list[Any]:
        """Look up the judgments, and ask the inner judge once about each new exchange."""
        keys = [self._key(*pair) for pair in zip(contexts, responses, strict=True)]
        new = {key: index for index, key in enumerate(keys) if key not in self.cached}
        self.hits += sum(key in self.cached for key in keys)
        indices = list(new.values())
        answers: list[Any] = []
        if indices:
            texts = [contexts[i] for i in indices], [responses[i] for i in indices]
            answers = list(self.inner.judge(*texts))
        if len(answers) != len(indices):
            raise JudgeError(format_count_mismatch(len(answers), len(indices)))
        fresh: dict[str, Any] = dict(zip(new, answers, strict=True))
        self._store({key: validate_judgment(answer) for key, answer in fresh.items()})
        return [self.cached.get(key) or fresh[key] for key in keys]

    def _key(self, context: str, response: str) -> str:
        """Hash the exchange; the length marks where the context ends and the response begins."""
        sha = self.base_hash.copy()
        sha.update(f"{len(context)}:{context}{response}".encode("utf-8", "surrogatepass"))
        return sha.hexdigest()

    def _load(self) -> None:
        if not self.file.exists():
            return
        for line in self.file.read_bytes().splitlines():
            try:
                record = json.loads(line)
                key, verdict, score = record["key"], record["verdict"], record["score"]
            except (ValueError, TypeError, KeyError):
                continue
            judgment = validate_judgment((verdict, score))
            if not isinstance(judgment, str) and judgment.verdict != "unscored":
                self.cached[str(key)] = judgment

    def _store(self, answers: dict[str, Judgment | str]) -> None:
        """Append the scored answers in one write.

        If a killed process left an incomplete last line, a line break ends it first.
        """
        scored = {
            key: answer
            for key, answer in answers.items()
            if not isinstance(answer, str) and answer.verdict != "unscored"
        }
        if not scored:
            return
        self.cached |= scored
        lines = [
            json.dumps({"key": key, **judgment._asdict()}) + "\n"
            for key, judgment in scored.items()
        ]
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with self.file.open("ab+") as out:
            if out.tell():
                out.seek(-1, 2)
                lines.insert(0, "" if out.read(1) == b"\n" else "\n")
            out.write("".join(lines).encode())
