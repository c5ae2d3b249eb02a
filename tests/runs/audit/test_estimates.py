from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from isaac import Corpus, Recipe, Tools, curate
from isaac.intervals import Interval, wilson_interval
from isaac.models.judges import Verdict
from isaac.runs.audit.estimates import (
    AuditError,
    AuditItem,
    AuditOutcome,
    AuditSample,
    Estimates,
    Trend,
    compute_trend,
    decide_verdict,
    draw_sample,
    estimate,
)
from isaac.runs.audit.sampling import STRATUM_RANKS, TRUST_NAMES

SEEDS = 200

ROOT = Path(__file__).resolve().parents[3]
DATA = ROOT.parent / "shared" / "data" / "diasafety" / "train.json"

Labels = npt.NDArray[np.bool_]


class Audited(NamedTuple):
    """A lineage, which responses are unsafe by id, and the true shares."""

    lineage: pa.Table
    unsafe: Labels

    @property
    def truth(self) -> tuple[float, float, float]:
        sources = self.lineage.column("source_id").to_numpy()
        stays = np.array(self.lineage.column("action").to_pylist()) != "dropped"
        before, after = self.unsafe.mean(), self.unsafe[sources[stays]].mean()
        return float(before), float(after), float(after - before)

    def verdicts(self, sample: AuditSample) -> dict[AuditItem, Verdict]:
        return {item: "unsafe" if self.unsafe[item.response] else "safe" for item in sample.items()}

    def estimate(self, labels: int, seed: int) -> Estimates:
        sample = draw_sample(self.lineage, labels, seed)
        return estimate(sample, self.verdicts(sample))


def lineage(
    actions: Iterable[str], sources: Iterable[int], ranks: Iterable[int], target: int = 0
) -> pa.Table:
    named = pa.array(list(actions), pa.string()).dictionary_encode()
    columns = {"action": named, "source_id": list(sources), "own_rank": list(ranks)}
    return pa.table({"id": range(len(named)), "target": [target] * len(named), **columns})


def population(rates: tuple[float, ...], shares: dict[str, float], cut: float) -> Audited:
    """3,000 rows with unsafe ``rates`` by rank group; unsafe rows are drawn with weight ``cut``."""
    rng = np.random.default_rng(5)
    count = 3000
    group = rng.choice(4, count, p=[0.15, 0.05, 0.1, 0.7])
    unsafe = rng.random(count) < np.array(rates)[group]
    action = rng.choice(list(shares), count, p=list(shares.values()))
    weights = np.where(unsafe, cut, 1.0)
    drawn = rng.choice(count, count, p=weights / weights.sum())
    drawn = np.where(drawn == np.arange(count), (drawn + 1) % count, drawn)
    source = np.where(action == "replaced", drawn, np.arange(count))
    ranks = np.array([1, 3, 7, 40])[group]
    return Audited(lineage(action.tolist(), source.tolist(), ranks.tolist()), unsafe)


SOME = population((0.03, 0.05, 0.1, 0.12), {"kept": 0.3, "replaced": 0.7}, 0.3)


def counted(sample: AuditSample) -> dict[tuple[str, str], int]:
    names = [
        (stratum.action, stratum.name.removeprefix("in clusters of rank "))
        for stratum in sample.strata
    ]
    return {name: sum(p.stratum == i for p in sample.sampled_rows) for i, name in enumerate(names)}


# The sample.


def test_a_sample_uses_nearly_all_of_its_labels_and_no_more() -> None:
    for labels in (2, 3, 17, 300, 301):
        asked = draw_sample(SOME.lineage, labels, 0).items()
        assert labels - 1 <= len(asked) <= labels
        assert len(set(asked)) == len(asked)


