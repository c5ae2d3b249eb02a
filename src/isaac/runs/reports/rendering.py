"""Render reports and other pages from Jinja templates."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from markupsafe import Markup

from ...text import make_printable, shorten


def render_markdown(summary: dict[str, Any]) -> str:
    """Render the report of a run as Markdown; ``audits`` may be missing from the summary."""
    return render_template("report.md.jinja", {"audits": [], **summary}, autoescape=False)


def render_html(summary: dict[str, Any], evaluation: str = "") -> str:
    """Render the report of a run as one HTML page, without scripts or external resources.

    ``evaluation`` is the section about evaluated models, as HTML.
    """
    values = {"audits": [], **summary, "evaluation": Markup(evaluation)}
    return render_template("report.html.jinja", values, autoescape=True)


def render_template(name: str, values: dict[str, Any], *, autoescape: bool) -> str:
    """Render a template; `charts` and the shared style sheet are available in it."""
    import jinja2

    from . import charts

    environment = jinja2.Environment(
        autoescape=autoescape,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_make_printable,
    )
    environment.filters |= {"code": _format_code_span, "cell": _format_table_cell}
    text, style = (
        files("isaac").joinpath("runs", "reports", "templates", file).read_text(encoding="utf-8")
        for file in (name, "style.css")
    )
    common = {"charts": charts, "style": Markup(style.rstrip("\n"))}
    return environment.from_string(text).render(**{**common, **values})


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
