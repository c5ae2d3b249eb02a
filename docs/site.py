"""Builds the documentation site from the pages of the project: ``make docs`` runs it.

The pages lie where a Git host shows them, so their links are relative to the repository. They are
copied to one folder with their links rewritten, and Zensical makes the site of it. Each version has
a folder of its own in the site, and a menu leads from one to the others: keep the folders of older
versions there.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build" / "docs"

PAGES = {
    "README.md": "index.md",
    "docs/tutorial.md": "tutorial.md",
    "docs/audit.md": "audit.md",
    "docs/concepts.md": "concepts.md",
    "docs/guide.md": "guide.md",
    "docs/task-oriented.md": "task-oriented.md",
    "docs/train.md": "train.md",
    "docs/evaluate.md": "evaluate.md",
    "docs/heal.md": "heal.md",
    "docs/judges.md": "judges.md",
    "docs/scale.md": "scale.md",
    "docs/faq.md": "faq.md",
    "docs/cli.md": "cli.md",
    "docs/run.md": "run.md",
    "docs/paper.md": "paper.md",
    "docs/experiments.md": "experiments.md",
    "benchmarks/README.md": "benchmarks.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
"""The pages of the site, by their files in the repository."""

NAVIGATION = {
    "Start": {
        "Quickstart": "index.md",
        "Concepts, with examples": "concepts.md",
        "Questions and messages": "faq.md",
    },
    "Tutorials": {
        "Fine-tune a chat model": "tutorial.md",
        "Audit a corpus": "audit.md",
        "Support and booking dialogues": "task-oriented.md",
        "Heal replies": "heal.md",
    },
    "Guides": {
        "Which setting for which aim": "guide.md",
        "Fine-tuning": "train.md",
        "Evaluating models": "evaluate.md",
        "Judges": "judges.md",
        "Large corpora": "scale.md",
    },
    "Reference": {
        "Commands": "cli.md",
        "Runs, recipes and formats": "run.md",
        "Python": "api.md",
    },
    "Background": {
        "From the paper to the code": "paper.md",
        "Benchmarks": "benchmarks.md",
        "Failed experiments": "experiments.md",
        "Changes": "changelog.md",
        "Contributing": "contributing.md",
    },
}

API = {
    "Curate": ("curate", "curate_to", "redraw_run", "CuratedCorpus", "Change", "Recipe"),
    "Read": ("read_corpus", "ReadingOptions", "Corpus", "Exchange", "Rejected"),
    "Runs": ("Run", "export", "diagnose", "Curation", "Tools"),
    "Heal": ("Healer", "Healed"),
}
"""The names of the page about Python, by section; those that are missing follow in the last one."""

LINK = re.compile(r"(\]\()(?!https?:|#|mailto:)([^)#\s]+)(#[^)\s]*)?\)")


def main() -> None:
    """Stage the pages and build the site; exits with the code of Zensical."""
    shutil.rmtree(BUILD, ignore_errors=True)
    BUILD.mkdir(parents=True)
    for source, target in PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        (BUILD / target).write_text(rewrite_links(text, source), encoding="utf-8")
    (BUILD / "api.md").write_text(write_api_page(), encoding="utf-8")
    config = BUILD.parent / "zensical.toml"
    config.write_text(write_config(read_version()), encoding="utf-8")
    command = [sys.executable, "-m", "zensical", "build", "--clean", "--strict", "-f", str(config)]
    code = subprocess.run(command, check=False, cwd=BUILD.parent).returncode
    if not code:
        list_versions(BUILD.parent / "site")
    raise SystemExit(code)


def list_versions(site: Path) -> None:
    """List the versions in a site for its menu, and lead from its root to the newest one."""
    names = [folder.name for folder in site.iterdir() if folder.is_dir()]
    names.sort(key=lambda name: [int(part) for part in re.findall(r"\d+", name)], reverse=True)
    versions = [{"version": name, "title": name, "aliases": []} for name in names]
    versions[0]["aliases"] = ["latest"]
    (site / "versions.json").write_text(json.dumps(versions, indent=1) + "\n", encoding="utf-8")
    link = f"{names[0]}/index.html"
    page = (
        f'<!doctype html><html lang="en"><title>isaac</title>'
        f'<meta http-equiv="refresh" content="0; url={link}"><a href="{link}">isaac</a></html>\n'
    )
    (site / "index.html").write_text(page, encoding="utf-8")


def write_api_page() -> str:
    """The page about the public names of isaac, which mkdocstrings fills."""
    names = read_public_names()
    known = {name for section in API.values() for name in section}
    sections = {**API, "Errors and others": tuple(name for name in names if name not in known)}
    parts = ["# Python", "Everything here is imported from `isaac`."]
    for title, section in sections.items():
        parts.append(f"## {title}")
        parts += [f"::: isaac.{name}" for name in section if name in names]
    return "\n\n".join(parts) + "\n"


def read_public_names() -> list[str]:
    """The names that isaac exports."""
    text = (ROOT / "src" / "isaac" / "__init__.py").read_text(encoding="utf-8")
    return re.findall(r'^    "(\w+)",$', text.partition("__all__")[2], re.MULTILINE)


def rewrite_links(text: str, source: str) -> str:
    """Make the links of a page lead to the pages of the site, and other files to their names."""

    def rewrite(link: re.Match[str]) -> str:
        file = (ROOT / source).parent.joinpath(link[2]).resolve()
        path = file.relative_to(ROOT).as_posix()
        if path in PAGES:
            return f"{link[1]}{PAGES[path]}{link[3] or ''})"
        if file.is_file():
            shutil.copy(file, BUILD)
            return f"{link[1]}{file.name})"
        raise SystemExit(f"{source}: the site has no page for the link to {link[2]}")

    return LINK.sub(rewrite, text)


def read_version() -> str:
    """The version of isaac, which the site shows."""
    text = (ROOT / "src" / "isaac" / "_version.py").read_text(encoding="utf-8")
    return re.findall(r'__version__ = "([^"]+)"', text)[0]


def write_config(version: str) -> str:
    """The configuration of Zensical; the site loads nothing from elsewhere."""
    sections = []
    for title, pages in NAVIGATION.items():
        listed = ", ".join(f'{{"{name}" = "{page}"}}' for name, page in pages.items())
        sections.append(f'  {{"{title}" = [{listed}]}},')
    navigation = "\n".join(sections)
    return f'''[project]
site_name = "isaac"
site_description = "Make a language model safer from its own training corpus"
docs_dir = "docs"
site_dir = "site/{version}"
use_directory_urls = false
nav = [
{navigation}
]

[project.extra.version]
provider = "mike"

[project.theme]
font = false
features = ["navigation.sections", "content.code.copy", "toc.follow"]

[[project.theme.palette]]
media = "(prefers-color-scheme: light)"
scheme = "default"
toggle.icon = "lucide/moon"
toggle.name = "Dark"

[[project.theme.palette]]
media = "(prefers-color-scheme: dark)"
scheme = "slate"
toggle.icon = "lucide/sun"
toggle.name = "Light"

[project.plugins.mkdocstrings.handlers.python]
paths = ["{(ROOT / "src").as_posix()}"]

[project.plugins.mkdocstrings.handlers.python.options]
docstring_style = "google"
filters = ["!^_"]
heading_level = 3
show_source = false
show_root_heading = true
show_bases = false
show_if_no_docstring = false
separate_signature = true
show_signature_annotations = true
'''


if __name__ == "__main__":
    main()