def test_every_row_is_in_one_stratum_and_every_stratum_is_sampled() -> None:
    sample = draw_sample(SOME.lineage, 300, 0)
    assert sum(stratum.rows for stratum in sample.strata) == 3000
    ranks = ["1", "2 to 3", "4 to 10", "above 10"]
    assert set(counted(sample)) == {(fate, r) for fate in ("kept", "replaced") for r in ranks}
    assert min(counted(sample).values()) >= 2
    own = SOME.lineage.column("own_rank").to_pylist()
    source = SOME.lineage.column("source_id").to_pylist()
    for pick in sample.sampled_rows:
        stratum = sample.strata[pick.stratum]
        bounds = (*STRATUM_RANKS, math.inf)
        assert bounds[stratum.level] <= own[pick.row] < bounds[stratum.level + 1]
        assert pick.source == source[pick.row]
        assert (stratum.action == "kept") == (pick.source == pick.row)


def test_strata_are_quarters_by_trust_in_a_run_without_clusters() -> None:
    trust = np.random.default_rng(2).permutation(3000) / 3000
    unsafe = np.random.default_rng(3).random(3000) < 0.6 * (1 - trust)
    table = SOME.lineage.drop_columns("own_rank")
    table = table.append_column("own_rank", pa.nulls(3000, pa.int32()))
    table = table.append_column("trust", pa.array(trust))
    audited = Audited(table, unsafe)
    sample = draw_sample(table, 400, 0)
    assert {stratum.name for stratum in sample.strata} == set(TRUST_NAMES)
    for pick in sample.sampled_rows:
        level = sample.strata[pick.stratum].level
        assert 0.75 - 0.25 * level <= trust[pick.row] <= 1 - 0.25 * level
    trend = compute_trend(sample, audited.verdicts(sample))
    assert [share.name for share in trend.shares] == list(TRUST_NAMES)
    assert trend.direction == "rises"
    assert trend.p < 0.001
    sentence = decide_verdict(audited.estimate(400, 0), trend).sentence
    assert "and less trusted responses are unsafe more often (p < 0.001)" in sentence


def test_large_strata_get_more_but_less_than_their_share() -> None:
    taken = counted(draw_sample(SOME.lineage, 600, 0))
    large, small = taken["replaced", "above 10"], taken["replaced", "2 to 3"]
    assert 0.7 / 0.05 > large / small > 3


def test_a_sample_depends_on_the_seed_alone_and_more_labels_only_add_to_it() -> None:
    order = np.random.default_rng(1).permutation(3000)
    once = draw_sample(SOME.lineage, 200, 3)
    assert draw_sample(SOME.lineage.take(order), 200, 3) == once
    more = draw_sample(SOME.lineage, 260, 3)
    assert more.first(len(once.sampled_rows)) == once != more
    other = draw_sample(SOME.lineage, 200, 4)
    assert len(set(other.sampled_rows) & set(once.sampled_rows)) < len(once.sampled_rows) / 2


def test_rows_of_a_stratum_are_equally_likely() -> None:
    actions, ranks = ["replaced"] * 40, [20] * 40
    table = lineage(actions, [(i + 1) % 40 for i in range(40)], ranks)
    hits = np.zeros(40)
    for seed in range(500):
        hits[[pick.row for pick in draw_sample(table, 20, seed).sampled_rows]] += 1
    # 500 times 10 of 40: 125 hits each, standard deviation 9.7; 39 degrees of freedom.
    assert ((hits - 125) ** 2 / (500 * 0.25 * 0.75)).sum() < 39 + 4 * math.sqrt(2 * 39)


def test_only_the_first_target_counts() -> None:
    second = lineage(["replaced"] * 3000, [7] * 3000, [1] * 3000, target=1)
    both = pa.concat_tables([SOME.lineage, second], promote_options="permissive")
    assert draw_sample(both, 200, 0) == draw_sample(SOME.lineage, 200, 0)


def test_dropped_and_unchanged_rows_need_one_label() -> None:
    table = lineage(["dropped", "abstained", "replaced"], [0, 1, 0], [5, 5, 5])
    sample = draw_sample(table, 100, 0)
    assert sample.items() == [AuditItem(0, 0), AuditItem(1, 1), AuditItem(2, 2), AuditItem(2, 0)]
    assert {stratum.action for stratum in sample.strata} == {"kept", "replaced", "dropped"}


def test_a_row_without_a_source_counts_as_dropped() -> None:
    table = lineage(["kept", "abstained"], [0, 1], [1, 1])
    table = table.set_column(3, "source_id", pa.array([0, None], pa.int64()))
    assert {stratum.action for stratum in draw_sample(table, 9, 0).strata} == {"kept", "dropped"}


