"""An evaluation as Markdown and as one page that loads nothing and runs no script."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from markupsafe import Markup

from ..runs.reports.charts import number, percent
from ..runs.reports.rendering import render_template
from ..text import make_printable, shorten
from . import charts as pictures
from .headlines import format_p_value, format_points, format_retained_share

JsonMapping = Mapping[str, Any]


class ReportTable(NamedTuple):
    """A table as texts; the first column is what a row is called."""

    title: str
    about: str
    columns: list[str]
    rows: list[list[str]]


def render_evaluation_markdown(facts: JsonMapping) -> str:
    """Return an evaluation, as `Evaluation.as_json` gives it, as Markdown."""
    parts = ["# Evaluation", *(f"**{_escape_markdown(line)}.**" for line in facts["headlines"])]
    said = [*list_warnings(facts), *facts["notes"]]
    if said:
        parts.append("\n".join(f"- {_escape_markdown(line)}" for line in said))
    return "\n\n".join([*parts, render_evaluation_tables(facts)])


def render_evaluation_tables(facts: JsonMapping) -> str:
    """Return the tables of an evaluation as Markdown."""
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
    """Return a text on one line, without links or markup of a model's or a corpus."""
    marked = re.sub(r"([\\*\[\]|])", r"\\\1", shorten(text, 600))
    return marked.replace("<", "&lt;").replace("`", "ˋ")


def render_evaluation_html(facts: JsonMapping) -> str:
    """Return an evaluation, as `Evaluation.as_json` gives it, as one self-contained page."""
    values = _build_template_values(facts)
    part = render_template(
        "evaluation.part.html.jinja", {**values, "inside": False}, autoescape=True
    )
    return render_template(
        "evaluation.html.jinja", {**values, "part": Markup(part)}, autoescape=True
    )


def render_evaluation_section(facts: JsonMapping) -> Markup:
    """Return an evaluation as a section of a run's report."""
    values = {**_build_template_values(facts), "inside": True}
    return Markup(render_template("evaluation.part.html.jinja", values, autoescape=True))


def _build_template_values(facts: JsonMapping) -> dict[str, Any]:
    """Return what the templates of an evaluation are filled with."""
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
        "chart": pictures.draw_bars(rows, "Unsafe share by model"),
        "by_category": pictures.draw_grouped_bars(groups, "Unsafe share by category")
        if groups
        else None,
        "points": format_points,
        "visible": make_printable,
        "judge": facts["settings"]["judges"][0],
        "after": [arm for arm in arms if arm["role"] == "after"],
    }


def _build_bar(arm: JsonMapping, tally: JsonMapping, flag: str = "") -> pictures.ShareBar:
    return pictures.ShareBar(make_printable(arm["name"]), tally["share"], arm["role"], flag)


def list_warnings(facts: JsonMapping) -> list[str]:
    """Return what speaks against the first model's figures; headlines say it of the others."""
    return [
        f"{arm['name']}: {'; '.join(arm['problems'])}."
        for arm in facts["arms"]
        if arm["problems"] and arm["role"] == "before"
    ]


def build_tables(facts: JsonMapping) -> list[ReportTable]:
    """Return the tables of an evaluation: safety by judge, quality, categories and ability."""
    arms = facts["arms"]
    found = [_build_safety_table(arms, place) for place in range(len(arms[0]["verdicts"]))]
    found.append(_build_quality_table(arms))
    if arms[0]["verdicts"][0]["categories"]:
        found.append(_build_category_table(arms))
    if any(arm["ability"] for arm in arms):
        found.append(_build_ability_table(arms))
    return found


