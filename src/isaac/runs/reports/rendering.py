"""Render reports and other pages from Jinja templates."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from markupsafe import Markup

from ...text import make_printable, short_name, shorten
from .headline import write_headline


def render_markdown(summary: dict[str, Any]) -> str:
    """Render the report of a run as Markdown; ``audits`` may be missing from the summary."""
    return render_template("report.md.jinja", _with_headline(summary), autoescape=False)


def render_html(summary: dict[str, Any], evaluation: str = "") -> str:
    """Render the report of a run as one HTML page, without scripts or external resources.

    ``evaluation`` is the section about evaluated models, as HTML.
    """
    values = {**_with_headline(summary), "evaluation": Markup(evaluation)}
    return render_template("report.html.jinja", values, autoescape=True)


def _with_headline(summary: dict[str, Any]) -> dict[str, Any]:
    """Add what a report shows before its values, and the curve as shares."""
    texts = max(summary["texts_before"], 1)
    variety = [{**point, "variety": point["texts"] / texts} for point in summary["curve"]]
    return {"audits": [], **summary, "headline": write_headline(summary), "variety": variety}


def render_template(name: str, values: dict[str, Any], *, autoescape: bool) -> str:
    """Render a template; `charts` and the shared style sheet are available in it."""
    import jinja2

    from . import charts

    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_read_template),
        autoescape=autoescape,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_make_printable,
    )
    filters = {"code": _format_code_span, "cell": _format_table_cell, "short_name": short_name}
    environment.filters |= filters
    style = Markup(_read_template("style.css").rstrip("\n"))
    environment.globals |= {"charts": charts, "style": style}
    return environment.get_template(name).render(**values)


def _read_template(name: str) -> str:
    folder = files("isaac").joinpath("runs", "reports", "templates")
    return folder.joinpath(name).read_text(encoding="utf-8")


def _make_printable(value: Any) -> Any:
    """What is written of an expression: control characters are visible, whoever wrote the text."""
    if isinstance(value, Markup):
        return Markup(make_printable(value))
    return make_printable(value) if isinstance(value, str) else value


def _format_code_span(text: str, length: int = 300) -> str:
    """Make a Markdown code span that no text of a corpus can close."""
    return "`` " + shorten(text, length).replace("`", "ˋ") + " ``"


def _format_table_cell(text: str) -> str:
    """Make a code span for a cell of a Markdown table, which a vertical bar would end."""
    return _format_code_span(text).replace("|", "\\|")
