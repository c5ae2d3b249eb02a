"""Compare runs of one corpus: what each wrote, and how relevant, varied and safe it is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup

from ...curation.curate import Curation
from ...curation.lineage import first_targets
from ...errors import RecipeError, RunError
from ...text import shorten
from ..audit.labels import read_column_labels
from ..run import Run
from .diagnosis import diagnose
from .relevance import RelevanceSummary, load_judge, measure_relevance
from .svg import BAR_COLOR, MARK_COLOR, Scale, percent, svg_chart, svg_element, svg_line, svg_text
from .written import WrittenRows, find_written_rows, summarize_written


class RunComparison(NamedTuple):
    """One run in a comparison; shares from 0 to 1, None where a value is unknown.

    ``written`` is the share of rows that were written, ``changed`` that of the rows that were
    dropped or got another response. ``texts_before`` and ``texts`` count distinct responses, and
    ``distinct`` is their share of the rows written. ``pairs_before`` and ``pairs`` are distinct-2
    of equally many rows. ``relevance`` is the mean cosine of context and response after the
    curation, divided by the one before; ``answers_before`` and ``answers`` are the shares of rows
    whose response ranks above 95 of 100 random responses to its context. ``measured_by`` names the
    vectors behind both. The unsafe shares need labels; a response has the label of the row that it
    came from, whatever context it answers now.
    """

    name: str
    verdict: str
    written: float
    changed: float
    texts_before: int
    texts: int
    distinct: float
    pairs_before: float | None
    pairs: float | None
    measured_by: str
    relevance: float | None
    answers_before: float | None
    answers: float | None
    unsafe_before: float | None = None
    unsafe_after: float | None = None

    @property
    def cut(self) -> float | None:
        """The relative reduction of the unsafe share; None without labels or unsafe rows."""
        if self.unsafe_before is None or self.unsafe_after is None or not self.unsafe_before:
            return None
        return 1 - self.unsafe_after / self.unsafe_before


class ComparedRuns(NamedTuple):
    """A row for each run, and for each later run the differences of its recipe from the first."""

    rows: list[RunComparison]
    differences: list[list[str]]


def compare_runs(runs: Sequence[Run], column: str | None, unsafe: str) -> ComparedRuns:
    """Compare finished runs of one corpus.

    ``column`` is a column of the input with labels, and ``unsafe`` its value for unsafe rows; with
    None you compare without labels. Raises `RunError` if the runs have different corpora, and
    `RecipeError` for a single run, or if no record has the column or the value.
    """
    if len(runs) < 2:
        raise RecipeError("give at least two runs to compare; make another with: isaac redraw")
    curations = [run.curation() for run in runs]
    check_same_corpus(curations)
    labels = read_column_labels(curations[0], column, unsafe) if column is not None else None
    rows = compare_curations([run.path.name for run in runs], curations, labels)
    first = curations[0].recipe
    return ComparedRuns(rows, [first.differences(other.recipe) for other in curations[1:]])


def compare_curations(
    names: Sequence[str], curations: Sequence[Curation], unsafe: Sequence[bool | None] | None
) -> list[RunComparison]:
    """Summarize each run for the comparison.

    ``unsafe`` (n,) is whether each exchange of the corpus is unsafe, None for an unlabeled one.
    """
    firsts = [first_targets(curation.lineage) for curation in curations]
    written = list(map(find_written_rows, curations, firsts))
    used = {
        name
        for curation in curations
        for name in (curation.recipe.context_encoder, curation.recipe.response_encoder)
    }
    judge = load_judge(used)
    relevance = measure_relevance(curations, written, judge)
    return [
        compare_run(name, judge.name, curation, rows, found, unsafe=unsafe)
        for name, curation, rows, found in zip(names, curations, written, relevance, strict=True)
    ]


def compare_run(
    name: str,
    measured_by: str,
    curation: Curation,
    rows: WrittenRows,
    relevance: RelevanceSummary,
    *,
    unsafe: Sequence[bool | None] | None,
) -> RunComparison:
    """Summarize one run for the comparison."""
    summary = summarize_written(curation, rows)
    count = len(curation.layout.ids)
    before = after = None
    if unsafe is not None:
        before = _compute_unsafe_share(unsafe)
        after = _compute_unsafe_share([unsafe[source] for source in rows.sources.tolist()])
    return RunComparison(
        name,
        diagnose(curation).verdict,
        summary.written / count,
        summary.touched / count,
        summary.texts_before,
        summary.texts_after,
        summary.texts_after / max(summary.written, 1),
        summary.pairs_before,
        summary.pairs_after,
        measured_by,
        _compute_ratio(relevance.cosine_after, relevance.cosine_before),
        relevance.answers_before,
        relevance.answers_after,
        before,
        after,
    )


def _compute_unsafe_share(labels: Sequence[bool | None]) -> float | None:
    known = [label for label in labels if label is not None]
    return sum(known) / len(known) if known else None


def _compute_ratio(part: float | None, whole: float | None) -> float | None:
    """``part / whole``; None if one is unknown or the whole is not positive."""
    return None if part is None or whole is None or whole <= 0 else part / whole


def check_same_corpus(curations: Sequence[Curation]) -> None:
    """Raise `RunError` unless all runs curate the same exchanges in the same order."""
    first = curations[0].corpus.table
    for other in curations[1:]:
        table = other.corpus.table
        if any(first.column(name) != table.column(name) for name in ("context", "response")):
            raise RunError("the runs have different corpora; compare runs of the same corpus")


def format_comparison(rows: Sequence[RunComparison]) -> str:
    """Format the comparison as a Markdown table, without columns that have no values."""
    by = rows[0].measured_by if rows else ""
    columns = (
        "run",
        "verdict",
        "rows written",
        "rows touched",
        "different texts",
        "distinct pairs of words",
        f"relevance kept, by {by}",
        f"answers its context, by {by}",
        "unsafe by source",
        "cut",
    )
    cells = [_format_cells(row) for row in rows]
    shown = [i for i in range(len(columns)) if any(row[i] != "—" for row in cells)]
    lines = [[columns[i] for i in shown], ["---"] * len(shown)]
    lines += [[row[i].replace("|", "\\|") for i in shown] for row in cells]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _format_cells(row: RunComparison) -> tuple[str, ...]:
    return (
        row.name,
        row.verdict,
        _format_share(row.written),
        _format_share(row.changed),
        f"{row.texts_before:,} → {row.texts:,}",
        _format_change(row.pairs_before, row.pairs),
        _format_share(row.relevance),
        _format_change(row.answers_before, row.answers),
        _format_change(row.unsafe_before, row.unsafe_after),
        _format_share(row.cut),
    )


def _format_share(share: float | None) -> str:
    return "—" if share is None else percent(share) if share >= 0 else f"{share:.1%}"


def _format_change(before: float | None, after: float | None) -> str:
    known = before is not None or after is not None
    return f"{_format_share(before)} → {_format_share(after)}" if known else "—"


class _Mark(NamedTuple):
    """The place and radius of a run's mark in the chart."""

    x: float
    y: float
    radius: float


