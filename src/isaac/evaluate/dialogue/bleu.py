"""BLEU of delexicalized responses against those in the corpus."""

from __future__ import annotations

from collections.abc import Sequence

from ...corpus.dialogue.placeholders import unify_placeholders
from ...errors import require_extra
from .tokens import join_contractions


def compute_bleu(pairs: Sequence[tuple[str, str]]) -> float | None:
    """Compute the corpus BLEU, 0 to 100, of (response, reference) pairs; None if there are none.

    Uses sacrebleu with its own tokenization (13a) and smoothing. Before that, texts are lowercased,
    contractions are joined and each placeholder becomes one word (see `unify_placeholders`), so
    that neither a corpus's tokenization nor a system's slot names affect the score. The
    standardized evaluation normalizes texts with the Moses tokenizer instead, so its figures are
    close to these, but not equal. Needs the extra ``evaluate``.
    """
    metrics = require_extra("sacrebleu.metrics", "BLEU", "evaluate")
    if not pairs:
        return None
    responses, references = zip(*(map(normalize_for_bleu, pair) for pair in pairs), strict=True)
    return float(metrics.BLEU(force=True).corpus_score(list(responses), [list(references)]).score)


def normalize_for_bleu(text: str) -> str:
    """Convert a delexicalized text to the form that BLEU compares."""
    return unify_placeholders(join_contractions(text))
