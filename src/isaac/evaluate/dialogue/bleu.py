"""BLEU of delexicalised responses against those of the corpus."""

from __future__ import annotations

from collections.abc import Sequence

from ...corpus.dialogue.placeholders import unify_placeholders
from ...errors import require_extra
from .tokens import join_contractions


def compute_bleu(pairs: Sequence[tuple[str, str]]) -> float | None:
    """Return the corpus BLEU, 0 to 100, of responses each with its reference; None without any.

    sacrebleu's, with its own tokenisation (13a) and smoothing, of texts in lower case whose
    contractions are in one piece and whose placeholders are one word each (see `unify_placeholders`), so that
    neither a corpus's tokenisation nor a system's way to name slots counts. The standardised
    evaluation brings texts together by the Moses tokeniser instead, so that its figures are near
    these and not the same. Needs the extra ``evaluate``.
    """
    metrics = require_extra("sacrebleu.metrics", "BLEU", "evaluate")
    if not pairs:
        return None
    responses, references = zip(*(map(normalize_for_bleu, pair) for pair in pairs), strict=True)
    return float(metrics.BLEU(force=True).corpus_score(list(responses), [list(references)]).score)


def normalize_for_bleu(text: str) -> str:
    """Return a delexicalised text as it is compared."""
    return unify_placeholders(join_contractions(text))