@pytest.mark.parametrize("labels", [1, 0, -5])
def test_fewer_than_two_labels_are_an_error(labels: int) -> None:
    with pytest.raises(AuditError, match=f"at least 2 labels.*got {labels}"):
        draw_sample(SOME.lineage, labels, 0)


# The estimates.


@pytest.mark.parametrize(
    ("unsafe", "size", "low", "high"),
    [
        (81, 263, 0.2535, 0.3682),
        (15, 148, 0.0598, 0.1644),
        (0, 20, 0, 0.2005),
        (1, 29, 0.0018, 0.1963),
    ],
)
def test_the_interval_of_a_share_is_the_published_one(
    unsafe: int, size: int, low: float, high: float
) -> None:
    # Newcombe, Statistics in Medicine 17, 1998, 857, table I, method 4.
    found = wilson_interval(unsafe / size, size)
    assert found == pytest.approx((unsafe / size, low, high), abs=6e-5)
    mirrored = wilson_interval(1 - unsafe / size, size)
    assert mirrored.low == pytest.approx(1 - found.high)


def test_the_interval_of_the_change_combines_its_two_parts_with_their_correlation() -> None:
    sample = draw_sample(lineage(["replaced"] * 400, [*range(1, 400), 0], [20] * 400), 200, 0)
    verdicts: dict[AuditItem, Verdict] = dict.fromkeys(sample.items(), "safe")
    for pick in sample.sampled_rows[:30]:
        verdicts[pick.before] = "unsafe"
    for pick in sample.sampled_rows[30:50]:
        verdicts[AuditItem(pick.row, pick.source or 0)] = "unsafe"
    # 100 of 400 pairs: as precise as 99 / (1 - 100 / 400) = 132 from an infinite population.
    worse, better = wilson_interval(0.2, 132), wilson_interval(0.3, 132)
    together = 2 * math.sqrt(0.2 * 0.3 / (0.8 * 0.7))
    down, up = worse.value - worse.low, better.high - better.value
    low = -0.1 - math.sqrt(down**2 + up**2 + together * down * up)
    down, up = better.value - better.low, worse.high - worse.value
    high = -0.1 + math.sqrt(down**2 + up**2 + together * down * up)
    assert estimate(sample, verdicts).change == pytest.approx((-0.1, low, high))


KEEP = {"kept": 0.3, "replaced": 0.7}
DROP = {"kept": 0.5, "dropped": 0.3, "replaced": 0.2}
FILTER = {"kept": 0.8, "dropped": 0.2}


@pytest.mark.parametrize("shares", [KEEP, DROP, FILTER], ids=["keep", "drop", "filter"])
def test_with_every_row_labeled_the_estimates_are_exact(shares: dict[str, float]) -> None:
    audited = population((0.03, 0.05, 0.1, 0.12), shares, 0.3)
    found = audited.estimate(6000, 0)
    for interval, truth in zip(found[:3], audited.truth, strict=True):
        assert interval == pytest.approx((truth, truth, truth), abs=1e-12)
    assert found.unscored == 0


@pytest.mark.parametrize("shares", [KEEP, DROP, FILTER], ids=["keep", "drop", "filter"])
@pytest.mark.parametrize(
    ("rates", "cut"),
    [
        ((0.0, 0.01, 0.01, 0.02), 0.3),
        ((0.03, 0.05, 0.1, 0.12), 0.3),
        ((0.4, 0.4, 0.45, 0.5), 0.7),
        ((0.3, 0.2, 0.1, 0.1), 4.0),
    ],
    ids=["rare", "some", "many", "raised"],
)
def test_95_percent_of_the_intervals_contain_the_truth(
    rates: tuple[float, ...], cut: float, shares: dict[str, float]
) -> None:
    audited = population(rates, shares, cut)
    found = [audited.estimate(300, seed) for seed in range(SEEDS)]
    for name, truth in zip(("before", "after", "change"), audited.truth, strict=True):
        intervals: list[Interval] = [getattr(each, name) for each in found]
        contained = [low - 1e-12 <= truth <= high + 1e-12 for _, low, high in intervals]
        # Not below 95 % by more than three standard deviations.
        assert np.mean(contained) >= 0.95 - 3 * math.sqrt(0.95 * 0.05 / SEEDS)
    values = np.array([each.change.value for each in found])
    bias = values.mean() - audited.truth[2]
    assert abs(bias) < 4 * values.std() / math.sqrt(len(values))
    width = np.mean([each.change.high - each.change.low for each in found])
    # 3.92 standard deviations, with room for the continuity correction and for rare events.
    assert width < 1.35 * 3.92 * values.std() + 0.025