def _build_safety_table(arms: Sequence[JsonMapping], place: int) -> ReportTable:
    judge = arms[0]["verdicts"][place]["judge"]
    columns = ["model", "unsafe", "change, points", "p", "scored", "unscored", "broken"]
    rows = []
    for arm in arms:
        one = arm["verdicts"][place]
        tally, share = one["tally"], one["tally"]["share"]
        rows.append(
            [
                arm["name"],
                _format_share(share),
                *_format_change(one["change"], arm["role"]),
                number(tally["scored"]),
                number(tally["unscored"]),
                number(tally["broken"]),
                _format_retained(arm, "relevance"),
                _format_retained(arm, "variety"),
                _comparability_flag(arm),
            ]
        )
    columns += ["relevance kept", "variety kept", ""]
    about = (
        "Unsafe: share of the answers with a verdict, with its 95 % interval. Change: by prompt "
        "against the first model, with a bootstrap interval; p: McNemar's exact test, by Holm's "
        "method for several models. "
        "Kept: with 95 % intervals by random halves of the prompts. "
        "Variety kept: distinct-2 among equally many word pairs of both."
    )
    return ReportTable(f"Safety by {judge}", about, columns, rows)


def _format_change(change: JsonMapping | None, role: str) -> list[str]:
    if change is None or not change["pairs"]:
        return ["—", "—"]
    value = change["change"]
    told = f"{format_points(value['value'])} ({format_points(value['low'])} to {format_points(value['high'])})"
    p = "—" if role == "constant" else format_p_value(change["adjusted"]).removeprefix("= ")
    return [told, p]


def _comparability_flag(arm: JsonMapping) -> str:
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
    cells = {name: [told(arm) for arm in arms] for name, told in columns.items()}
    kept = {name: column for name, column in cells.items() if set(column) != {"—"}}
    rows = [
        [arm["name"], *(column[place] for column in kept.values())]
        for place, arm in enumerate(arms)
    ]
    about = (
        "Relevance: cosine of reply and prompt, above that of pairs at random. Refused: by the "
        "opening words. Most common reply: its share of prompts."
    )
    return ReportTable("Quality", about, ["model", *kept], rows)


def _build_category_table(arms: Sequence[JsonMapping]) -> ReportTable:
    names = list(arms[0]["verdicts"][0]["categories"])
    rows = []
    for name in names:
        tallies = [arm["verdicts"][0]["categories"][name] for arm in arms]
        rows.append([name, *(_format_count(tally) for tally in tallies)])
    judge = arms[0]["verdicts"][0]["judge"]
    about = (
        "Unsafe answers of those with a verdict. Categories are too small to be tested one by one."
    )
    return ReportTable(
        f"Unsafe by category, by {judge}", about, ["category", *(a["name"] for a in arms)], rows
    )


def _format_count(tally: JsonMapping) -> str:
    if not tally["share"]:
        return "—"
    return f"{percent(tally['share']['value'])} ({tally['unsafe']:,} of {tally['scored']:,})"


def _build_ability_table(arms: Sequence[JsonMapping]) -> ReportTable:
    asked = [arm for arm in arms if arm["role"] != "constant"]
    keys = list(
        dict.fromkeys(
            (task, name)
            for arm in asked
            for task, metrics in arm["ability"].items()
            for name in metrics
        )
    )
    rows = [
        [
            f"{task} {name}",
            *(_format_decimal(arm["ability"].get(task, {}).get(name), 4) for arm in asked),
        ]
        for task, name in keys
    ]
    about = "As lm-evaluation-harness gives it."
    return ReportTable("General ability", about, ["task", *(arm["name"] for arm in asked)], rows)


def _format_share(share: JsonMapping | None) -> str:
    if not share:
        return "—"
    return f"{percent(share['value'])} ({percent(share['low'])} to {percent(share['high'])})"


def _format_retained(arm: JsonMapping, name: str) -> str:
    value, within = arm[f"{name}_kept"], arm["kept_intervals"].get(name)
    if arm["role"] == "before":
        return "100%"
    return (
        "—"
        if value is None
        else format_retained_share(value, within and (within["low"], within["high"]))
    )


def _format_decimal(value: float | None, digits: int) -> str:
    return "—" if value is None else f"{value:,.{digits}f}"


def _format_refusals(refusals: JsonMapping | None) -> str:
    return _format_share(refusals and refusals["share"])
