"""BLEU of delexicalised responses against those of the corpus."""

from __future__ import annotations

from collections.abc import Sequence

from ...corpus.dialogue.placeholders import unified
from ...errors import needed
from .tokens import joined


def bleu_of(pairs: Sequence[tuple[str, str]]) -> float | None:
    """Return the corpus BLEU, 0 to 100, of responses each with its reference; None without any.

    sacrebleu's, with its own tokenisation (13a) and smoothing, of texts in lower case whose
    contractions are in one piece and whose placeholders are one word each (see `unified`), so that
    neither a corpus's tokenisation nor a system's way to name slots counts. The standardised
    evaluation brings texts together by the Moses tokeniser instead, so that its figures are near
    these and not the same. Needs the extra ``evaluate``.
    """
    metrics = needed("sacrebleu.metrics", "BLEU", "evaluate")
    if not pairs:
        return None
    responses, references = zip(*(map(comparable, pair) for pair in pairs), strict=True)
    return float(metrics.BLEU(force=True).corpus_score(list(responses), [list(references)]).score)


def comparable(text: str) -> str:
    """Return a delexicalised text as it is compared."""
    return unified(joined(text))
