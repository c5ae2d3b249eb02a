from __future__ import annotations

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from isaac import Corpus, Recipe, curate, curate_to, summarize
from isaac.reading_options import ReadingOptions
from isaac.runs.reports.rendering import render_html, render_markdown
from tests.conftest import write_lines

HOSTILE = [
    "<script>document.title='owned'</script>",
    "<img src=x onerror=\"document.title='owned'\">",
    "</pre></section><svg onload=\"document.title='owned'\">",
    '"><iframe srcdoc="<script>parent.document.title=\'owned\'</script>">',
    "{{ 7 * 7 }} {% raw %} <a href=\"javascript:document.title='owned'\">x</a>",
    "``` | # heading\n\n---\n[x](javascript:alert(1)) `",
    "\x1b[2J\x1b]0;owned\x07 \u202egnp.exe \x00 bell",
]
CHROMIUM = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)


def hostile_corpus(folder: Path) -> Path:
    rows: list[dict[str, Any]] = []
    for i in range(90):
        text = HOSTILE[i % len(HOSTILE)]
        rows.append({"context": f"{text} question {i % 9}", "response": f"{text} answer {i % 13}"})
    rows += [{"context": text, "response": None} for text in HOSTILE]
    rows += [{"context": text, "response": text, text: text} for text in HOSTILE]
    return write_lines(folder / "<b onclick=x>.jsonl", rows)


