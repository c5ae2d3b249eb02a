"""Runs side by side: how safe, how relevant and how varied each recipe left the corpus."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from markupsafe import Markup

from ...curation.curate import Curation
from ...curation.vectors import as_floats
from ...errors import RunError
from ...runtime.arrays import Ints
from ..audit.labels import read_column_labels
from ..run import Run
from .charts import Scale, percent, svg_chart, svg_element, svg_line, svg_text
from .diagnosis import diagnose


class RunComparison(NamedTuple):
    """One run in the comparison; shares from 0 to 1, None where nothing tells.

    ``changed`` is the share of rows replaced or dropped; ``relevance`` the mean cosine of context
    and response after, over that before, by the run's own vectors; ``distinct`` the share of
    different responses among those left; ``unsafe`` before and after by labels of the rows that
    the responses came from.
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
        """Return by which part the unsafe share fell, None without labels."""
        if self.unsafe_before is None or self.unsafe_after is None or not self.unsafe_before:
            return None
        return 1 - self.unsafe_after / self.unsafe_before


class ComparedRuns(NamedTuple):
    """The row of each run, and for each run after the first how its recipe differs from that."""

    rows: list[RunComparison]
    differences: list[list[str]]


def compare_runs(runs: Sequence[Run], column: str | None, unsafe: str) -> ComparedRuns:
    """Compare finished runs of one corpus.

    ``column`` names a column of the input with labels, in which ``unsafe`` means unsafe; None
    compares without labels. Raises `RunError` if the runs are of different corpora, `RecipeError`
    if the column or its value is missing.
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
    """Return one run's row of the comparison.

    ``unsafe`` says of each exchange of the corpus whether it is, None where nobody knows.
    """
    first = curation.lineage.filter(curation.lineage.column("target").to_numpy() == 0)
    left = first.filter(np.asarray(first.column("action").to_pylist(), object) != "dropped")
    rows = np.asarray(left.column("id").to_numpy(), np.int64)
    sources = np.asarray(left.column("source_id").to_numpy(), np.int64)
    texts = np.empty_like(curation.layout.response)
    texts[curation.layout.ids] = curation.layout.response
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
        len(np.unique(texts[sources])) / max(len(sources), 1),
        before,
        after,
    )


def _compute_unsafe_share(verdicts: Sequence[bool | None]) -> float | None:
    known = [verdict for verdict in verdicts if verdict is not None]
    return sum(known) / len(known) if known else None


def _compute_relevance_kept(curation: Curation, rows: Ints, sources: Ints) -> float | None:
    """Return relevance kept, None where contexts and responses have no common vectors."""
    contexts, responses, recipe = curation.contexts, curation.responses, curation.recipe
    if contexts is None or responses is None or recipe.context_encoder != recipe.response_encoder:
        return None
    layout = curation.layout
    said, answered = np.empty_like(layout.context), np.empty_like(layout.context)
    said[layout.ids], answered[layout.ids] = layout.context, layout.view

    def mean(asked: Ints, drawn: Ints) -> float:
        total = 0.0
        for start in range(0, len(asked), 4096):
            left = as_floats(contexts.vectors[said[asked[start : start + 4096]]])
            right = as_floats(responses.vectors[answered[drawn[start : start + 4096]]])
            total += float((left * right).sum(dtype=np.float64))
        return total / max(len(asked), 1)

    every = np.arange(len(layout.ids))
    before = mean(every, every)
    return mean(rows, sources) / before if before > 0 else None


def check_same_corpus(curations: Sequence[Curation]) -> None:
    """Raise `RunError` unless all runs curate the same exchanges in the same order."""
    first = curations[0]
    for other in curations[1:]:
        if first.corpus.table.column("context") != other.corpus.table.column(
            "context"
        ) or first.corpus.table.column("response") != other.corpus.table.column("response"):
            raise RunError("these runs are of different corpora; only runs of one compare")


COLUMNS = (
    "run",
    "verdict",
    "changed",
    "relevance kept",
    "distinct",
    "unsafe before",
    "after",
    "cut",
)


def format_comparison(rows: Sequence[RunComparison]) -> str:
    """Return the comparison as a Markdown table, without the columns that nothing tells of."""
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
    kept = [i for i in range(len(COLUMNS)) if any(cell[i] != "—" for cell in cells)]
    lines = [[COLUMNS[i] for i in kept], ["---"] * len(kept)]
    lines += [[cell[i].replace("|", "\\|") for i in kept] for cell in cells]
    return "\n".join(f"| {' | '.join(cell)} |" for cell in lines)


def draw_comparison(rows: Sequence[RunComparison]) -> Markup:
    """Return a chart: relevance across, safety (or without labels, change) up, variety as size."""
    labelled = all(row.cut is not None for row in rows)
    points = [
        (row, row.relevance if row.relevance is not None else 0.0, height)
        for row in rows
        if (height := row.cut if labelled else row.changed) is not None
    ]
    across = [point[1] for point in points]
    up = [point[2] for point in points]
    x = Scale(min([0.0, *across]), max([1.0, *across]), 60, 480)
    y = Scale(min([0.0, *up]), max([1.0, *up]), 300, 30)
    parts = [svg_line(60, y(0), 480, y(0)), svg_line(x(0), 300, x(0), 30)]
    for tick in x.ticks(6):
        parts.append(svg_text(f"{tick:.0%}", x(tick), 318, anchor="middle"))
    for tick in y.ticks(6):
        parts.append(svg_text(f"{tick:.0%}", 52, y(tick) + 4))
    parts.append(svg_text("relevance kept, by the runs' own vectors", 270, 340, anchor="middle"))
    parts.append(
        svg_text("unsafe share cut by" if labelled else "rows changed", 4, 16, anchor="start")
    )
    for row, left, top in points:
        tip = svg_element("title", f"{row.name}: distinct {percent(row.distinct)}")
        radius = 3 + 9 * row.distinct
        circle = svg_element(
            "circle", cx=x(left), cy=y(top), r=radius, fill="#7fa3bd", stroke="#12507b"
        )
        parts.append(svg_element("g", tip, circle))
        parts.append(svg_text(row.name, x(left) + radius + 3, y(top) + 4, anchor="start"))
    told = "; ".join(f"{row.name}: {percent(row.distinct)} distinct" for row in rows)
    return svg_chart((640, 348), "Runs compared; a larger mark is more varied", told, parts)
