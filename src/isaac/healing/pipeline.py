"""Single responses made safe: by retrieval or a model's rewrite, each checked by a judge.

Without a judge and a model this is what `Healer` does. It fails closed: a response that a judge
leaves unscored, or fails on, is not taken for safe.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Generic, NamedTuple, Protocol, TypeVar

from ..corpus.formats.base import RowError, validate_text
from ..errors import RecipeError
from ..models.judges import Judge, Verdict, run_judge
from ..text import shorten
from .retrieval import NO_HEAD_REASON, Healed, Healer, LocatedExchange, RewriteRefusedError

MAX_TRIES = 4
"""Draws or rewrites that are tried for a response at most."""

VERDICT_REASONS: dict[Verdict, str] = {
    "unsafe": "judged unsafe",
    "unscored": "left unscored by the judge",
}


class ResponseRewriter(Protocol):
    """Anything that rewrites responses to contexts; another seed may give other rewrites."""

    def rewrite(self, contexts: list[str], responses: list[str], seed: int) -> list[str | None]:
        """Return one rewrite for each pair of a context and its response, None where it failed."""
        ...


class FailureCount(NamedTuple):
    """How often someone was asked and failed, and the first error."""

    asked: int = 0
    failed: int = 0
    first: str | None = None

    def after(self, error: str | None) -> FailureCount:
        """Return the failures after one more was asked, with its error if it failed."""
        failed = self.failed + (error is not None)
        return FailureCount(self.asked + 1, failed, error if self.first is None else self.first)


S = TypeVar("S", bound="Response")
S_contra = TypeVar("S_contra", bound="Response", contravariant=True)


class Response(Protocol):
    """Something that was said, as whoever heals it sees it."""

    @property
    def context(self) -> str:
        """What it answers."""
        ...

    @property
    def response(self) -> str | None:
        """What was said."""
        ...


class HealingStrategy(Protocol[S_contra]):
    """Knows what stays, and what may be said instead."""

    @property
    def seed(self) -> int:
        """The seed of every draw and rewrite."""
        ...

    def stays(self, seen: S_contra, /) -> str | None:
        """Return why a response stays as it is, None if it does not."""
        ...

    def why(self, seen: S_contra, /) -> str:
        """Return why a response that does not stay goes."""
        ...

    def cut(self, seen: S_contra, /) -> Healed | None:
        """Return what of a response may stay, None where that is all of it, or nothing."""
        ...

    def draws(self, seen: S_contra, /) -> Iterator[Healed]:
        """Yield what may be said instead, one draw after the other, no response twice."""
        ...

    def asked(self, seen: S_contra, /) -> tuple[str, str]:
        """Return the context and the response as a rephraser is given them."""
        ...

    def accept_rewrite(self, seen: S_contra, text: str, /, *, judged: bool) -> Healed:
        """Return a rewrite as it goes out; raise `RewriteRefusedError` where it may not."""
        ...

    def as_given(self, seen: S_contra, action: str, reason: str, /) -> Healed:
        """Return a response as it was given."""
        ...


class HealingPipeline(Generic[S]):
    """Heals one response after the other; for one thread at a time.

    ``rephraser`` rewrites what would be drawn otherwise, ``judge`` has the last word on what stays
    and what is said instead, ``fallback`` is said where nothing safe is found within ``tries``.
    ``judge_failures`` and ``rewrite_failures`` count how often the two failed.
    """

    def __init__(
        self,
        healer: HealingStrategy[S],
        judge: Judge | None = None,
        rephraser: ResponseRewriter | None = None,
        fallback: str | None = None,
        tries: int = MAX_TRIES,
    ) -> None:
        if fallback is not None and not fallback.strip():
            raise RecipeError("a fallback is wanted that says something; this one is empty")
        self.healer, self.judge, self.rephraser = healer, judge, rephraser
        self.fallback, self.tries = fallback, tries
        self.judge_failures, self.rewrite_failures = FailureCount(), FailureCount()

    def heal(self, seen: S) -> Healed:
        """Return the response kept, cut, drawn anew, rewritten, or given up.

        What the healer lets stay is kept; with a judge, what it judges safe, and nothing else. Of
        the rest that part is tried which may stay, then the next draws, or before it rewrites,
        until one may go out: one judged safe, or without a judge the first that the healer allows.
        If there is none, ``action`` is fallback where that is said, else abstained, and the
        response stays.
        """
        why, verdict = self.healer.stays(seen), None
        if self.judge is not None:
            verdict = self._ask_judge(seen.context, seen.response or "")
            why = "judged safe" if verdict == "safe" else None
        if why is not None:
            return self.healer.as_given(seen, "kept", why)._replace(verdict=verdict)
        why = self.healer.why(seen) if verdict is None else VERDICT_REASONS[verdict]
        tried, refused = 0, list[str]()
        for found in self._iter_candidates(seen, refused):
            tried += 1
            if (passed := self._check_candidate(seen, found)) is not None:
                left = f"; {refused[-1]}" if refused and passed.action != "rewritten" else ""
                return passed._replace(reason=f"{why}, {passed.reason}{left}")
        return self._give_up(seen, f"{why}; {self._explain_no_candidate(tried, refused)}", verdict)

    def _iter_candidates(self, seen: S, refused: list[str]) -> Iterator[Healed]:
        """Yield what may be said instead, no text twice."""
        cut = self.healer.cut(seen)
        parts = [] if cut is None else [cut]
        if self.rephraser is not None:
            return itertools.chain(self._iter_rewrites(seen, refused), parts)
        draws = itertools.islice(itertools.chain(parts, self.healer.draws(seen)), self.tries)
        if self.judge is None:
            return draws
        return (drawn for drawn in draws if drawn.action != "kept")

    def _iter_rewrites(self, seen: S, refused: list[str]) -> Iterator[Healed]:
        """Yield rewrites, and note why others were refused.

        A model that says the same twice in a row is taken to leave nothing to chance, and not asked
        again.
        """
        context, response = self.healer.asked(seen)
        known, judged, last = {response}, self.judge is not None, None
        for turn in range(self.tries):
            text, before = self._rewrite(context, response, self.healer.seed + turn), last
            if text is not None and text == before:
                return
            last = text
            if text == response:
                refused.append("the model leaves it as it is")
            if text is None or text in known:
                continue
            known.add(text)
            try:
                yield self.healer.accept_rewrite(seen, text, judged=judged)
            except RewriteRefusedError as problem:
                refused.append(str(problem))

    def _rewrite(self, context: str, response: str, seed: int) -> str | None:
        """Return a rewrite, None where there is none that can be used."""
        assert self.rephraser is not None
        try:
            (text,) = self.rephraser.rewrite([context], [response], seed)
            why = getattr(self.rephraser, "first_error", None) or "it returned no text"
            error = None if text is not None else why
            text = None if text is None else validate_text(text, "the rewrite")
        except RowError as problem:
            text, error = None, str(problem)
        except Exception as problem:
            text, error = None, shorten(f"{type(problem).__name__}: {problem}", 200)
        self.rewrite_failures = self.rewrite_failures.after(error)
        return text

    def _check_candidate(self, seen: S, found: Healed) -> Healed | None:
        """Return what was found with its verdict if it may go out."""
        if found.action == "replaced":
            found = found._replace(reason="drawn")
        if self.judge is None:
            return found
        verdict = self._ask_judge(seen.context, found.response)
        return found._replace(verdict=verdict) if verdict == "safe" else None

    def _ask_judge(self, context: str, response: str) -> Verdict:
        assert self.judge is not None
        found = run_judge(self.judge, [context], [response])
        self.judge_failures = self.judge_failures.after(found.first_error)
        return found.judgments[0].verdict

    def _explain_no_candidate(self, tried: int, refused: list[str]) -> str:
        """Return in words that nothing could be said instead."""
        if tried:
            what = "draws" if self.rephraser is None else "rewrites"
            return f"none of {tried} {what} judged safe"
        if self.rephraser is None:
            return NO_HEAD_REASON
        return f"no rewrite to be had{f': {refused[-1]}' if refused else ''}"

    def _give_up(self, seen: S, reason: str, verdict: Verdict | None) -> Healed:
        stays = self.healer.as_given(seen, "abstained", reason)._replace(verdict=verdict)
        if self.fallback is None:
            return stays
        said = stays._replace(action="fallback", response=self.fallback)
        return said._replace(confidence=None, verdict=None)


class ExchangePipeline(HealingPipeline[LocatedExchange]):
    """Heals exchanges by their neighbourhoods; see `HealingPipeline`."""

    def __init__(
        self,
        healer: Healer,
        judge: Judge | None = None,
        rephraser: ResponseRewriter | None = None,
        fallback: str | None = None,
        tries: int = MAX_TRIES,
    ) -> None:
        super().__init__(healer, judge, rephraser, fallback, tries)
        self.look = healer.look

    def heal_exchange(self, context: str, response: str) -> Healed:
        """Return the response to a context as `heal` does."""
        return self.heal(self.look([(context, response)])[0])
