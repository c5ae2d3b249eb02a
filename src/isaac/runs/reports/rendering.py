"""Rendering."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from ...text import shorten


def render_markdown(summary: dict[str, Any]) -> str:
    """Return the report as Markdown."""
    return render_template("report.md.jinja", summary, autoescape=False)


def render_html(summary: dict[str, Any], evaluation: str = "") -> str:
    """Return the report as one page that loads nothing from elsewhere and runs no script.

    ``evaluation`` is the section on models that were evaluated, as markup.
    """
    values = {**summary, "evaluation": evaluation}
    return render_template("report.html.jinja", values, autoescape=True)


def render_template(name: str, values: dict[str, Any], *, autoescape: bool) -> str:
    """Return a page made of a template and values; the pages of isaac share one style."""
    import jinja2
    from markupsafe import Markup

    from . import charts

    environment = jinja2.Environment(
        autoescape=autoescape,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["code"] = _format_code_span
    text, style = (
        files("isaac").joinpath("runs", "reports", "templates", file).read_text(encoding="utf-8")
        for file in (name, "style.css")
    )
    given = {"charts": charts, "style": Markup(style.rstrip("\n"))}
    return environment.from_string(text).render(**{**given, **values})


def _format_code_span(text: str, length: int = 300) -> str:
    """Return text for a Markdown code span, which no text of a corpus can close."""
    return "`` " + shorten(text, length).replace("`", "ˋ") + " ``"
