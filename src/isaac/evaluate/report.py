"""Reports of an evaluation: Markdown, and an HTML page that loads nothing and runs no script."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from markupsafe import Markup

from ..runs.reports.rendering import render_template
from ..runs.reports.svg import number, percent
from ..text import make_printable, short_name, shorten
from . import charts
from .headlines import format_interval, format_p_value, format_points, format_retained_share

JsonMapping = Mapping[str, Any]


class ReportTable(NamedTuple):
    """A table of texts; the first column has the row names, and ``about`` is a legend."""

    title: str
    about: str
    columns: list[str]
    rows: list[list[str]]


def render_evaluation_markdown(facts: JsonMapping) -> str:
    """Render an evaluation, given as the result of `Evaluation.as_json`, as Markdown."""
    parts = ["# Evaluation", *(f"**{_escape_markdown(text)}.**" for text in facts["headlines"])]
    notes = [*list_warnings(facts), *facts["notes"]]
    if notes:
        parts.append("\n".join(f"- {_escape_markdown(note)}" for note in notes))
    return "\n\n".join([*parts, render_evaluation_tables(facts)])


def render_evaluation_tables(facts: JsonMapping) -> str:
    """Render the tables of an evaluation as Markdown."""
    parts = []
    for table in build_tables(facts):
        parts += [
            f"## {_escape_markdown(table.title)}",
            _render_table(table),
            _escape_markdown(table.about),
        ]
    return "\n\n".join(parts)


def _render_table(table: ReportTable) -> str:
    lines = [table.columns, ["---", *["---:"] * (len(table.columns) - 1)], *table.rows]
    return "\n".join(f"| {' | '.join(map(_escape_markdown, cells))} |" for cells in lines)


def _escape_markdown(text: str) -> str:
    """Put a text on one line, with Markdown and HTML from models or the corpus escaped."""
    marked = re.sub(r"([\\*\[\]|])", r"\\\1", shorten(text, 600))
    return marked.replace("<", "&lt;").replace("`", "ˋ")


def render_evaluation_html(facts: JsonMapping) -> str:
    """Render an evaluation, given as the result of `Evaluation.as_json`, as an HTML page."""
    values = _build_template_values(facts)
    part = render_template(
        "evaluation.part.html.jinja", {**values, "inside": False}, autoescape=True
    )
    return render_template(
        "evaluation.html.jinja", {**values, "part": Markup(part)}, autoescape=True
    )


def render_evaluation_section(facts: JsonMapping) -> Markup:
    """Render an evaluation as a section of a run's HTML report."""
    values = {**_build_template_values(facts), "inside": True}
    return Markup(render_template("evaluation.part.html.jinja", values, autoescape=True))


def _build_template_values(facts: JsonMapping) -> dict[str, Any]:
    """Build the values for the HTML templates of an evaluation."""
    arms = facts["arms"]
    rows = [_build_bar(arm, arm["verdicts"][0]["tally"], _comparability_flag(arm)) for arm in arms]
    groups = [
        (name, [_build_bar(arm, arm["verdicts"][0]["categories"][name]) for arm in arms])
        for name in arms[0]["verdicts"][0]["categories"]
    ]
    return {
        **facts,
        "warnings": list_warnings(facts),
        "tables": build_tables(facts),
        "chart": charts.draw_bars(rows, "Unsafe rate by model"),
        "by_category": charts.draw_grouped_bars(groups, "Unsafe rate by category")
        if groups
        else None,
        "points": format_points,
        "visible": make_printable,
        "judge": short_name(facts["settings"]["judges"][0]),
        "after": [arm for arm in arms if arm["role"] == "after"],
    }


def _build_bar(arm: JsonMapping, tally: JsonMapping, flag: str = "") -> charts.ShareBar:
    return charts.ShareBar(make_printable(arm["name"]), tally["share"], arm["role"], flag)


def list_warnings(facts: JsonMapping) -> list[str]:
    """List the problems of the baseline; those of the other models are in the headlines."""
    return [
        f"{arm['name']}: {'; '.join(arm['problems'])}."
        for arm in facts["arms"]
        if arm["problems"] and arm["role"] == "before"
    ]


def build_tables(facts: JsonMapping) -> list[ReportTable]:
    """Build the tables of an evaluation: safety by judge, quality, categories and ability."""
    arms = facts["arms"]
    tables = [_build_safety_table(arms, judge) for judge in range(len(arms[0]["verdicts"]))]
    tables.append(_build_quality_table(arms))
    if arms[0]["verdicts"][0]["categories"]:
        tables.append(_build_category_table(arms))
    if any(arm["ability"] for arm in arms):
        tables.append(_build_ability_table(arms))
    return tables


def _build_safety_table(arms: Sequence[JsonMapping], judge: int) -> ReportTable:
    """Build the safety table of the judge with this index."""
    columns = ["model", "unsafe", "change, points", "p", "scored", "unscored", "broken"]
    columns += ["relevance kept", "variety kept", ""]
    rows = []
    for arm in arms:
        verdicts = arm["verdicts"][judge]
        tally = verdicts["tally"]
        rows.append(
            [
                arm["name"],
                _format_share(tally["share"]),
                *_format_change(verdicts["change"], arm["role"]),
                number(tally["scored"]),
                number(tally["unscored"]),
                number(tally["broken"]),
                _format_retained(arm, "relevance"),
                _format_retained(arm, "variety"),
                _comparability_flag(arm),
            ]
        )
    about = (
        "Unsafe: the unsafe rate of the answers with a verdict, with its 95 % interval. Change: "
        "the mean difference from the first model by prompt, with a bootstrap interval. p: "
        "McNemar's exact test, corrected by Holm's method if there are several models. Kept: the "
        "share of the first model's relevance or variety, with a 95 % interval from random halves "
        "of the prompts; variety is distinct-2 over the same number of word pairs from both models."
    )
    name = short_name(arms[0]["verdicts"][judge]["judge"])
    return ReportTable(f"Safety according to {name}", about, columns, rows)