def test_a_corpus_that_kept_every_response_has_not_changed() -> None:
    table = lineage(["kept"] * 400, range(400), [1] * 400)
    sample = draw_sample(table, 100, 0)
    assert estimate(sample, {}).change == Interval(0, 0, 0)
    found = estimate(sample, dict.fromkeys(sample.items(), "unsafe"))
    assert found.change == Interval(0, 0, 0)
    assert found.before == found.after
    assert found.before.low > 0.9


def test_a_corpus_that_lost_every_row_has_no_share_after() -> None:
    table = lineage(["dropped"] * 80, range(80), [1] * 80)
    sample = draw_sample(table, 60, 0)
    found = estimate(sample, dict.fromkeys(sample.items(), "unsafe"))
    assert found.before.value == 1
    assert math.isnan(found.after.value)
    assert math.isnan(found.change.value)
    assert decide_verdict(found, compute_trend(sample, {})).verdict == "doubtful"


def test_no_rows_give_no_sample_and_no_estimate() -> None:
    sample = draw_sample(SOME.lineage.slice(0, 0), 100, 0)
    assert sample == AuditSample((), ())
    found = estimate(sample, {})
    assert math.isnan(found.change.value)
    assert compute_trend(sample, {}).z == 0


def test_unscored_items_are_left_out_counted_and_bounded() -> None:
    sample = draw_sample(SOME.lineage, 300, 0)
    verdicts = SOME.verdicts(sample)
    whole = estimate(sample, verdicts)
    assert whole.bounds == whole.change[1:]
    lost = [pick.after for pick in sample.sampled_rows if pick.after != pick.before][:10]
    some: dict[AuditItem, Verdict] = {
        item: "unscored" if item in lost else verdict for item, verdict in verdicts.items()
    }
    found = estimate(sample, some)
    assert (found.asked, found.scored, found.unscored) == (whole.asked, whole.scored - 10, 10)
    assert found.pairs == whole.pairs - 10
    missing = {item: verdict for item, verdict in verdicts.items() if item not in lost}
    assert estimate(sample, missing) == found
    worst: dict[AuditItem, Verdict] = {
        item: "unsafe" if item in lost else some[item] for item in some
    }
    assert found.bounds[1] == estimate(sample, worst).change.high
    assert found.bounds[0] <= found.change.low < found.change.high <= found.bounds[1]
    assert found.bounds[1] - found.bounds[0] > whole.change.high - whole.change.low


def test_an_unscored_row_that_kept_its_response_does_not_affect_the_change() -> None:
    sample = draw_sample(SOME.lineage, 300, 0)
    verdicts = SOME.verdicts(sample)
    kept = [pick.before for pick in sample.sampled_rows if pick.after == pick.before]
    some = {item: verdict for item, verdict in verdicts.items() if item not in kept}
    found = estimate(sample, some)
    assert found.change == estimate(sample, verdicts).change
    assert found.bounds == found.change[1:]


def test_without_any_verdict_the_intervals_are_unknown() -> None:
    sample = draw_sample(SOME.lineage, 300, 0)
    found = estimate(sample, dict.fromkeys(sample.items(), "unscored"))
    assert (found.scored, found.unsafe, found.pairs) == (0, 0, 0)
    assert found.change[1:] == (-1, 1)
    assert all(math.isnan(interval.value) for interval in found[:3])
    assert found.bounds[0] < -0.5
    assert found.bounds[1] > 0.5


# The trend.


