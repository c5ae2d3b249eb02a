"""The outputs of a run: lineage, curated corpus, report and manifest."""

from __future__ import annotations

import datetime
import json
import platform
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from .._version import __version__
from ..corpus.corpus import Corpus
from ..corpus.descriptions import MovedFields, has_descriptions
from ..corpus.source_records import SourceRecord
from ..curation.curate import Curation
from ..curation.lineage import first_targets
from ..errors import RunError
from ..runtime.atomic_files import file_sha256, json_sha256, read_json
from ..runtime.progress import Tick, TimedProgress
from ..text import free_name
from .disk_storage import DiskStorage
from .dropped_turns import find_removed_turns
from .reports.rendering import render_html, render_markdown
from .reports.summary import summarize
from .run import CORPUS_FILES, OUTPUT_FILES, REPORT_FILES, Run, describe_damage

AUDIT_FILE = "audit/result.json"
"""The results of the audits of a run, and the SHA-256 of the lineage that they are about."""

EVALUATION_SECTION = "evaluation/section.html"
"""The section about evaluated models in the HTML report of a run."""


def write_outputs(
    run: Run,
    curation: Curation,
    progress: TimedProgress,
    started: float,
    *,
    force: bool = False,
) -> None:
    """Draw, then write lineage, report, curated corpus and, last, the manifest.

    If the verdict is that the method does not apply, no curated corpus is written unless ``force``.
    ``started`` is the value of `time.monotonic` when the job began.
    """
    lineage = curation.decide().lineage
    with run.writing(run.path / "lineage.parquet", "wb") as out:
        pq.write_table(lineage, out, compression="zstd")
    with progress.stage("report"):
        summary = summarize(curation)
        summary["refused"] = summary["diagnosis"]["verdict"] == "does not apply" and not force
    run.remove(*CORPUS_FILES)
    if not summary["refused"]:
        columns = AddedColumns.of(curation)
        with progress.stage("write", len(curation.corpus)) as tick:
            write_lines(run, "curated.jsonl", iter_curated_lines(curation, tick, columns))
            write_lines(run, "untrusted.jsonl", iter_untrusted_lines(curation))
        summary["notes"] += columns.moved.describe() if columns.moved else []
    write_report(run, summary)
    if isinstance(curation.tools.store, DiskStorage):
        curation.tools.store.tidy()
    measured = {
        "platform": platform.platform(),
        "finished": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "seconds": {name: round(value, 3) for name, value in progress.seconds.items()},
        "seconds_total": round(time.monotonic() - started, 3),
        "peak_memory_mib": peak_memory_mib(),
    }
    manifest = _build_manifest(run, curation) | {"measured": measured}
    manifest[FACTS_CHECKSUM] = _hash_facts(summary)
    run.write_manifest(manifest)


def _build_manifest(run: Run, curation: Curation) -> dict[str, Any]:
    """Collect what identifies a run: versions, inputs, encoders, seed, checksums of its outputs."""
    return {
        "isaac": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "pyarrow": pa.__version__,
        "input": [digest._asdict() for digest in curation.corpus.inputs],
        "search": None if curation.neighborhoods is None else curation.neighborhoods.search,
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
            "fitted_on": curation.response_scores.fitted_count,
        },
        "seed": curation.recipe.seed,
        "recipe_sha256": file_sha256(run.path / "recipe.yaml"),
        "input_sha256": file_sha256(run.path / "input.json"),
        "exchanges": len(curation.corpus),
        "rejected": len(curation.corpus.rejected),
        "sha256": {
            name: file_sha256(run.path / name)
            for name in OUTPUT_FILES
            if (run.path / name).exists()
        },
    }


def write_lines(run: Run, name: str, lines: Iterator[str]) -> None:
    """Write a file of the run, line by line."""
    with run.writing(run.path / name) as out:
        for line in lines:
            out.write(line + "\n")


def write_report(run: Run, summary: dict[str, Any]) -> None:
    """Write the report as JSON, Markdown and HTML, with the run's audits and its evaluation."""
    facts = {name: value for name, value in summary.items() if name != "audits"}
    if audits := read_audit_results(run):
        facts["audits"] = audits
    section = run.path / EVALUATION_SECTION
    evaluation = section.read_text(encoding="utf-8") if section.exists() else ""
    run.write(run.path / "report.json", json.dumps(facts, indent=1, ensure_ascii=False) + "\n")
    run.write(run.path / "report.md", render_markdown(facts))
    run.write(run.path / "report.html", render_html(facts, evaluation))


