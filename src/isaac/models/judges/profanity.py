"""The judge of coarse words: the response's own, whatever it answers."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

from ...errors import needed
from .base import THRESHOLD, Judgement
from .windows import judged_if_short


class ProfanityJudge:
    """A linear model of the words in a response, of the package alt-profanity-check.

    It does not read the context, and knows coarse language better than harm: an insult without
    swear words passes as safe.
    """

    def __init__(self, threshold: float = THRESHOLD) -> None:
        self.package = needed("profanity_check", "judge 'profanity'", "judges")
        self.threshold = threshold
        self.revision = f"alt-profanity-check {_version()}, threshold {threshold}"

    def judge(self, contexts: list[str], responses: list[str]) -> list[Judgement]:
        """Return the verdicts by the probability that a response is profane."""
        del contexts
        return judged_if_short(self._scores, responses, responses, self.threshold)

    def _scores(self, _contexts: Sequence[str], responses: Sequence[str]) -> list[float]:
        return [float(score) for score in self.package.predict_prob(list(responses))]


def _version() -> str:
    try:
        return version("alt-profanity-check")
    except PackageNotFoundError:
        return "of unknown version"