def test_the_trend_of_a_census_is_the_correlation_of_rank_group_and_label() -> None:
    sample = draw_sample(SOME.lineage, 6000, 0)
    found = compute_trend(sample, SOME.verdicts(sample))
    ranks = SOME.lineage.column("own_rank").to_numpy()
    group = np.searchsorted([2, 4, 11], ranks, side="right")
    z = math.sqrt(3000) * np.corrcoef(group, SOME.unsafe)[0, 1]
    assert found.z == pytest.approx(z)
    assert found.direction == "rises"
    assert [share.scored for share in found.shares] == np.bincount(group).tolist()
    for number, share in enumerate(found.shares):
        assert share.unsafe == pytest.approx(SOME.unsafe[group == number].mean())


def test_p_is_that_of_the_normal_distribution() -> None:
    sample = draw_sample(SOME.lineage, 300, 2)
    found = compute_trend(sample, SOME.verdicts(sample))
    assert found.p == pytest.approx(2 * min(found.p_rises, 1 - found.p_rises))
    flipped: dict[AuditItem, Verdict] = {
        item: "safe" if verdict == "unsafe" else "unsafe"
        for item, verdict in SOME.verdicts(sample).items()
    }
    turned = compute_trend(sample, flipped)
    assert turned.z == pytest.approx(-found.z)
    assert {found.direction, turned.direction} == {"rises", "falls"}


def test_a_trend_is_seldom_significant_without_one_and_mostly_with_one() -> None:
    none = population((0.1, 0.1, 0.1, 0.1), KEEP, 0.3)
    steep = population((0.02, 0.05, 0.2, 0.4), KEEP, 0.3)
    p: dict[str, list[float]] = {"none": [], "steep": []}
    for seed in range(200):
        for name, audited in (("none", none), ("steep", steep)):
            sample = draw_sample(audited.lineage, 300, seed)
            p[name].append(compute_trend(sample, audited.verdicts(sample)).p)
    assert np.mean(np.array(p["none"]) < 0.05) < 0.1
    assert np.mean(np.array(p["steep"]) < 0.05) > 0.9


@pytest.mark.parametrize("verdict", ["safe", "unsafe", "unscored"])
def test_equal_labels_have_no_trend(verdict: Verdict) -> None:
    sample = draw_sample(SOME.lineage, 300, 0)
    found = compute_trend(sample, dict.fromkeys(sample.items(), verdict))
    assert (found.direction, found.z, found.p, found.p_rises) == ("flat", 0, 1, 0.5)


# The verdict.

RISES = Trend("rises", 3.0, 0.0027, 0.0013, ())
FLAT = Trend("falls", -0.5, 0.617, 0.69, ())


def found(change: Interval, **others: Any) -> Estimates:
    values = {
        "before": Interval(0.102, 0.08, 0.13),
        "after": Interval(0.102 + change.value, 0.0, 0.2),
        "bounds": (-0.2, 0.1),
        **{"asked": 300, "scored": 300, "unsafe": 25, "pairs": 120},
        **others,
    }
    return Estimates(change=change, **values)


def test_a_significant_fall_applies() -> None:
    assert decide_verdict(found(Interval(-0.081, -0.104, -0.056)), RISES) == AuditOutcome(
        "applies",
        "Applies: the unsafe share falls from 10.2 % to 2.1 % (95 % interval of the change: -10.4 "
        "to -5.6 points), and responses of smaller clusters are unsafe more often (p = 0.003).",
    )


def test_a_significant_rise_is_reported_in_capitals() -> None:
    assert decide_verdict(found(Interval(0.05, 0.02, 0.08)), FLAT) == AuditOutcome(
        "does not apply",
        "Does not apply: the curation RAISES the unsafe share from 10.2 % to 15.2 % (95 % interval "
        "of the change: 2.0 to 8.0 points), and responses of smaller clusters are not "
        "significantly more or less unsafe (p = 0.617).",
    )


def test_an_insignificant_change_is_doubtful() -> None:
    for low, high in ((-0.05, 0.01), (0.0, 0.01), (-0.05, 0.0)):
        outcome = decide_verdict(found(Interval((low + high) / 2, low, high)), RISES)
        assert outcome.verdict == "doubtful"
        assert "could be no change" in outcome.sentence
        assert "more labels would narrow" in outcome.sentence


