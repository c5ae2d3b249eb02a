"""An evaluation as Markdown and as one page that loads nothing and runs no script."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from markupsafe import Markup

from ..runs.reports.charts import number, percent
from ..runs.reports.rendering import rendered
from ..text import short, visible
from . import charts as pictures
from .headlines import part, points, probability

Facts = Mapping[str, Any]


class Table(NamedTuple):
    """A table as texts; the first column is what a row is called."""

    title: str
    about: str
    columns: list[str]
    rows: list[list[str]]


def markdown(facts: Facts) -> str:
    """Return an evaluation, as `Evaluation.as_json` gives it, as Markdown."""
    parts = ["# Evaluation", *(f"**{_plain(line)}.**" for line in facts["headlines"])]
    said = [*warnings(facts), *facts["notes"]]
    if said:
        parts.append("\n".join(f"- {_plain(line)}" for line in said))
    return "\n\n".join([*parts, tables_as_markdown(facts)])


def tables_as_markdown(facts: Facts) -> str:
    """Return the tables of an evaluation as Markdown."""
    parts = []
    for table in tables(facts):
        parts += [f"## {_plain(table.title)}", _as_markdown(table), _plain(table.about)]
    return "\n\n".join(parts)


def _as_markdown(table: Table) -> str:
    lines = [table.columns, ["---", *["---:"] * (len(table.columns) - 1)], *table.rows]
    return "\n".join(f"| {' | '.join(map(_plain, cells))} |" for cells in lines)


def _plain(text: str) -> str:
    """Return a text on one line, without links or markup of a model's or a corpus."""
    marked = re.sub(r"([\\*\[\]|])", r"\\\1", short(text, 600))
    return marked.replace("<", "&lt;").replace("`", "ˋ")


def html(facts: Facts) -> str:
    """Return an evaluation, as `Evaluation.as_json` gives it, as one self-contained page."""
    values = _values(facts)
    part = rendered("evaluation.part.html.jinja", {**values, "inside": False}, autoescape=True)
    return rendered("evaluation.html.jinja", {**values, "part": Markup(part)}, autoescape=True)


def section(facts: Facts) -> Markup:
    """Return an evaluation as a section of a run's report."""
    values = {**_values(facts), "inside": True}
    return Markup(rendered("evaluation.part.html.jinja", values, autoescape=True))


def _values(facts: Facts) -> dict[str, Any]:
    """Return what the templates of an evaluation are filled with."""
    arms = facts["arms"]
    rows = [_bar(arm, arm["verdicts"][0]["tally"], _flag(arm)) for arm in arms]
    groups = [
        (name, [_bar(arm, arm["verdicts"][0]["categories"][name]) for arm in arms])
        for name in arms[0]["verdicts"][0]["categories"]
    ]
    return {
        **facts,
        "warnings": warnings(facts),
        "tables": tables(facts),
        "chart": pictures.bars(rows, "Unsafe share by model"),
        "by_category": pictures.grouped(groups, "Unsafe share by category") if groups else None,
        "points": points,
        "visible": visible,
        "judge": facts["settings"]["judges"][0],
        "after": [arm for arm in arms if arm["role"] == "after"],
    }


def _bar(arm: Facts, tally: Facts, flag: str = "") -> pictures.Row:
    return pictures.Row(visible(arm["name"]), tally["share"], arm["role"], flag)


def warnings(facts: Facts) -> list[str]:
    """Return what speaks against the first model's figures; headlines say it of the others."""
    return [
        f"{arm['name']}: {'; '.join(arm['problems'])}."
        for arm in facts["arms"]
        if arm["problems"] and arm["role"] == "before"
    ]


def tables(facts: Facts) -> list[Table]:
    """Return the tables of an evaluation: safety by judge, quality, categories and ability."""
    arms = facts["arms"]
    found = [_safety(arms, place) for place in range(len(arms[0]["verdicts"]))]
    found.append(_quality(arms))
    if arms[0]["verdicts"][0]["categories"]:
        found.append(_categories(arms))
    if any(arm["ability"] for arm in arms):
        found.append(_ability(arms))
    return found


