"""A judge's vetoes, asked for in portions that survive an interruption."""

from __future__ import annotations

from functools import partial

import numpy as np

from ..errors import JudgeError
from ..models.judges import Judge, run_judge
from ..runtime.arrays import Ints, Reals
from .canonical_order import CanonicalCorpus
from .resources import Tools
from .storage import VETOES_KEY

PORTION_EXCHANGES = 256
"""Exchanges whose verdicts are stored at a time."""

MAX_FAILED_SHARE = 0.1
"""Share of exchanges without a verdict above which a judge stops the curation."""

MIN_ASKED = 20
"""Exchanges to ask about before that share is checked."""

VERDICT_NUMBERS = {"safe": 0.0, "unsafe": 1.0, "unscored": np.nan}


def judge_vetoes(layout: CanonicalCorpus, judge: str, tools: Tools) -> Reals:
    """Judge each distinct exchange (e,): 1 if unsafe, 0 if safe, NaN if the judge failed.

    Portions in which the judge never failed are stored, so a curation that is run again asks about
    the others only. Raises `JudgeError` if the judge fails on more than `MAX_FAILED_SHARE` of the
    exchanges.
    """
    verdicts: Reals = tools.store.array(VETOES_KEY, partial(_judge_portions, layout, judge, tools))
    for number in range(-(-len(verdicts) // PORTION_EXCHANGES)):
        tools.store.forget(_portion_key(number))
    return verdicts


def _portion_key(number: int) -> str:
    return f"{VETOES_KEY}.{number:05}"


def _judge_portions(layout: CanonicalCorpus, judge: str, tools: Tools) -> Reals:
    asked = _AskedJudge(judge, tools.judge(judge))
    count, portions = len(layout.first), [np.empty(0)]
    with tools.progress.stage("judge", count) as tick:
        for start in range(0, count, PORTION_EXCHANGES):
            rows = layout.first[start : start + PORTION_EXCHANGES]
            key = _portion_key(start // PORTION_EXCHANGES)
            try:
                portion = tools.store.array(key, partial(asked.ask, layout, rows))
            except _UnscoredError as error:
                portion = error.verdicts
            portions.append(portion)
            tick(len(rows))
    return np.concatenate(portions)


class _UnscoredError(Exception):
    """Some exchanges of a portion have no verdict, so the portion must not be stored."""

    def __init__(self, verdicts: Reals) -> None:
        self.verdicts = verdicts


class _AskedJudge:
    """A judge, with how often it was asked and how often it failed."""

    def __init__(self, name: str, judge: Judge) -> None:
        self.name, self.judge = name, judge
        self.asked = self.failed = 0

    def ask(self, layout: CanonicalCorpus, rows: Ints) -> Reals:
        """Judge the exchanges of rows (r,): 1, 0, or NaN for each.

        Raises `_UnscoredError` with them if one is NaN, and `JudgeError` if too many are.
        """
        contexts = [layout.contexts[number] for number in layout.context[rows].tolist()]
        responses = [layout.responses[number] for number in layout.response[rows].tolist()]
        result = run_judge(self.judge, contexts, responses)
        self.asked, self.failed = self.asked + len(rows), self.failed + result.failures
        verdicts = np.array([VERDICT_NUMBERS[each.verdict] for each in result.judgments])
        if self.asked >= MIN_ASKED and self.failed > MAX_FAILED_SHARE * self.asked:
            raise JudgeError(
                f"judge '{self.name}' failed on {self.failed:,} of {self.asked:,} exchanges "
                f"({result.first_error}); at most {MAX_FAILED_SHARE:.0%} may have no verdict. Its "
                "other verdicts are kept: run the same command again when the judge works"
            )
        if np.isnan(verdicts).any():
            raise _UnscoredError(verdicts)
        return verdicts