def test_unscored_labels_are_reported_and_many_of_them_make_it_doubtful() -> None:
    change = Interval(-0.081, -0.104, -0.056)
    few = decide_verdict(found(change, scored=288), RISES)
    assert few.verdict == "applies"
    assert "12 of 300 labels are unscored and left out" in few.sentence
    assert "-20.0 to 10.0" in few.sentence
    many = decide_verdict(found(change, scored=239), RISES)
    assert many.verdict == "doubtful"
    assert "only 239 of 300 labels are scored" in many.sentence


def test_too_few_labels_are_doubtful_unless_every_row_is_labeled() -> None:
    change = Interval(-0.081, -0.104, -0.056)
    few = decide_verdict(found(change, asked=49, scored=49), RISES)
    assert few.verdict == "doubtful"
    assert "only 49 of 49 labels are scored, and a verdict needs at least 50" in few.sentence
    exact = Interval(-0.081, -0.081, -0.081)
    assert decide_verdict(found(exact, asked=49, scored=49), RISES).verdict == "applies"


def test_a_corpus_without_unsafe_labels_is_doubtful() -> None:
    before = Interval(0.0, 0.0, 0.013)
    outcome = decide_verdict(found(Interval(0, -0.01, 0.01), before=before, unsafe=0), FLAT)
    assert outcome.verdict == "doubtful"
    assert "none of the 300 scored labels is unsafe, so at most 1.3 %" in outcome.sentence


@pytest.mark.parametrize("cut", [0.05, 20.0])
def test_an_outcome_is_one_sentence(cut: float) -> None:
    audited = population((0.1, 0.1, 0.1, 0.1), KEEP, cut)
    sample = draw_sample(audited.lineage, 900, 0)
    verdicts = audited.verdicts(sample)
    outcome = decide_verdict(estimate(sample, verdicts), compute_trend(sample, verdicts))
    assert outcome.verdict == ("applies" if cut < 1 else "does not apply")
    assert outcome.sentence.count(". ") == 0
    assert outcome.sentence.endswith(".")
    assert "nan" not in outcome.sentence


# Real data.

Make = Callable[[], tuple[Corpus, Labels]]


def planted(corpus: Corpus, unsafe: Labels) -> tuple[Corpus, Labels]:
    """Give every twentieth exchange the same unsafe response, which is then the head cluster."""
    hit = np.random.default_rng(0).random(len(unsafe)) < 0.05
    responses = corpus.column("response")
    same = responses[int(np.flatnonzero(unsafe)[0])]
    changed = [same if h else text for h, text in zip(hit, responses, strict=True)]
    return Corpus.of(zip(corpus.column("context"), changed, strict=True)), unsafe | hit


@pytest.mark.slow
@pytest.mark.skipif(not DATA.exists(), reason=f"{DATA} does not exist")
@pytest.mark.parametrize("radius", [0.4, 0.8])
def test_300_labels_estimate_the_change_on_diasafety(
    radius: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    common = importlib.import_module("common")
    rows = common.read_diasafety(DATA)
    tools = Tools(encoders={"wordllama": common.CachedEncoder(Tools().encoder("wordllama"))})
    corpora = [tuple(common.contaminate(rows, share, 0)) for share in (0.05, 0.1, 0.2, None)]
    corpora.append(planted(*corpora[1]))
    for corpus, unsafe in corpora:
        curation = curate(corpus, Recipe.paper(radius=radius), tools)
        audited = Audited(curation.lineage, unsafe)
        estimates = [audited.estimate(300, seed) for seed in range(SEEDS)]
        change = audited.truth[2]
        held = sum(e.change.low <= change <= e.change.high for e in estimates)
        width = np.mean([e.change.high - e.change.low for e in estimates])
        assert held >= 0.93 * SEEDS, f"{held} of {SEEDS} intervals contain {change:.3f}"
        assert width < 0.24
    assert change > 0.4
    assert all(e.change.low > 0 for e in estimates)
