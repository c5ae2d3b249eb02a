"""The healer of exchanges: with trust and fit, or with neighborhoods, as the run was curated."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..curation.curate import Curation
from ..curation.resources import Tools
from ..errors import RecipeError
from .fitting import FitHealer
from .pipeline import ExchangeStrategy, HealingPipeline
from .retrieval import NeighborhoodHealer
from .sampler import Healed


class Healer:
    """Heals exchanges with a finished curation; loads its encoders once.

    A response is replaced by a trusted one that fits, or, with a run that drew from clusters, by a
    draw from the neighborhood of its context. ``min_fit`` is the least fit of a replacement, by
    default that of the run; ``min_similarity`` is the least similarity of a message, and of its
    response, to those of the corpus, by default what 95 % of the corpus's own exchanges have.
    Several threads may share one healer.

    Raises `RecipeError` if the run is grouped by a key, or draws from clusters although a bound is
    given.
    """

    def __init__(
        self,
        curation: Curation,
        tools: Tools | None = None,
        *,
        min_fit: float | None = None,
        min_similarity: float | None = None,
    ) -> None:
        self.curation = curation
        self.strategy = _choose_strategy(curation, tools, min_fit, min_similarity)
        self._pipeline = HealingPipeline(self.strategy)

    def heal(self, exchanges: Iterable[tuple[str, str | None]]) -> list[Healed]:
        """Heal each exchange, a context with its response or None: keep the response or replace it.

        Without a response, one is drawn if possible. How often a response was drawn before does not
        matter here.
        """
        return [self._pipeline.heal(exchange) for exchange in self.strategy.locate(exchanges)]


def _choose_strategy(
    curation: Curation,
    tools: Tools | None,
    min_fit: float | None,
    min_similarity: float | None,
) -> ExchangeStrategy[Any]:
    recipe = curation.recipe
    if recipe.reading.group_by is not None:
        raise RecipeError(
            f"cannot heal exchanges with a run grouped by '{recipe.reading.group_by}', which has "
            "no contexts to search; use a run that was curated without --group-by"
        )
    has_vectors = curation.contexts is not None and curation.responses is not None
    if has_vectors and not recipe.by_cluster:
        return FitHealer(curation, tools, min_fit, min_similarity)
    drawn = f"this run has mode {recipe.mode}, so responses are drawn from clusters"
    require_no_bounds(min_fit, min_similarity, drawn)
    return NeighborhoodHealer(curation, tools)


def require_no_bounds(min_fit: float | None, min_similarity: float | None, why: str) -> None:
    """Raise `RecipeError` if a bound is given for a run without fit; ``why`` explains the run."""
    if min_fit is not None or min_similarity is not None:
        raise RecipeError(
            "min_fit and min_similarity are for runs that match responses to messages by fit, but "
            f"{why}; leave them out"
        )