FACTS_CHECKSUM = "report_facts_sha256"
"""Where the manifest has the checksum of a report without audits, which are added later."""


def _hash_facts(facts: dict[str, Any]) -> str:
    """The SHA-256 of what a report says of the run itself."""
    own = {name: value for name, value in facts.items() if name != "audits"}
    return json_sha256(own)


def update_report(run: Run) -> None:
    """Write the report of a finished run again, after an audit or evaluation was added to the run.

    The caller holds the lock of the run.
    """
    manifest, file = run.manifest(), run.path / "report.json"
    facts = read_json(file)
    # A process that stopped here earlier has left a new report and its old checksum, but the same
    # facts about the run.
    if _hash_facts(facts) != manifest.get(FACTS_CHECKSUM):
        raise RunError(describe_damage(file))
    write_report(run, facts)
    # The report has changed, so update its checksums; the manifest is written last.
    for name in REPORT_FILES:
        manifest["sha256"][name] = file_sha256(run.path / name)
    run.write_manifest(manifest)


def read_audit_results(run: Run) -> list[dict[str, Any]]:
    """Read the results of the audits of the run's current draw; those of an older one are void."""
    file = run.path / AUDIT_FILE
    if not file.exists():
        return []
    stored = read_json(file)
    lineage, results = stored.get("lineage"), stored.get("results")
    if isinstance(lineage, str) and lineage != file_sha256(run.path / "lineage.parquet"):
        return []
    if not isinstance(results, list) or stored.get("results_sha256") != json_sha256(results):
        raise RunError(
            f"{file} is damaged or edited: it is not what isaac wrote. Remove it, then audit "
            "again; the labels are in other files, and stay"
        )
    return results


class AddedColumns(NamedTuple):
    """The columns that isaac adds to each record.

    ``names`` maps each one to the name under which it is written. ``as_lists`` is whether a column
    has one entry per curated turn, because a record of the corpus has several. ``moved`` has
    what described an old response, if any record has such a field.
    """

    names: dict[str, str]
    as_lists: bool
    moved: MovedFields | None

    @classmethod
    def of(cls, curation: Curation) -> AddedColumns:
        """Choose the columns for a curation, under names that no record of its corpus has."""
        columns = ["isaac_id", "isaac_action"]
        columns += ["isaac_target"] * (curation.recipe.targets > 1)
        columns += ["isaac_rejected"] * (curation.recipe.mode == "pairs")
        columns += ["isaac_original_response"] * curation.recipe.keep_original
        names = dict(zip(columns, free_names(curation.corpus, columns), strict=True))
        moved = None
        if has_descriptions(part.column("record") for part in curation.corpus.parts(["record"])):
            moved = MovedFields(*free_names(curation.corpus, ["isaac_original"]))
        return cls(names, not bool(curation.corpus.record_starts().all()), moved)

    def fill(
        self,
        ids: list[int],
        actions: list[str],
        target: int,
        rejected: list[str | None],
        originals: list[str | None],
    ) -> dict[str, Any]:
        """Fill the columns for one record, given the values of its turns."""
        values: dict[str, Any] = {"isaac_id": ids, "isaac_action": actions}
        values |= {"isaac_rejected": rejected, "isaac_original_response": originals}
        if not self.as_lists:
            values = {name: next(iter(each), None) for name, each in values.items()}
        values["isaac_target"] = target
        return {name: values[column] for column, name in self.names.items()}


def iter_curated_lines(
    curation: Curation, tick: Tick | None = None, columns: AddedColumns | None = None
) -> Iterator[str]:
    """Yield the records of the input as JSON with the curated responses, once for each target.

    Each record gets ``isaac_id`` and ``isaac_action``, as lists if any record has several curated
    turns, and ``isaac_target`` if the recipe asks for several targets; with ``keep_original``,
    ``isaac_original_response`` has the response that a new one replaced. A conversation ends before
    its first dropped turn, as `find_removed_turns` says; a record without any other curated turn is
    left out. A record in which no turn is trained on stays unchanged. With mode "pairs", only
    records with a pair are written, with the rejected responses as ``isaac_rejected``.
    """
    corpus, pairs = curation.corpus, curation.recipe.mode == "pairs"
    columns = columns or AddedColumns.of(curation)
    rejections = Rejections(curation) if pairs else None
    removed = find_removed_turns(corpus, curation.lineage)
    drawn, reported = curation.drawn(), 0
    for record in corpus.source_records():
        ids = record.ids
        if tick is not None and ids[-1] + 1 - reported >= PROGRESS_EXCHANGES:
            tick(ids[-1] + 1 - reported)
            reported = ids[-1] + 1
        targets = [next(drawn)[1] for _ in ids]
        before = [] if pairs else [SourceRecord(text, [], [], [], []) for text in record.before]
        after = [] if pairs else [SourceRecord(text, [], [], [], []) for text in record.after]
        remaining = int((~removed[ids]).sum())
        for untrained in before:
            yield untrained.as_json({}, columns.fill([], [], 0, [], []), columns.moved)
        if remaining:
            shorter = record.cut_after(remaining)
            yield from _iter_targets(shorter, targets[:remaining], columns, rejections)
        for untrained in after:
            yield untrained.as_json({}, columns.fill([], [], 0, [], []), columns.moved)
    if tick is not None:
        tick(len(corpus) - reported)


