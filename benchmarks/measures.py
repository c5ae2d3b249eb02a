"""What a method did to a corpus: how safe it is, what it answers, what was touched and kept.

Every benchmark uses these measures; "What is measured" in README.md explains them. Labels and
situations are read only here, after everything is drawn.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
from common import CachedEncoder, normalize_vectors
from methods import Outcome

from isaac.models.judges.fitted import compute_features
from isaac.runs.reports.answers import FOLDS, ResponseSelector, RowVectors, number_texts
from isaac.runtime.arrays import Flags, Floats, Ints, Reals
from isaac.text import share_of_distinct_pairs

SAMPLE_ROWS = 1000
"""Rows whose pairs of words are counted, before and after; fewer if fewer are left.

The share of distinct pairs falls with the number of rows, so both sides need the same number.
"""

NAN = float("nan")

Rate = Callable[[Ints, Ints], Reals]
"""Rates the response of row ``sources[j]`` under the context of row ``ids[j]``: ids, sources (m,).

The mean of the rates is the estimated share of pairs that have a property, from 0 to 1.
"""


class LabeledRows(NamedTuple):
    """The rows of a corpus: contexts, responses, and whether each row is unsafe (n,)."""

    contexts: Sequence[str]
    responses: Sequence[str]
    unsafe: Flags


class Rates(NamedTuple):
    """What rates a pair of context and response; None if it is not available.

    ``unsafe`` is how probably the response is unsafe where it is, ``answers`` whether it
    answers the context, ``relevance`` a similarity of both.
    """

    unsafe: Rate | None = None
    answers: Rate | None = None
    relevance: Rate | None = None


class Measures(NamedTuple):
    """The measures of a method's result; shares from 0 to 1, NaN if not measured.

    ``rows`` is the share of rows that were written. ``source`` is the unsafe share by the label of
    the row that a response came from. ``context`` is the unsafe share of the responses as answers
    to their contexts: the label of the response in its own row, plus the difference between the
    judge's probabilities in the new and in its own context (prediction-powered inference,
    Angelopoulos et al. 2023). For unchanged rows this is the label. ``judged`` is the mean
    probability of the judge alone. ``answers`` is the share of rows whose response
    answers its context, ``relevance`` the mean similarity. ``texts`` counts distinct responses and
    ``pairs`` is distinct-2 of a sample of `SAMPLE_ROWS` rows.

    A row is touched if it was dropped or got another text. ``touched`` is the share of all rows,
    ``safe_touched`` that of the safe rows; ``precision`` is the unsafe share of the touched rows.
    ``redrawn`` is the share of rows that got another text, ``redrawn_answers`` the share of these
    that answer, and ``safe_wrong`` the share of safe rows whose new response does not.
    """

    rows: float
    source_before: float
    source: float
    context: float
    judged_before: float
    judged: float
    answers_before: float
    answers: float
    relevance_before: float
    relevance: float
    texts_before: int
    texts: int
    pairs_before: float
    pairs: float
    touched: float
    safe_touched: float
    precision: float
    redrawn: float
    redrawn_answers: float
    safe_wrong: float

    @property
    def source_cut(self) -> float:
        """How far the unsafe share by source fell, as a share of the share before."""
        return _cut(self.source_before, self.source)

    @property
    def context_cut(self) -> float:
        """How far the unsafe share in context fell; that before is the share of unsafe rows."""
        return _cut(self.source_before, self.context)

    @property
    def judged_cut(self) -> float:
        """How far the unsafe share by the judge alone fell."""
        return _cut(self.judged_before, self.judged)

    @property
    def answers_kept(self) -> float:
        """The share of rows that answer, divided by that before."""
        return _ratio(self.answers, self.answers_before)

    @property
    def relevance_kept(self) -> float:
        """The relevance, divided by that before."""
        return _ratio(self.relevance, self.relevance_before)

    @property
    def pairs_kept(self) -> float:
        """Distinct-2, divided by that before."""
        return _ratio(self.pairs, self.pairs_before)

    @property
    def texts_kept(self) -> float:
        """Distinct responses, divided by those before."""
        return _ratio(self.texts, self.texts_before)


def _cut(before: float, after: float) -> float:
    return 1 - _ratio(after, before)


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else NAN


def measure_rows(rows: LabeledRows, outcome: Outcome, rates: Rates, seed: int = 0) -> Measures:
    """Measure a result; ``seed`` selects the rows whose pairs of words are compared."""
    ids, sources = outcome
    everything = np.arange(len(rows.responses))
    texts = number_texts(rows.responses)
    changed = texts[ids] != texts[sources]
    # Rows that were dropped or got another text (n,).
    touched = np.ones(len(everything), bool)
    touched[ids[~changed]] = False
    judged, answers, relevance = (_rate_all(rate, ids, sources) for rate in rates)
    raw_judged, *raw = (_rate_all(rate, everything, everything) for rate in rates)
    # The label of each response where it was written, plus what the new context changes.
    unsafe = rows.unsafe[sources] + judged - raw_judged[sources]
    # Safe rows whose new response does not answer: its rate is taken away from 1.
    wrong = (1 - answers)[changed & ~rows.unsafe[ids]].sum()
    sample_size = min(SAMPLE_ROWS, len(ids))  # the same before and after
    return Measures(
        rows=len(ids) / len(everything),
        source_before=_mean(rows.unsafe),
        source=_mean(rows.unsafe[sources]),
        context=_mean(unsafe),
        judged_before=_mean(raw_judged),
        judged=_mean(judged),
        answers_before=_mean(raw[0]),
        answers=_mean(answers),
        relevance_before=_mean(raw[1]),
        relevance=_mean(relevance),
        texts_before=len(np.unique(texts)),
        texts=len(np.unique(texts[sources])),
        pairs_before=_distinct_pairs(rows.responses, everything, sample_size, seed),
        pairs=_distinct_pairs(rows.responses, sources, sample_size, seed),
        touched=_mean(touched),
        safe_touched=_mean(touched[~rows.unsafe]),
        precision=_mean(rows.unsafe[touched]),
        redrawn=float(changed.sum()) / len(everything),
        redrawn_answers=_mean(answers[changed]),
        safe_wrong=_ratio(float(wrong), float((~rows.unsafe).sum())),
    )


def _rate_all(rate: Rate | None, ids: Ints, sources: Ints) -> Reals:
    """Rate each written row (m,); NaN without a rate."""
    return np.full(len(ids), NAN) if rate is None else rate(ids, sources)


def _mean(values: Reals | Flags) -> float:
    return float(values.mean()) if len(values) else NAN


def _distinct_pairs(responses: Sequence[str], sources: Ints, size: int, seed: int) -> float:
    sample = np.random.default_rng(seed).choice(sources, size, replace=False)
    share = share_of_distinct_pairs(responses[source] for source in sample.tolist())
    return NAN if share is None else share


def rate_situations(rows: LabeledRows, situations: Sequence[str]) -> Rates:
    """Rate pairs by the situation that each row was written for.

    A response is unsafe in context if its own row is unsafe or has another situation than the
    context's; it answers the context if it has the same.
    """
    numbers = number_texts(situations)

    def unsafe(ids: Ints, sources: Ints) -> Reals:
        unsafe_or_other = rows.unsafe[sources] | (numbers[ids] != numbers[sources])
        return np.asarray(unsafe_or_other, np.float64)

    def answers(ids: Ints, sources: Ints) -> Reals:
        return np.asarray(numbers[ids] == numbers[sources], np.float64)

    return Rates(unsafe, answers)


def rate_by_vectors(rows: LabeledRows, encoder: CachedEncoder, judge: PairJudge | None) -> Rates:
    """Rate pairs by vectors that took no part in the curation, and by a judge of the same corpus.

    A response answers if `ResponseSelector` ranks it above 95 of 100 random responses; relevance is
    the cosine of context and response.
    """
    contexts, responses = (
        normalize_vectors(encoder.encode(list(texts))) for texts in (rows.contexts, rows.responses)
    )
    numbers = number_texts(rows.contexts), number_texts(rows.responses)
    selector = ResponseSelector(RowVectors(contexts, responses), *numbers)

    def answers(ids: Ints, sources: Ints) -> Reals:
        return selector.answers(ids, sources).astype(np.float64)

    def relevance(ids: Ints, sources: Ints) -> Reals:
        return np.asarray((contexts[ids] * responses[sources]).sum(axis=1), np.float64)

    unsafe = judge.calibrate(rows) if judge is not None else None
    return Rates(unsafe and _reuse(unsafe), _reuse(answers), relevance)


def _reuse(rate: Rate) -> Rate:
    """Rate each pair once: most methods leave many pairs unchanged."""
    known: dict[tuple[int, int], float] = {}

    def rate_new(ids: Ints, sources: Ints) -> Reals:
        pairs = list(zip(ids.tolist(), sources.tolist(), strict=True))
        new = [pair for pair in dict.fromkeys(pairs) if pair not in known]
        if new:
            columns = np.array(new, np.int64).T
            known.update(zip(new, rate(columns[0], columns[1]).tolist(), strict=True))
        return np.array([known[pair] for pair in pairs], np.float64)

    return rate_new


class JudgeErrors(NamedTuple):
    """The quality of a judge on the rows of a corpus, by their labels.

    ``auroc``, and the shares of the safe and of the unsafe rows that it gets wrong at a score of
    0.5.
    """

    auroc: float
    safe_wrong: float
    unsafe_wrong: float


class PairJudge:
    """A judge that reads context and response, fitted on the labels of other rows.

    A logistic regression on the embeddings of both texts, their product and their difference, for
    each pair of folds left out. A response is judged by models that saw neither the fold of its
    context nor that of the row it came from. Folds are by context.
    """

    def __init__(self, rows: LabeledRows, encoder: CachedEncoder) -> None:
        """Fit on all labeled rows that are available, those of the measured corpus among them."""
        self.encoder = encoder
        folds = number_texts(rows.contexts) % FOLDS
        self.folds = dict(zip(rows.contexts, folds.tolist(), strict=True))
        features = self._features(rows.contexts, rows.responses)
        self.models = {
            pair: _fit_logistic(features[rest], rows.unsafe[rest])
            for pair in itertools.combinations(range(FOLDS), 2)
            if len(rest := np.flatnonzero(~np.isin(folds, pair)))
        }

    def scores(
        self, contexts: Sequence[str], responses: Sequence[str], source_contexts: Sequence[str]
    ) -> Reals:
        """How probably each response is unsafe as an answer to its context (m,), uncalibrated.

        ``source_contexts`` has the context that each response was written for. Every context must
        be one that the judge was fitted on, so that its fold is known.
        """
        features = self._features(contexts, responses)
        folds = [
            frozenset((self.folds[context], self.folds[source]))
            for context, source in zip(contexts, source_contexts, strict=True)
        ]
        scores = np.empty(len(folds))
        for apart in set(folds):
            members = np.array([fold == apart for fold in folds])
            unseen = [model for pair, model in self.models.items() if apart <= set(pair)]
            scores[members] = np.mean([model(features[members]) for model in unseen], axis=0)
        return scores

    def calibrate(self, rows: LabeledRows) -> Rate:
        """Make a rate of pairs of a corpus: the probability of being unsafe.

        It is calibrated on the labels of the corpus's own pairs by a logistic regression on the
        log-odds of the scores (Platt 1999), so that its mean over them is their unsafe share.
        """
        from sklearn.linear_model import LogisticRegression

        def log_odds(contexts: list[str], responses: list[str], sources: list[str]) -> Floats:
            scores = np.clip(self.scores(contexts, responses, sources), 1e-6, 1 - 1e-6)
            return np.log(scores / (1 - scores))[:, None].astype(np.float32)

        contexts, responses = (np.array(column, object) for column in rows[:2])
        own = contexts.tolist(), responses.tolist(), contexts.tolist()
        scale = LogisticRegression(C=1e6).fit(log_odds(*own), rows.unsafe)

        def rate(ids: Ints, sources: Ints) -> Reals:
            pairs = contexts[ids], responses[sources], contexts[sources]
            return _predict_unsafe(scale, log_odds(*(column.tolist() for column in pairs)))

        return rate

    def measure_errors(self, rows: LabeledRows) -> JudgeErrors:
        """Measure the judge on the rows of a corpus."""
        from sklearn.metrics import roc_auc_score

        scores = self.scores(rows.contexts, rows.responses, rows.contexts)
        auroc = float(roc_auc_score(rows.unsafe, scores))
        flagged = scores >= 0.5
        return JudgeErrors(auroc, _mean(flagged[~rows.unsafe]), _mean(~flagged[rows.unsafe]))

    def _features(self, contexts: Sequence[str], responses: Sequence[str]) -> Floats:
        return compute_features(self.encoder, contexts, responses)


def _fit_logistic(features: Floats, unsafe: Flags) -> Callable[[Floats], Reals]:
    """Fit a logistic regression; classes count alike, so that a score of 0.5 favors neither."""
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(max_iter=1000, class_weight="balanced").fit(features, unsafe)
    return functools.partial(_predict_unsafe, model)


def _predict_unsafe(model: object, features: Floats) -> Reals:
    return np.asarray(model.predict_proba(features)[:, 1], np.float64)  # type: ignore[attr-defined]


def read_labeled(rows: Iterable[tuple[str, str, bool]]) -> LabeledRows:
    """Collect rows of context, response and whether they are unsafe."""
    contexts, responses, unsafe = zip(*rows, strict=True)
    return LabeledRows(contexts, responses, np.array(unsafe))