def draw_comparison(rows: Sequence[RunComparison]) -> Markup:
    """Draw the runs as an SVG: relevance on the x axis, cut on the y axis, variety as size.

    Without labels the y axis is the share of rows touched. A legend names the runs by number, and
    says which direction is better.
    """
    is_labeled = all(row.cut is not None for row in rows)
    heights = [(row.cut if is_labeled else row.changed) or 0.0 for row in rows]
    relevances = [0.0 if row.relevance is None else row.relevance for row in rows]
    # The axis of relevance need not begin at zero: points have no length to compare.
    least = min(0.8, math.floor(5 * min(relevances) - 0.25) / 5)
    x = Scale(least, max(1.05, max(relevances) + 0.05), 60, 380)
    y = Scale(min([0.0, *heights]), max([1.0, *heights]), 300, 76)
    marks = [
        _Mark(x(right), y(up), 3 + 9 * row.distinct)
        for row, right, up in zip(rows, relevances, heights, strict=True)
    ]
    y_title = "reduction of the unsafe share" if is_labeled else "rows touched"
    title = f"Compared runs: {y_title} and relevance kept"
    parts = [
        svg_element("g", svg_text(title, 4, 18, anchor="start", size=13), font_weight="600"),
        *_draw_axes(x, y, (f"relevance kept, by {rows[0].measured_by}", y_title)),
        *_draw_marks(marks),
        *_draw_run_list(rows, is_labeled),
    ]
    about = "; ".join(
        f"{number}: {row.name}, relevance kept {_format_share(row.relevance)}, {y_title} "
        f"{_format_share(row.cut if is_labeled else row.changed)}, {percent(row.distinct)} distinct"
        for number, row in enumerate(rows, start=1)
    )
    return svg_chart((640, max(356, 110 + 34 * len(rows))), title, about, parts)