class Page(HTMLParser):
    """All tags and attributes of an HTML page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += attrs


def test_the_page_has_no_script_and_loads_nothing(tmp_path: Path) -> None:
    run = curate_to(tmp_path / "run", hostile_corpus(tmp_path), Recipe.redraw_most(neighbors=20))
    page = Page((run.path / "report.html").read_text())
    assert not page.tags & {"script", "iframe", "img", "object", "embed", "link", "form", "b"}
    names = {name for name, _ in page.attributes}
    assert not [name for name in names if name.startswith("on") or name in ("src", "srcdoc")]
    links = [value or "" for name, value in page.attributes if name == "href"]
    assert all(link.startswith("#") for link in links)
    assert "owned" in (run.path / "report.html").read_text()


@pytest.mark.skipif(CHROMIUM is None, reason="headless Chromium is not installed")
def test_no_script_of_a_hostile_corpus_runs_in_a_browser(tmp_path: Path) -> None:
    run = curate_to(tmp_path / "run", hostile_corpus(tmp_path), Recipe.redraw_most(neighbors=20))
    flags = "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking"
    done = subprocess.run(
        [
            str(CHROMIUM),
            *flags.split(),
            "--disable-component-update",
            "--disable-sync",
            f"--user-data-dir={tmp_path / 'profile'}",
            "--virtual-time-budget=3000",
            "--dump-dom",
            (run.path / "report.html").as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    title = re.search(r"<title>(.*?)</title>", done.stdout)
    assert title, done.stderr
    assert title[1] == "isaac report"
    assert "<svg" in done.stdout
    assert "<iframe" not in done.stdout


def test_no_control_character_of_a_corpus_reaches_report_or_terminal(tmp_path: Path) -> None:
    run = curate_to(tmp_path / "run", hostile_corpus(tmp_path), Recipe.redraw_most(neighbors=20))
    for name in ("report.html", "report.md", "report.json"):
        text = (run.path / name).read_text()
        assert not set(text) & {"\x1b", "\x07", "\x00", "\u202e"}, name


def test_json_markdown_and_html_agree(tmp_path: Path, small: Path) -> None:
    run = curate_to(tmp_path / "run", small, Recipe.redraw_most(neighbors=30))
    summary = json.loads((run.path / "report.json").read_text())
    assert summary == json.loads(json.dumps(summarize(run.curation())))
    assert (run.path / "report.html").read_text() == render_html(summary)
    assert (run.path / "report.md").read_text() == render_markdown(summary)
    for text in (render_html(summary), render_markdown(summary)):
        assert f"{summary['kept']} kept" in text
        assert f"{summary['replaced']} replaced" in text
        assert summary["inputs"][0]["sha256"] in text


def test_page_and_markdown_answer_first_and_keep_one_order(tmp_path: Path, small: Path) -> None:
    run = curate_to(tmp_path / "run", small, Recipe.redraw_most(neighbors=30))
    page, text = ((run.path / f"report.{form}").read_text() for form in ("html", "md"))
    assert page.index("Should I trust this result?") < page.index('<h2 id="changed">')
    start = text.index("**What was changed.**")
    assert text.index("## Should I trust this result?") < start < text.index("## Worst cases")
    titles = re.findall(r"^## (.*)", text[start:], re.MULTILINE)
    assert titles[0] == "Worst cases"
    places = [page.index(f">{title}</h2>") for title in titles]
    assert places == sorted(places)


def test_changes_are_filtered_without_a_script(tmp_path: Path, small: Path) -> None:
    run = curate_to(tmp_path / "run", small, Recipe.of({"mode": "filter", "budget": 0.5}))
    page = Page((run.path / "report.html").read_text())
    ids = [value for name, value in page.attributes if name == "id"]
    style = (run.path / "report.html").read_text().partition("</style>")[0]
    for action, hidden in (("replaced", "dropped"), ("dropped", "replaced")):
        assert f"show-{action}" in ids
        assert f"#show-{action}:checked ~ table .{hidden}:not(.part)" in style
    assert ("class", "dropped") in page.attributes


def test_nothing_is_shown_by_hovering_alone(tmp_path: Path, small: Path) -> None:
    run = curate_to(tmp_path / "run", small, Recipe.redraw_most(neighbors=30))
    page = (run.path / "report.html").read_text()
    assert " title=" not in page
    # Each title is that of the page or of a whole chart; one of a mark would be a tooltip.
    assert page.count("<desc>") == page.count("<title>") - 1


def test_the_figures_match_the_lineage(tmp_path: Path, small: Path) -> None:
    run = curate_to(tmp_path / "run", small, Recipe.redraw_most(neighbors=30))
    summary, lineage = run.summary(), run.curation().lineage
    assert summary["kept"] == lineage["action"].to_pylist().count("kept")
    assert sum(rank["mean"] for rank in summary["ranks"]) == pytest.approx(1, abs=1e-3)
    head = lineage["head_share"].to_numpy().mean()
    assert summary["ranks"][0]["mean"] == pytest.approx(head, abs=1e-4)
    assert summary["cases"]["changed"] == 120 - summary["kept"] == len(summary["cases"]["table"])
    assert sum(band["replaced"] for band in summary["isolation"]["bands"]) == summary["replaced"]


def test_notes_warn_if_the_result_means_little() -> None:
    nothing_agrees = [(f"context {i}", response) for i, response in enumerate("abcdefg")]
    notes = " ".join(
        summarize(curate(Corpus.of(nothing_agrees), Recipe.redraw_most(radius=0.1)))["notes"]
    )
    assert "smaller than a neighborhood" in notes
    assert "No two responses agree in the neighborhood of 100.0% of rows" in notes
    uniform = summarize(curate(Corpus.of([("a", "b")]), Recipe.redraw_most(sharpening="uniform")))
    assert "uniform draw favors small clusters" in " ".join(uniform["notes"])
    bland = [(f"context {i}", "same" if i < 60 else f"other {i}") for i in range(120)]
    assert "bland" in " ".join(
        summarize(curate(Corpus.of(bland), Recipe.paper(clusters="text")))["notes"]
    )


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe.redraw_most(),
        Recipe.redraw_most(clusters="text", reading=ReadingOptions(group_by="g")),
        Recipe.redraw_most(targets=3, sharpening="proportional", keep=False),
    ],
)
def test_a_corpus_of_one_exchange_has_a_report_too(recipe: Recipe) -> None:
    groups = ["x"] if recipe.reading.group_by else None
    summary = summarize(curate(Corpus.of([("hi", "hello")], groups), recipe))
    assert "1 kept" in render_markdown(summary)
    assert "1 kept" in render_html(summary)