def _format_change(change: JsonMapping | None, role: str) -> list[str]:
    """Format the difference and its p value; the constant arm is not tested."""
    if change is None or not change["pairs"]:
        return ["—", "—"]
    p = "—" if role == "constant" else format_p_value(change["adjusted"]).removeprefix("= ")
    return [_format_json_interval(format_points, change["change"]), p]


def _comparability_flag(arm: JsonMapping) -> str:
    """A warning next to a model's figures, or an empty string."""
    if arm["collapse"]["collapsed"]:
        return "collapsed"
    if arm["role"] == "after" and arm["problems"]:
        return "not comparable"
    return ""


def _build_quality_table(arms: Sequence[JsonMapping]) -> ReportTable:
    columns: dict[str, Callable[[JsonMapping], str]] = {
        "words": lambda arm: _format_decimal(arm["quality"]["words"], 1),
        "distinct-1": lambda arm: _format_decimal(arm["quality"]["distinct_1"], 3),
        "distinct-2": lambda arm: _format_decimal(arm["quality"]["distinct_2"], 3),
        "self-BLEU": lambda arm: _format_decimal(arm["quality"]["self_bleu"], 1),
        "relevance": lambda arm: _format_decimal(arm["quality"]["relevance"], 3),
        "relevance, harmless": lambda arm: _format_decimal(arm["relevance_harmless"], 3),
        "refused, harmless": lambda arm: _format_refusals(arm["refusals"]),
        "most common reply": lambda arm: percent(arm["collapse"]["common"]),
        "perplexity": lambda arm: _format_decimal(arm["perplexity"]["reference"], 1),
        "forward": lambda arm: _format_decimal(arm["perplexity"]["forward"], 1),
        "backward": lambda arm: _format_decimal(arm["perplexity"]["backward"], 1),
    }
    cells = {name: [format_cell(arm) for arm in arms] for name, format_cell in columns.items()}
    # Columns that no arm has a value for are left out.
    filled = {name: column for name, column in cells.items() if set(column) != {"—"}}
    rows = [
        [arm["name"], *(column[index] for column in filled.values())]
        for index, arm in enumerate(arms)
    ]
    about = (
        "Relevance: mean cosine of reply and prompt, minus that of other pairs. Refused: share of "
        "coherent replies that begin with a refusal. Most common reply: its share of the prompts."
    )
    return ReportTable("Quality", about, ["model", *filled], rows)


def _build_category_table(arms: Sequence[JsonMapping]) -> ReportTable:
    rows = []
    for name in arms[0]["verdicts"][0]["categories"]:
        tallies = [arm["verdicts"][0]["categories"][name] for arm in arms]
        rows.append([name, *(_format_count(tally) for tally in tallies)])
    judge = short_name(arms[0]["verdicts"][0]["judge"])
    about = (
        "Unsafe rate, with the number of unsafe answers among those with a verdict. Categories are "
        "too small to be tested separately."
    )
    columns = ["category", *(arm["name"] for arm in arms)]
    return ReportTable(f"Unsafe rate by category, according to {judge}", about, columns, rows)


def _format_count(tally: JsonMapping) -> str:
    if not tally["share"]:
        return "—"
    return f"{percent(tally['share']['value'])} ({tally['unsafe']:,} of {tally['scored']:,})"


def _build_ability_table(arms: Sequence[JsonMapping]) -> ReportTable:
    models = [arm for arm in arms if arm["role"] != "constant"]
    keys = list(
        dict.fromkeys(
            (task, name)
            for arm in models
            for task, metrics in arm["ability"].items()
            for name in metrics
        )
    )
    rows = [
        [
            f"{task} {name}",
            *(_format_decimal(arm["ability"].get(task, {}).get(name), 4) for arm in models),
        ]
        for task, name in keys
    ]
    about = "As reported by lm-evaluation-harness."
    return ReportTable("General ability", about, ["task", *(arm["name"] for arm in models)], rows)


def _format_share(share: JsonMapping | None) -> str:
    return _format_json_interval(percent, share) if share else "—"


def _format_json_interval(format_value: Callable[[float], str], interval: JsonMapping) -> str:
    return format_interval(format_value, interval["value"], interval["low"], interval["high"])


def _format_retained(arm: JsonMapping, name: str) -> str:
    if arm["role"] == "before":
        return "100%"
    value, interval = arm[f"{name}_kept"], arm["kept_intervals"].get(name)
    if value is None:
        return "—"
    return format_retained_share(value, interval and (interval["low"], interval["high"]))


def _format_decimal(value: float | None, digits: int) -> str:
    return "—" if value is None else f"{value:,.{digits}f}"


def _format_refusals(refusals: JsonMapping | None) -> str:
    return _format_share(refusals and refusals["share"])
