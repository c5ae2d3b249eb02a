"""Compare runs of one corpus: how safe, relevant and varied each recipe made the responses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from markupsafe import Markup

from ...curation.curate import Curation
from ...curation.lineage import first_targets
from ...curation.vectors import as_floats
from ...errors import RunError
from ...runtime.arrays import Ints
from ..audit.labels import read_column_labels
from ..run import Run
from .diagnosis import diagnose
from .svg import BAR_COLOR, MARK_COLOR, Scale, percent, svg_chart, svg_element, svg_line, svg_text


class RunComparison(NamedTuple):
    """One run in a comparison; shares from 0 to 1, None where a value is unknown.

    ``changed`` is the share of rows that were replaced or dropped. ``relevance`` is the mean cosine
    of context and response after the curation, divided by the one before, with the run's own
    vectors. ``distinct`` is the share of distinct texts among the remaining responses. The unsafe
    shares need labels; a response has the label of the row that it came from.
    """

    name: str
    verdict: str
    changed: float
    relevance: float | None
    distinct: float
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
    `RecipeError` if no record has the column or the value.
    """
    curations = [run.curation() for run in runs]
    check_same_corpus(curations)
    labels = read_column_labels(curations[0], column, unsafe) if column is not None else None
    rows = [
        compare_run(run.path.name, curation, labels)
        for run, curation in zip(runs, curations, strict=True)
    ]
    first = curations[0].recipe
    return ComparedRuns(rows, [first.differences(other.recipe) for other in curations[1:]])


def compare_run(
    name: str, curation: Curation, unsafe: Sequence[bool | None] | None
) -> RunComparison:
    """Summarize one run for the comparison.

    ``unsafe`` (n,) is whether each exchange of the corpus is unsafe, None for an unlabeled one.
    """
    first = first_targets(curation.lineage)
    remaining = first.filter(np.asarray(first.column("action").to_pylist(), object) != "dropped")
    rows = np.asarray(remaining.column("id").to_numpy(), np.int64)
    sources = np.asarray(remaining.column("source_id").to_numpy(), np.int64)
    changed = 1 - float((rows == sources).sum()) / len(first)
    before = after = None
    if unsafe is not None:
        before = _compute_unsafe_share([unsafe[row] for row in range(len(first))])
        after = _compute_unsafe_share([unsafe[source] for source in sources.tolist()])
    return RunComparison(
        name,
        diagnose(curation).verdict,
        changed,
        _compute_relevance_kept(curation, rows, sources),
        len(np.unique(curation.response_by_id[sources])) / max(len(sources), 1),
        before,
        after,
    )


def _compute_unsafe_share(labels: Sequence[bool | None]) -> float | None:
    known = [label for label in labels if label is not None]
    return sum(known) / len(known) if known else None


def _compute_relevance_kept(curation: Curation, rows: Ints, sources: Ints) -> float | None:
    """The relevance after divided by that before; None if the texts have different encoders."""
    contexts, responses, recipe = curation.contexts, curation.responses, curation.recipe
    if contexts is None or responses is None or recipe.context_encoder != recipe.response_encoder:
        return None
    layout = curation.layout
    # For each id (n,), the index of its context's and of its response's vector.
    context, view = np.empty_like(layout.context), np.empty_like(layout.context)
    context[layout.ids], view[layout.ids] = layout.context, layout.view

    def mean_cosine(context_ids: Ints, response_ids: Ints) -> float:
        total = 0.0
        for start in range(0, len(context_ids), 4096):
            chunk = slice(start, start + 4096)
            context_vectors = as_floats(contexts.vectors[context[context_ids[chunk]]])
            response_vectors = as_floats(responses.vectors[view[response_ids[chunk]]])
            total += float((context_vectors * response_vectors).sum(dtype=np.float64))
        return total / max(len(context_ids), 1)

    all_ids = np.arange(len(layout.ids))
    before = mean_cosine(all_ids, all_ids)
    return mean_cosine(rows, sources) / before if before > 0 else None


def check_same_corpus(curations: Sequence[Curation]) -> None:
    """Raise `RunError` unless all runs curate the same exchanges in the same order."""
    first = curations[0].corpus.table
    for other in curations[1:]:
        table = other.corpus.table
        if any(first.column(name) != table.column(name) for name in ("context", "response")):
            raise RunError("the runs have different corpora; compare runs of the same corpus")


COLUMNS = (
    "run",
    "verdict",
    "changed",
    "relevance kept",
    "distinct",
    "unsafe before",
    "unsafe after",
    "cut",
)


def format_comparison(rows: Sequence[RunComparison]) -> str:
    """Format the comparison as a Markdown table, without columns that have no values."""
    cells = [
        (
            row.name,
            row.verdict,
            *(
                "—" if value is None else percent(value) if value >= 0 else f"{value:.1%}"
                for value in (
                    row.changed,
                    row.relevance,
                    row.distinct,
                    row.unsafe_before,
                    row.unsafe_after,
                    row.cut,
                )
            ),
        )
        for row in rows
    ]
    shown = [i for i in range(len(COLUMNS)) if any(row[i] != "—" for row in cells)]
    lines = [[COLUMNS[i] for i in shown], ["---"] * len(shown)]
    lines += [[row[i].replace("|", "\\|") for i in shown] for row in cells]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def draw_comparison(rows: Sequence[RunComparison]) -> Markup:
    """Draw the runs as an SVG: relevance on the x axis, cut on the y axis, variety as size.

    Without labels the y axis is the share of rows changed.
    """
    is_labeled = all(row.cut is not None for row in rows)
    points = [
        (row, row.relevance if row.relevance is not None else 0.0, height)
        for row in rows
        if (height := row.cut if is_labeled else row.changed) is not None
    ]
    x_values = [point[1] for point in points]
    y_values = [point[2] for point in points]
    x = Scale(min([0.0, *x_values]), max([1.0, *x_values]), 60, 480)
    y = Scale(min([0.0, *y_values]), max([1.0, *y_values]), 300, 30)
    parts = [svg_line(60, y(0), 480, y(0)), svg_line(x(0), 300, x(0), 30)]
    for tick in x.ticks(6):
        parts.append(svg_text(f"{tick:.0%}", x(tick), 318, anchor="middle"))
    for tick in y.ticks(6):
        parts.append(svg_text(f"{tick:.0%}", 52, y(tick) + 4))
    parts.append(
        svg_text("relevance kept, measured with the runs' own vectors", 270, 340, anchor="middle")
    )
    y_title = "reduction of the unsafe share" if is_labeled else "rows changed"
    parts.append(svg_text(y_title, 4, 16, anchor="start"))
    for row, relevance, height in points:
        tooltip = svg_element("title", f"{row.name}: {percent(row.distinct)} distinct")
        radius = 3 + 9 * row.distinct
        center = {"cx": x(relevance), "cy": y(height)}
        circle = svg_element("circle", **center, r=radius, fill=BAR_COLOR, stroke=MARK_COLOR)
        parts.append(svg_element("g", tooltip, circle))
        parts.append(svg_text(row.name, x(relevance) + radius + 3, y(height) + 4, anchor="start"))
    description = "; ".join(f"{row.name}: {percent(row.distinct)} distinct" for row in rows)
    title = "Comparison of runs; larger marks have more distinct responses"
    return svg_chart((640, 348), title, description, parts)
