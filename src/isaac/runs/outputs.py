"""Outputs."""

from __future__ import annotations

import datetime
import json
import platform
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from .._version import __version__
from ..corpus.corpus import Corpus
from ..corpus.source_records import SourceRecord
from ..curation.curate import Curation
from ..runtime.atomic_files import file_sha256
from ..runtime.progress import Tick, TimedProgress
from ..text import free_name
from .disk_storage import DiskStorage
from .reports.rendering import render_html, render_markdown
from .reports.summary import summarize
from .run import OUTPUT_FILES, Run


def write_outputs(run: Run, curation: Curation, progress: TimedProgress, started: float) -> None:
    """Write lineage, curated corpus, report and, last, the manifest."""
    lineage = curation.decide().lineage
    with progress.stage("write", len(curation.corpus)) as tick:
        with run.writing(run.path / "lineage.parquet", "wb") as out:
            pq.write_table(lineage, out, compression="zstd")
        with run.writing(run.path / "curated.jsonl") as lines:
            for line in iter_curated_lines(curation, tick):
                lines.write(line + "\n")
    with progress.stage("report"):
        write_report(run, summarize(curation))
    if isinstance(curation.tools.store, DiskStorage):
        curation.tools.store.tidy()
    measured = {
        "platform": platform.platform(),
        "finished": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "seconds": {name: round(value, 3) for name, value in progress.seconds.items()},
        "seconds_total": round(time.monotonic() - started, 3),
        "peak_memory_mib": peak_memory_mib(),
    }
    manifest = {
        "isaac": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "pyarrow": pa.__version__,
        "input": [digest._asdict() for digest in curation.corpus.inputs],
        "search": curation.neighborhoods.search,
        "encoders": {
            name: embedded.encoder
            for name, embedded in (
                ("contexts", curation.contexts),
                ("responses", curation.responses),
            )
            if embedded is not None
        },
        "wording": {
            "responses": len(curation.layout.responses),
            "fitted_on": curation.response_scores.fitted,
        },
        "seed": curation.recipe.seed,
        "exchanges": len(curation.corpus),
        "rejected": len(curation.corpus.rejected),
        "sha256": {name: file_sha256(run.path / name) for name in OUTPUT_FILES},
        "measured": measured,
    }
    run.write(run.path / "manifest.json", json.dumps(manifest, indent=2) + "\n")


def write_report(run: Run, summary: dict[str, Any]) -> None:
    """Write the report in its three forms."""
    run.write(run.path / "report.json", json.dumps(summary, indent=1, ensure_ascii=False) + "\n")
    run.write(run.path / "report.md", render_markdown(summary))
    run.write(run.path / "report.html", render_html(summary))


def iter_curated_lines(curation: Curation, tick: Tick | None = None) -> Iterator[str]:
    """Yield the input's own records as JSON, each once for every target, with what was drawn.

    ``isaac_id`` and ``isaac_action`` are added, as lists where several turns of a record were
    curated, and ``isaac_target`` where the recipe asks for several targets. A record with a turn
    that was dropped is left out. Of pairs only records with a turn that was replaced are there,
    with its own responses as ``isaac_rejected``.
    """
    corpus, recipe = curation.corpus, curation.recipe
    every, pairs = recipe.reading.turns == "all", recipe.mode == "pairs"
    added = {"isaac_id": True, "isaac_action": True, "isaac_target": recipe.targets > 1}
    added["isaac_rejected"] = pairs
    names = dict(zip(added, free_names(corpus, list(added)), strict=True))
    drawn, told = curation.drawn(), 0
    for written in corpus.source_records():
        ids = written.ids
        if tick is not None and ids[-1] + 1 - told >= PROGRESS_EXCHANGES:
            tick(ids[-1] + 1 - told)
            told = ids[-1] + 1
        draws = [next(drawn)[1] for _ in ids]
        for target in range(max(map(len, draws))):
            chosen = [options[min(target, len(options) - 1)] for options in draws]
            actions = [action for action, _, _ in chosen]
            if "dropped" in actions or (pairs and "replaced" not in actions):
                continue
            new = {
                i: text
                for i, (action, text, _) in zip(ids, chosen, strict=True)
                if action == "replaced"
            }
            own = _original_responses(curation, written) if pairs else [""]
            values = {
                "isaac_id": ids if every else ids[0],
                "isaac_action": actions if every else actions[0],
                "isaac_target": target,
                "isaac_rejected": own if every else own[0],
            }
            extra = {names[name]: value for name, value in values.items() if added[name]}
            yield written.as_json(new, extra)
    if tick is not None:
        tick(len(corpus) - told)


def _original_responses(curation: Curation, written: SourceRecord) -> list[str]:
    """Return the responses that a record had, as they stand in it."""
    texts = curation.original_responses(np.array(written.ids))
    return list(written.filled(dict(zip(written.ids, texts, strict=True))).values())


PROGRESS_EXCHANGES = 1000
"""Exchanges written between two reports of progress."""


def free_names(corpus: Corpus, names: list[str]) -> list[str]:
    """Return the names, with a number where a record of the corpus has a column of that name."""
    taken: set[str] = set()
    for part in corpus.parts(["record"]):
        records = part.column("record")
        for record in records.filter(pc.match_substring(records, "isaac_")).to_pylist():
            taken |= set(json.loads(record))
    return [free_name(name, taken) for name in names]


def peak_memory_mib() -> float | None:
    """Return the most memory that this process had at once, or None where that is not told."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if platform.system() == "Darwin" else 2**10), 1)
