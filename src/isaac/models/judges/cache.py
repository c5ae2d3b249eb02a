"""A judge that remembers in a file what it has said, so that no exchange is paid for twice."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from .base import Judge, JudgeError, Judgment, format_count_mismatch, validate_judgment


class CachedJudge:
    """A judge whose verdicts are kept in a file of JSON Lines, to which it only ever appends.

    A line is found again by what it depends on: the judge's name and revision, the context and
    the response. Nothing unscored is kept, so that a time-out is not remembered as an answer.
    Lines that cannot be read are passed over, and asked for again.
    """

    def __init__(self, judge: Judge, file: Path, name: str) -> None:
        self.inner, self.file = judge, file
        self.revision = str(getattr(judge, "revision", ""))
        self.stem = hashlib.sha256(f"{len(name)}:{name}{self.revision}".encode())
        self.known: dict[str, Judgment] = {}
        self.hits = 0
        self._read()

    def judge(self, contexts: list[str], responses: list[str]) -> list[Any]:
        """Return the judgements, asking the judge once for each exchange that is new."""
        keys = [self._key(*pair) for pair in zip(contexts, responses, strict=True)]
        new = {key: place for place, key in enumerate(keys) if key not in self.known}
        self.hits += sum(key in self.known for key in keys)
        asked = list(new.values())
        answers: list[Any] = []
        if asked:
            pairs = [contexts[i] for i in asked], [responses[i] for i in asked]
            answers = list(self.inner.judge(*pairs))
        if len(answers) != len(asked):
            raise JudgeError(format_count_mismatch(len(answers), len(asked)))
        found: dict[str, Any] = dict(zip(new, answers, strict=True))
        self._keep({key: validate_judgment(answer) for key, answer in found.items()})
        return [self.known.get(key) or found[key] for key in keys]

    def _key(self, context: str, response: str) -> str:
        """Return what an exchange is found by; the length keeps the two texts apart."""
        sha = self.stem.copy()
        sha.update(f"{len(context)}:{context}{response}".encode("utf-8", "surrogatepass"))
        return sha.hexdigest()

    def _read(self) -> None:
        if not self.file.exists():
            return
        for line in self.file.read_bytes().splitlines():
            try:
                record = json.loads(line)
                key, verdict, score = record["key"], record["verdict"], record["score"]
            except (ValueError, TypeError, KeyError):
                continue
            judgement = validate_judgment((verdict, score))
            if not isinstance(judgement, str) and judgement.verdict != "unscored":
                self.known[str(key)] = judgement

    def _keep(self, answers: dict[str, Judgment | str]) -> None:
        """Append what was found, in one piece, after a line that a killed process left half."""
        scored = {
            key: answer
            for key, answer in answers.items()
            if not isinstance(answer, str) and answer.verdict != "unscored"
        }
        if not scored:
            return
        self.known |= scored
        lines = [json.dumps({"key": key, **one._asdict()}) + "\n" for key, one in scored.items()]
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with self.file.open("ab+") as out:
            if out.tell():
                out.seek(-1, 2)
                lines.insert(0, "" if out.read(1) == b"\n" else "\n")
            out.write("".join(lines).encode())