def iter_untrusted_lines(curation: Curation) -> Iterator[str]:
    """Yield the records with a dropped turn as they were, tagged with what was decided.

    Each record gets ``isaac_id``, ``isaac_action`` and ``isaac_trust``, as lists if any record has
    several curated turns.
    """
    corpus, first = curation.corpus, first_targets(curation.lineage)
    actions, trust = (first.column(name).to_pylist() for name in ("action", "trust"))
    if "dropped" not in actions:
        return
    as_lists = not bool(corpus.record_starts().all())
    names = free_names(corpus, ["isaac_id", "isaac_action", "isaac_trust"])
    for record in corpus.source_records():
        ids = record.ids
        values = [ids, [actions[i] for i in ids], [round(trust[i], 6) for i in ids]]
        if "dropped" in values[1]:
            flat = values if as_lists else [value[0] for value in values]
            yield record.as_json({}, dict(zip(names, flat, strict=True)))


def _iter_targets(
    record: SourceRecord,
    turn_targets: list[list[tuple[str, str, int]]],
    columns: AddedColumns,
    rejections: Rejections | None,
) -> Iterator[str]:
    """Yield a record as JSON with the curated responses, once for each target."""
    for target in range(max(map(len, turn_targets))):
        # A turn with fewer targets than others of its record repeats its last one.
        chosen = [targets[min(target, len(targets) - 1)] for targets in turn_targets]
        actions = [action for action, _, _ in chosen]
        rejected = [] if rejections is None else rejections.find(record, target, actions)
        if rejections is not None and not any(text is not None for text in rejected):
            continue
        new = {
            exchange_id: text
            for exchange_id, (action, text, _) in zip(record.ids, chosen, strict=True)
            if action == "replaced"
        }
        texts = record.filled(dict(zip(record.ids, record.responses, strict=True)))
        originals = [texts[exchange_id] if exchange_id in new else None for exchange_id in texts]
        added = columns.fill(record.ids, actions, target, rejected, originals)
        yield record.as_json(new, added, columns.moved)


class Rejections:
    """The rejected responses of a curation in mode pairs."""

    def __init__(self, curation: Curation) -> None:
        self.curation = curation
        self.sources: dict[int, list[int | None]] = {}
        columns = (curation.lineage.column(name).to_pylist() for name in ("id", "rejected_id"))
        for number, source in zip(*columns, strict=True):
            self.sources.setdefault(number, []).append(source)

    def find(self, record: SourceRecord, target: int, actions: list[str]) -> list[str | None]:
        """The rejected response of each turn, None for a turn without one.

        It is the untrusted response that the turn is paired with, or, if responses are compared as
        text, the one that was replaced.
        """
        texts: list[str | None] = []
        filled = record.filled(self._originals(record.ids))
        for number, action, original in zip(record.ids, actions, filled.values(), strict=True):
            sources = self.sources[number]
            source = sources[min(target, len(sources) - 1)]
            paired = None if source is None else self._originals([source])[source]
            texts.append(original if action == "replaced" else paired)
        return texts

    def _originals(self, ids: list[int]) -> dict[int, str]:
        return dict(zip(ids, self.curation.original_responses(np.array(ids)), strict=True))


PROGRESS_EXCHANGES = 1000
"""Exchanges between two reports of progress."""


def free_names(corpus: Corpus, names: list[str]) -> list[str]:
    """Make the names of new columns unique: number those that a record already has."""
    taken: set[str] = set()
    for part in corpus.parts(["record"]):
        records = part.column("record")
        for record in records.filter(pc.match_substring(records, "isaac_")).to_pylist():
            taken |= set(json.loads(record))
    return [free_name(name, taken) for name in names]


def peak_memory_mib() -> float | None:
    """The peak memory of this process in MiB; None where the system does not report it."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if platform.system() == "Darwin" else 2**10), 1)