def _safety(arms: Sequence[Facts], place: int) -> Table:
    judge = arms[0]["verdicts"][place]["judge"]
    columns = ["model", "unsafe", "change, points", "p", "scored", "unscored", "broken"]
    rows = []
    for arm in arms:
        one = arm["verdicts"][place]
        tally, share = one["tally"], one["tally"]["share"]
        rows.append(
            [
                arm["name"],
                _share(share),
                *_change(one["change"], arm["role"]),
                number(tally["scored"]),
                number(tally["unscored"]),
                number(tally["broken"]),
                _kept(arm, "relevance"),
                _kept(arm, "variety"),
                _flag(arm),
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
    return Table(f"Safety by {judge}", about, columns, rows)


def _change(change: Facts | None, role: str) -> list[str]:
    if change is None or not change["pairs"]:
        return ["—", "—"]
    value = change["change"]
    told = f"{points(value['value'])} ({points(value['low'])} to {points(value['high'])})"
    p = "—" if role == "constant" else probability(change["adjusted"]).removeprefix("= ")
    return [told, p]


def _flag(arm: Facts) -> str:
    if arm["collapse"]["collapsed"]:
        return "collapsed"
    if arm["role"] == "after" and arm["problems"]:
        return "not comparable"
    return ""


def _quality(arms: Sequence[Facts]) -> Table:
    columns: dict[str, Callable[[Facts], str]] = {
        "words": lambda arm: _figure(arm["quality"]["words"], 1),
        "distinct-1": lambda arm: _figure(arm["quality"]["distinct_1"], 3),
        "distinct-2": lambda arm: _figure(arm["quality"]["distinct_2"], 3),
        "self-BLEU": lambda arm: _figure(arm["quality"]["self_bleu"], 1),
        "relevance": lambda arm: _figure(arm["quality"]["relevance"], 3),
        "relevance, harmless": lambda arm: _figure(arm["relevance_harmless"], 3),
        "refused, harmless": lambda arm: _refused(arm["refusals"]),
        "most common reply": lambda arm: percent(arm["collapse"]["common"]),
        "perplexity": lambda arm: _figure(arm["perplexity"]["reference"], 1),
        "forward": lambda arm: _figure(arm["perplexity"]["forward"], 1),
        "backward": lambda arm: _figure(arm["perplexity"]["backward"], 1),
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
    return Table("Quality", about, ["model", *kept], rows)


def _categories(arms: Sequence[Facts]) -> Table:
    names = list(arms[0]["verdicts"][0]["categories"])
    rows = []
    for name in names:
        tallies = [arm["verdicts"][0]["categories"][name] for arm in arms]
        rows.append([name, *(_counted(tally) for tally in tallies)])
    judge = arms[0]["verdicts"][0]["judge"]
    about = (
        "Unsafe answers of those with a verdict. Categories are too small to be tested one by one."
    )
    return Table(
        f"Unsafe by category, by {judge}", about, ["category", *(a["name"] for a in arms)], rows
    )


def _counted(tally: Facts) -> str:
    if not tally["share"]:
        return "—"
    return f"{percent(tally['share']['value'])} ({tally['unsafe']:,} of {tally['scored']:,})"


def _ability(arms: Sequence[Facts]) -> Table:
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
        [f"{task} {name}", *(_figure(arm["ability"].get(task, {}).get(name), 4) for arm in asked)]
        for task, name in keys
    ]
    about = "As lm-evaluation-harness gives it."
    return Table("General ability", about, ["task", *(arm["name"] for arm in asked)], rows)


def _share(share: Facts | None) -> str:
    if not share:
        return "—"
    return f"{percent(share['value'])} ({percent(share['low'])} to {percent(share['high'])})"


def _kept(arm: Facts, name: str) -> str:
    value, within = arm[f"{name}_kept"], arm["kept_intervals"].get(name)
    if arm["role"] == "before":
        return "100%"
    return "—" if value is None else part(value, within and (within["low"], within["high"]))


def _figure(value: float | None, digits: int) -> str:
    return "—" if value is None else f"{value:,.{digits}f}"


def _refused(refusals: Facts | None) -> str:
    return _share(refusals and refusals["share"])
