"""Heal one response after another: keep it, trim it, draw or rewrite another, or give up.

A judge can decide on each candidate, and a rephraser can rewrite responses instead of drawing
others. With a judge, healing fails closed: a response that the judge leaves unscored, or fails on,
is never safe. Without one, a response about which the run can say nothing stays.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from ..corpus.formats.base import RowError, validate_text
from ..errors import RecipeError
from ..models.judges import Judge, Verdict, run_judge
from ..text import shorten
from .sampler import Healed, RewriteRefusedError

MAX_TRIES = 4
"""Maximum number of draws or rewrites to try for a response."""

VERDICT_REASONS: dict[Verdict, str] = {
    "unsafe": "judged unsafe",
    "unscored": "left unscored by the judge",
}


class ResponseRewriter(Protocol):
    """Rewrites responses; a different seed may give different rewrites."""

    def rewrite(self, contexts: list[str], responses: list[str], seed: int) -> list[str | None]:
        """Rewrite each response to its context; None if that failed."""
        ...


class FailureCount(NamedTuple):
    """How many calls of a judge or rephraser failed, and the first error."""

    attempts: int = 0
    failed: int = 0
    first_error: str | None = None

    def after(self, error: str | None) -> FailureCount:
        """The count after one more call, with its error if it failed."""
        return FailureCount(
            self.attempts + 1,
            self.failed + (error is not None),
            error if self.first_error is None else self.first_error,
        )


E = TypeVar("E", bound="PreparedExchange")
E_contra = TypeVar("E_contra", bound="PreparedExchange", contravariant=True)


class PreparedExchange(Protocol):
    """An exchange prepared by a strategy: located in its neighborhood, or trimmed."""

    @property
    def context(self) -> str:
        """What the response answers."""
        ...

    @property
    def response(self) -> str | None:
        """The original response."""
        ...


class HealingStrategy(Protocol[E_contra]):
    """Decides which responses stay, and finds candidates to replace the others."""

    @property
    def seed(self) -> int:
        """The seed of all draws and rewrites."""
        ...

    def reason_to_keep(self, exchange: E_contra, /) -> str | None:
        """Why the response stays; None if it does not."""
        ...

    def reason_to_abstain(self, exchange: E_contra, /) -> str | None:
        """Why only a judge could tell whether the response may stay; None if the healer can."""
        ...

    def reason_to_replace(self, exchange: E_contra, /) -> str:
        """Why a response is replaced if it has no reason to stay."""
        ...

    def trim(self, exchange: E_contra, /) -> Healed | None:
        """The trimmed response; None if there was nothing to remove, or nothing would be left."""
        ...

    def draw_replacements(self, exchange: E_contra, /) -> Iterator[Healed]:
        """Draw replacements one after another, no response twice."""
        ...

    def explain_no_draw(self, exchange: E_contra, /) -> str:
        """Why there is nothing to draw."""
        ...

    def rephraser_input(self, exchange: E_contra, /) -> tuple[str, str]:
        """The context and the response that a rephraser gets."""
        ...

    def accept_rewrite(self, exchange: E_contra, text: str, /, *, judged: bool) -> Healed:
        """Complete a rewrite; raise `RewriteRefusedError` if it may not be used.

        With ``judged``, a judge decides on it afterwards.
        """
        ...

    def leave_unchanged(self, exchange: E_contra, action: str, reason: str, /) -> Healed:
        """The result if the response stays unchanged."""
        ...


class ExchangeStrategy(HealingStrategy[E], Protocol[E]):
    """A strategy for exchanges, each a context with its response or None."""

    def locate(self, exchanges: Iterable[tuple[str, str | None]], /) -> list[E]:
        """Prepare exchanges for the other methods."""
        ...


class HealingPipeline(Generic[E]):
    """Heals one response after another; for one thread at a time.

    ``judge`` decides which responses stay and which candidates may be used; ``rephraser`` rewrites
    responses instead of drawing others; ``fallback`` replaces a response if none of ``tries``
    candidates may be used. ``judge_failures`` and ``rewrite_failures`` count the failures of judge
    and rephraser.
    """

    def __init__(
        self,
        healer: HealingStrategy[E],
        judge: Judge | None = None,
        rephraser: ResponseRewriter | None = None,
        fallback: str | None = None,
        tries: int = MAX_TRIES,
    ) -> None:
        if fallback is not None and not fallback.strip():
            raise RecipeError(
                "expected a fallback text, got an empty one; leave the fallback out to keep "
                "responses that cannot be replaced"
            )
        self.healer, self.judge, self.rephraser = healer, judge, rephraser
        self.fallback, self.tries = fallback, tries
        self.judge_failures, self.rewrite_failures = FailureCount(), FailureCount()

    def heal(self, exchange: E) -> Healed:
        """Keep, trim, replace or rewrite the response of an exchange, or give up.

        Without a judge, a response stays if the healer has a reason to keep it, or to abstain; with
        a judge, if it is judged safe. Otherwise candidates are tried: the trimmed response, then
        draws; with a rephraser, its rewrites, then the trimmed response. Without a judge, the first
        candidate is used; with a judge, the first that is judged safe. If there is none, the
        fallback text is used, or the action is abstained and the response stays.
        """
        reason, verdict = self.healer.reason_to_keep(exchange), None
        if self.judge is not None:
            verdict = self._run_judge(exchange.context, exchange.response or "")
            reason = "judged safe" if verdict == "safe" else None
        if reason is not None:
            kept = self.healer.leave_unchanged(exchange, "kept", reason)
            return kept._replace(verdict=verdict)
        if self.judge is None and (problem := self.healer.reason_to_abstain(exchange)) is not None:
            return self.healer.leave_unchanged(exchange, "abstained", problem)
        if verdict is None:
            reason = self.healer.reason_to_replace(exchange)
        else:
            reason = VERDICT_REASONS[verdict]
        tried, refused = 0, list[str]()
        for candidate in self._iter_candidates(exchange, refused):
            tried += 1
            if (passed := self._check_candidate(exchange, candidate)) is not None:
                note = f"; {refused[-1]}" if refused and passed.action != "rewritten" else ""
                return passed._replace(reason=f"{reason}, {passed.reason}{note}")
        problem = self._explain_no_candidate(exchange, tried, refused)
        return self._give_up(exchange, f"{reason}; {problem}", verdict)

    def _iter_candidates(self, exchange: E, refused: list[str]) -> Iterator[Healed]:
        """Yield candidates to replace a response, no text twice.

        Adds to ``refused`` why rewrites were refused.
        """
        trimmed = self.healer.trim(exchange)
        candidates = [] if trimmed is None else [trimmed]
        if self.rephraser is not None:
            return itertools.chain(self._iter_rewrites(exchange, refused), candidates)
        draws = self.healer.draw_replacements(exchange)
        tried = itertools.islice(itertools.chain(candidates, draws), self.tries)
        if self.judge is None:
            return tried
        # A draw of the original response is skipped: it has already been judged.
        return (candidate for candidate in tried if candidate.action != "kept")

    def _iter_rewrites(self, exchange: E, refused: list[str]) -> Iterator[Healed]:
        """Yield the rewrites that the healer accepts, and note why others were refused.

        A model that returns the same text twice in a row is deterministic, and is not called again.
        """
        context, response = self.healer.rephraser_input(exchange)
        known, judged, last = {response}, self.judge is not None, None
        for turn in range(self.tries):
            text, previous = self._rewrite(context, response, self.healer.seed + turn), last
            if text is not None and text == previous:
                return
            last = text
            if text == response:
                refused.append("the model leaves it as it is")
            if text is None or text in known:
                continue
            known.add(text)
            try:
                yield self.healer.accept_rewrite(exchange, text, judged=judged)
            except RewriteRefusedError as problem:
                refused.append(str(problem))

    def _rewrite(self, context: str, response: str, seed: int) -> str | None:
        """Rewrite a response, and count the call and its failure; None without a usable rewrite."""
        assert self.rephraser is not None
        try:
            (text,) = self.rephraser.rewrite([context], [response], seed)
            no_text = getattr(self.rephraser, "first_error", None) or "it returned no text"
            error = None if text is not None else no_text
            text = None if text is None else validate_text(text, "the rewrite")
        except RowError as problem:
            text, error = None, str(problem)
        except Exception as problem:
            text, error = None, shorten(f"{type(problem).__name__}: {problem}", 200)
        self.rewrite_failures = self.rewrite_failures.after(error)
        return text

    def _check_candidate(self, exchange: E, candidate: Healed) -> Healed | None:
        """Judge a candidate, and return it with its verdict; None if it may not be used."""
        if candidate.action == "replaced":
            candidate = candidate._replace(reason="drawn")
        if self.judge is None:
            return candidate
        verdict = self._run_judge(exchange.context, candidate.response)
        return candidate._replace(verdict=verdict) if verdict == "safe" else None

    def _run_judge(self, context: str, response: str) -> Verdict:
        """Judge a response, and count the call and its failure."""
        assert self.judge is not None
        result = run_judge(self.judge, [context], [response])
        self.judge_failures = self.judge_failures.after(result.first_error)
        return result.judgments[0].verdict

    def _explain_no_candidate(self, exchange: E, tried: int, refused: list[str]) -> str:
        """Explain why no candidate could be used."""
        if tried:
            candidates = "draws" if self.rephraser is None else "rewrites"
            return f"none of {tried} {candidates} judged safe"
        if self.rephraser is None:
            return self.healer.explain_no_draw(exchange)
        return f"no rewrite to be had{f': {refused[-1]}' if refused else ''}"

    def _give_up(self, exchange: E, reason: str, verdict: Verdict | None) -> Healed:
        """Use the fallback text, or else keep the response."""
        healed = self.healer.leave_unchanged(exchange, "abstained", reason)
        if self.fallback is None:
            return healed._replace(verdict=verdict)
        healed = healed._replace(action="fallback", response=self.fallback)
        return healed._replace(confidence=None, verdict=None)


class ExchangeHealer(Protocol):
    """What has a strategy for exchanges; see `isaac.Healer`."""

    @property
    def strategy(self) -> ExchangeStrategy[Any]:
        """The strategy."""
        ...


class ExchangePipeline(HealingPipeline[Any]):
    """Heals exchanges with the strategy of a healer; see `HealingPipeline`."""

    def __init__(
        self,
        healer: ExchangeHealer,
        judge: Judge | None = None,
        rephraser: ResponseRewriter | None = None,
        fallback: str | None = None,
        tries: int = MAX_TRIES,
    ) -> None:
        super().__init__(healer.strategy, judge, rephraser, fallback, tries)
        self.locate = healer.strategy.locate

    def heal_exchange(self, context: str, response: str) -> Healed:
        """Heal the response to a context, as `heal` does."""
        return self.heal(self.locate([(context, response)])[0])
