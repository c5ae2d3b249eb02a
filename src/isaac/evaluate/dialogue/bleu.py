"""BLEU of delexicalized responses against the corpus's own."""

from __future__ import annotations

from collections.abc import Sequence

from ...corpus.dialogue.placeholders import unify_placeholders
from ...errors import require_extra
from .tokens import join_contractions


def compute_bleu(pairs: Sequence[tuple[str, str]]) -> float | None:
    """Compute the corpus BLEU, 0 to 100, of (response, reference) pairs; None without any.

    Uses sacrebleu with its own tokenization (13a) and smoothing. Before that, texts are lowercased,
    contractions are joined and each placeholder becomes one word (see `unify_placeholders`), so
    that neither a corpus's tokenization nor a system's way of naming slots counts. The standardized
    evaluation normalizes texts with the Moses tokenizer instead, so its figures are close to these,
    but not equal. Needs the extra ``evaluate``.
    """
    metrics = require_extra("sacrebleu.metrics", "BLEU", "evaluate")
    if not pairs:
        return None
    responses, references = zip(*(map(normalize_for_bleu, pair) for pair in pairs), strict=True)
    return float(metrics.BLEU(force=True).corpus_score(list(responses), [list(references)]).score)


def normalize_for_bleu(text: str) -> str:
    """A delexicalized text in the form in which BLEU compares it."""
    return unify_placeholders(join_contractions(text))