def _draw_axes(x: Scale, y: Scale, titles: tuple[str, str]) -> list[Markup]:
    parts = [svg_line(60, y(0), 380, y(0)), svg_line(60, 300, 60, 76)]
    parts += [svg_text(f"{tick:.0%}", x(tick), 318, anchor="middle") for tick in x.ticks(5)]
    parts += [svg_text(f"{tick:.0%}", 52, y(tick) + 4) for tick in y.ticks(6)]
    parts.append(svg_text(f"{titles[0]} →", 220, 342, anchor="middle"))
    parts.append(svg_text(f"↑ {titles[1]}", 4, 54, anchor="start"))
    return parts


def _draw_marks(marks: Sequence[_Mark]) -> list[Markup]:
    """The marks, each with its number next to it, where no other number or mark is."""
    parts: list[Markup] = []
    labels: list[tuple[float, float]] = []
    for number, mark in enumerate(marks, start=1):
        circle = {"cx": mark.x, "cy": mark.y, "r": mark.radius, "fill_opacity": 0.35}
        parts.append(svg_element("circle", **circle, fill=BAR_COLOR, stroke=MARK_COLOR))
        labels.append(_find_label_place(mark, marks, labels))
        parts.append(svg_text(str(number), *labels[-1], anchor="middle"))
    return parts


def _find_label_place(
    mark: _Mark, marks: Sequence[_Mark], labels: Sequence[tuple[float, float]]
) -> tuple[float, float]:
    """The nearest place around a mark that is free of numbers, and of marks if there is one."""
    rings = [mark.radius + 9 + 4 * ring for ring in range(40)]
    angles = [math.pi / 6 * part for part in range(12)]
    around = [
        (mark.x + ring * math.cos(angle), mark.y - ring * math.sin(angle))
        for ring in rings
        for angle in angles
    ]
    places = [(x, y + 4) for x, y in around if 70 <= x <= 400 and 70 <= y <= 288]
    free = [place for place in places if all(math.dist(place, each) > 16 for each in labels)]
    for x, y in free:
        if all(math.hypot(x - each.x, y - 4 - each.y) > each.radius + 7 for each in marks):
            return x, y
    return (free or places)[0]


def _draw_run_list(rows: Sequence[RunComparison], is_labeled: bool) -> list[Markup]:
    """The legend: the direction, what the size of a mark says, and the runs by number."""
    up = "fewer unsafe responses left" if is_labeled else "more rows changed"
    lines = ["right: more relevant responses", f"up: {up}", "larger mark: more distinct texts"]
    parts = [
        svg_text(line, 420, 46 + 16 * place, anchor="start") for place, line in enumerate(lines)
    ]
    for number, row in enumerate(rows, start=1):
        top = 76 + 34 * number
        parts.append(svg_text(f"{number}  {shorten(row.name, 28)}", 420, top, anchor="start"))
        facts = f"{row.verdict}, {percent(row.distinct)} distinct"
        parts.append(svg_text(facts, 432, top + 14, anchor="start", size=10))
    return parts
