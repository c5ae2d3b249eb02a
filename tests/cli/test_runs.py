from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from isaac import Corpus, Recipe, Run, curate
from isaac.cli.demo import measure_exchanges
from isaac.curation import shards
from tests.conftest import RunIsaac, curate_command, write_lines

DRAWS = {
    "lineage.parquet",
    "curated.jsonl",
    "untrusted.jsonl",
    "report.json",
    "report.md",
    "report.html",
}
REDRAW_MOST = ("--recipe", "redraw-most")
SELECTIVE = ("--mode", "selective", "--min-fit", "1")
"""Flags that keep, redraw and drop rows even in a small corpus."""


def outputs(run: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(run)): file.read_bytes()
        for file in sorted(run.rglob("*"))
        if file.is_file() and file.name != "manifest.json"
    }


@pytest.mark.parametrize("flags", [(), REDRAW_MOST, SELECTIVE], ids=" ".join)
def test_curate_writes_a_run_and_says_where_its_report_lies(
    isaac: RunIsaac, small: Path, tmp_path: Path, flags: tuple[str, ...]
) -> None:
    done = isaac("curate", small, "-o", tmp_path / "run", "-k", "30", *flags)
    assert done.code == 0
    assert str(tmp_path / "run" / "report.html") in done.out
    assert {file.name for file in (tmp_path / "run").iterdir()} >= DRAWS | {
        "recipe.yaml",
        "corpus.parquet",
        "rejected.jsonl",
        "input.json",
        "manifest.json",
        "vectors",
    }
    assert (tmp_path / "run" / "shards").exists() == (flags == REDRAW_MOST)
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["search"] == ({"by": "exact"} if flags == REDRAW_MOST else None)
    assert manifest["encoders"]["contexts"].startswith("wordllama ")
    assert manifest["measured"]["peak_memory_mib"] > 0


@pytest.mark.parametrize(
    ("flags", "mode", "missing", "stage"),
    [
        ((), "filter", {"replaced", "abstained"}, "similar responses: 117/117"),
        (REDRAW_MOST, "resample", {"dropped", "abstained"}, "neighborhoods: 120/120"),
        (SELECTIVE, "selective", {"abstained"}, "match: 120/120"),
    ],
)
def test_json_output_is_one_object_and_progress_goes_to_standard_error(
    isaac: RunIsaac,
    small: Path,
    tmp_path: Path,
    flags: tuple[str, ...],
    mode: str,
    missing: set[str],
    stage: str,
) -> None:
    done = isaac("curate", small, "-o", tmp_path / "run", "-k", "30", "-v", "--json", *flags)
    facts = json.loads(done.out)
    counts = {name: facts[name] for name in ("kept", "replaced", "dropped", "abstained")}
    assert facts["exchanges"] == sum(counts.values()) == 120
    assert {name for name, count in counts.items() if not count} == missing
    assert (facts["mode"], facts["refused"], facts["verdict"]) == (mode, False, "doubtful")
    assert stage in done.err


def test_the_verdict_comes_first_with_its_reasons(
    isaac: RunIsaac, small: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    done = isaac("curate", small, "-o", run, "-k", "30")
    assert done.out.splitlines() == [
        "trust it?  Not yet. Too little is known about this corpus. 120 exchanges are too few to "
        "be sure what is common.",
        "done:      120 exchanges: 60 kept, 0 replaced, 60 dropped; 0 rows could not be used",
        "cost:      50.0% of the rows are written; different responses: 117 before, 59 after",
        f"written:   {run / 'curated.jsonl'}; report: {run / 'report.html'}; dropped rows: "
        f"{run / 'untrusted.jsonl'}",
        f"next:      isaac diff {run}  # list every change",
        f"           isaac audit {run}  # label a few hundred responses and get a verdict with "
        "intervals",
    ]


def test_progress_has_four_phases_or_every_stage_or_nothing(
    isaac: RunIsaac, small: Path, tmp_path: Path
) -> None:
    def curate(*flags: str) -> str:
        return isaac("curate", small, "-o", tmp_path / flags[0], *flags[1:]).err

    lines = curate("plain", *SELECTIVE).splitlines()
    phases = [line.rpartition(":")[0] for line in lines if line[1:3] == "/4"]
    assert phases == ["1/4 reading", "2/4 comparing", "3/4 choosing", "4/4 writing"]
    assert not any("chosen from the corpus" in line for line in lines)
    assert curate("quiet", "-q") == ""
    verbose = curate("verbose", "-v")
    assert "embed contexts: 1" in verbose
    assert "chosen from the corpus: mode filter: 120 exchanges" in verbose
    both = isaac("curate", small, "-o", tmp_path / "both", "-q", "-v")
    assert both.code == 2


def test_a_budget_may_be_a_percentage(isaac: RunIsaac, small: Path, tmp_path: Path) -> None:
    done = isaac("curate", small, "-o", tmp_path / "run", "--mode", "filter", "--budget", "30%")
    assert "84 kept, 0 replaced, 36 dropped" in done.out
    assert Recipe.load(tmp_path / "run" / "recipe.yaml").budget == 0.3
    assert isaac("redraw", tmp_path / "run", "--budget", "many%").code == 2


@pytest.mark.parametrize(
    "mode",
    [
        (*REDRAW_MOST, "--clusters", "components"),
        (*REDRAW_MOST, "--clusters", "cover"),
        (*REDRAW_MOST, "--clusters", "text"),
        SELECTIVE,
        (),
    ],
    ids=" ".join,
)
def test_any_number_of_workers_gives_the_same_bytes(
    isaac: RunIsaac,
    small: Path,
    tmp_path: Path,
    mode: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shards, "SHARD_NEIGHBORHOODS", (16, 16))
    for workers in ("1", "2", "5"):
        flags = ("-k", "30", "--radius", "1", *mode, "--workers", workers)
        assert isaac("curate", small, "-o", tmp_path / workers, *flags).code == 0
    shard_files = list((tmp_path / "1").glob("shards/*"))
    assert len(shard_files) == (8 if mode[:2] == REDRAW_MOST else 0)
    assert outputs(tmp_path / "1") == outputs(tmp_path / "2") == outputs(tmp_path / "5")


@pytest.mark.parametrize("flags", [(), REDRAW_MOST, SELECTIVE], ids=" ".join)
def test_labels_never_reach_the_draws(
    isaac: RunIsaac, tmp_path: Path, exchanges: list[dict[str, str]], flags: tuple[str, ...]
) -> None:
    for name, labels in (("a", 2), ("b", 3)):
        rows = [{**row, "label": i % labels} for i, row in enumerate(exchanges)]
        write_lines(tmp_path / name / "in.jsonl", rows)
        out = ("-o", tmp_path / name / "run", "-k", "30")
        assert isaac("curate", tmp_path / name / "in.jsonl", *out, *flags).code == 0
    a, b = (outputs(tmp_path / name / "run") for name in "ab")
    assert a["lineage.parquet"] == b["lineage.parquet"]
    assert a.get("shards/00000.parquet") == b.get("shards/00000.parquet")
    assert ("shards/00000.parquet" in a) == (flags == REDRAW_MOST)


def test_dry_run_says_what_was_recognised_and_makes_nothing(
    isaac: RunIsaac, small: Path, tmp_path: Path
) -> None:
    done = isaac("curate", small, "-o", tmp_path / "run", "--dry-run")
    assert done.code == 0
    assert "detected 120 exchanges: 120 as context_response" in done.out
    assert done.out.count("  context:  ") == 3
    assert "MiB on this machine" in done.out
    assert not (tmp_path / "run").exists()
    planned = json.loads(isaac("curate", small, "--dry-run", "--json").out)
    assert planned["exchanges"] == 120
    assert planned["seconds"] > 0
    assert len(planned["samples"]) == 3


def test_dry_run_plans_groups_and_equal_texts(
    isaac: RunIsaac, tmp_path: Path, exchanges: list[dict[str, str]]
) -> None:
    write_lines(
        tmp_path / "in.jsonl", [{**row, "act": str(i % 4)} for i, row in enumerate(exchanges)]
    )
    by_act = ("curate", tmp_path / "in.jsonl", "--dry-run", "--group-by", "act")
    assert "mode filter: 120 exchanges are too few" in isaac(*by_act).out
    done = isaac(*by_act, *REDRAW_MOST)
    assert "neighborhoods: about" in done.out
    done = isaac("curate", tmp_path / "in.jsonl", "--dry-run", "--clusters", "text")
    assert "responses" not in done.out.split("exchange 0")[0].replace("exchanges", "")


def test_bad_rows_are_counted_named_and_kept_verbatim(
    isaac: RunIsaac, small: Path, tmp_path: Path
) -> None:
    bad = [
        b'{"context": "a", "response": ',
        b'{"context": "\xff", "response": "b"}',
        b'{"context": "c"}',
    ]
    source = tmp_path / "in.jsonl"
    source.write_bytes(small.read_bytes() + b"\n".join(bad) + b"\n")
    done = isaac("curate", source, "-o", tmp_path / "run", "-k", "30")
    assert done.code == 0
    assert "3 rows could not be used" in done.out
    rejected = [
        json.loads(line) for line in (tmp_path / "run" / "rejected.jsonl").read_text().splitlines()
    ]
    assert [row["line"] for row in rejected] == [121, 122, 123]
    for form in ("report.html", "report.md"):
        text = (tmp_path / "run" / form).read_text()
        assert all(f"{line}" in text for line in (121, 122, 123))
        assert "broken JSON" in text
    assert [row.raw for row in Run(tmp_path / "run").corpus().rejected] == bad


def test_one_row_is_a_corpus(isaac: RunIsaac, tmp_path: Path) -> None:
    write_lines(tmp_path / "in.jsonl", [{"prompt": "hi", "completion": "hello"}])
    for name, flags in (("run", ()), ("most", (*REDRAW_MOST, "--force"))):
        done = isaac("curate", tmp_path / "in.jsonl", "-o", tmp_path / name, *flags)
        assert done.code == 0
        assert "1 exchange: 1 kept" in done.out
        record = json.loads((tmp_path / name / "curated.jsonl").read_text())
        added = {"isaac_id": 0, "isaac_action": "kept"}
        assert record == {"prompt": "hi", "completion": "hello", **added}
        assert (tmp_path / name / "untrusted.jsonl").read_bytes() == b""
    assert "1 of 50 exchanges" in done.err


def test_standard_input_is_read_and_resumed(isaac: RunIsaac, small: Path, tmp_path: Path) -> None:
    line = [sys.executable, "-m", "isaac", "curate", "-", "-o", str(tmp_path / "run"), "-k", "30"]
    for _ in range(2):
        done = subprocess.run(line, input=small.read_bytes(), capture_output=True, check=True)
    assert b"120 exchanges" in done.stdout
    other = subprocess.run(line, input=b'{"context": "a", "response": "b"}\n', capture_output=True)
    assert other.returncode == 1
    assert b"another input" in other.stderr


def test_flags_stand_over_the_recipe_file(isaac: RunIsaac, small: Path, tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("neighbors: 20\nradius: 0.9\n")
    isaac(
        "curate",
        small,
        "-o",
        tmp_path / "run",
        "--recipe",
        tmp_path / "r.yaml",
        "-k",
        "25",
        "--no-keep",
    )
    assert Run(tmp_path / "run").recipe() == Recipe(neighbors=25, radius=0.9, keep=False)
    for name in (("--paper",), ("--recipe", "paper"), ("--paper", "--recipe", "paper")):
        isaac("curate", small, *name, "-k", "25", "-o", tmp_path / "paper")
        assert Run(tmp_path / "paper").recipe() == Recipe.paper(neighbors=25)
    flags = (*REDRAW_MOST, "-k", "25")
    assert isaac("curate", small, *flags, "-o", tmp_path / "most").code == 0
    assert Run(tmp_path / "most").recipe() == Recipe.redraw_most(neighbors=25)
    done = isaac("curate", small, "--paper", "--recipe", tmp_path / "r.yaml", "-o", tmp_path / "x")
    assert done.code == 2
    assert "--paper and --recipe exclude each other" in done.err
    (tmp_path / "bad.yaml").write_text("neighbours: 20\n")
    done = isaac("curate", small, "-o", tmp_path / "other", "--recipe", tmp_path / "bad.yaml")
    assert done.code == 2
    assert "neighbours" in done.err


@pytest.mark.parametrize(
    "base",
    [
        (),
        SELECTIVE,
        REDRAW_MOST,
        ("--paper",),
        (*REDRAW_MOST, "-k", "30", "--clusters", "text"),
    ],
    ids=" ".join,
)
def test_redraw_gives_what_curating_afresh_would(
    isaac: RunIsaac, small: Path, tmp_path: Path, base: tuple[str, ...]
) -> None:
    isaac("curate", small, "-o", tmp_path / "run", *base)
    flags = ("--sharpening", "proportional", "--targets", "3", "--seed", "9")
    isaac("curate", small, "-o", tmp_path / "fresh", *base, *flags)
    assert isaac("redraw", tmp_path / "run", "-o", tmp_path / "new", *flags).code == 0
    assert outputs(tmp_path / "new") == outputs(tmp_path / "fresh")
    assert isaac("redraw", tmp_path / "run", *flags).code == 0
    assert outputs(tmp_path / "run") == outputs(tmp_path / "fresh")
    assert isaac("redraw", tmp_path / "run", "--neighbors", "9").code == 2


def test_explain_tells_a_rows_story(isaac: RunIsaac, small: Path, tmp_path: Path) -> None:
    isaac("curate", small, "-o", tmp_path / "run", "-k", "30", *REDRAW_MOST)
    done = isaac("explain", tmp_path / "run", "3")
    assert "the nearest contexts" in done.out
    assert "rank 1" in done.out
    story: dict[str, Any] = json.loads(isaac("explain", tmp_path / "run", "3", "--json").out)
    assert story["neighbors"][0]["context"] == story["context"]
    assert abs(sum(cluster["odds"] for cluster in story["clusters"]) - 1) < 1e-4
    assert sum(cluster["size"] for cluster in story["clusters"]) <= story["neighborhood"] <= 30
    isaac("curate", small, "-o", tmp_path / "paper", "-k", "30", "--paper")
    story = json.loads(isaac("explain", tmp_path / "paper", "3", "--json").out)
    assert story["neighborhood"] == 30
    assert story["all_clusters"] >= len(story["clusters"]) == 10
    done = isaac("explain", tmp_path / "run", "120")
    assert done.code == 1
    assert "from 0 to 119" in done.err


def test_report_and_env_print_text_or_json(isaac: RunIsaac, small: Path, tmp_path: Path) -> None:
    isaac("curate", small, "-o", tmp_path / "run", "-k", "30")
    assert isaac("report", tmp_path / "run").out.startswith("# ")
    assert json.loads(isaac("report", tmp_path / "run", "--json").out)["exchanges"] == 120
    assert json.loads(isaac("env", "--json").out)["wordllama"]
    assert "extra st" in isaac("env").out
    assert isaac("--version").out.strip()


def test_heal_answers_every_line_and_loses_none(small: Path, tmp_path: Path) -> None:
    command = [*curate_command(small, tmp_path / "run"), "--recipe", "redraw-most"]
    subprocess.run(command, check=True, capture_output=True)
    first = json.loads(small.read_text().splitlines()[0])
    lines = [
        json.dumps({**first, "response": "Nobody cares about that.", "note": 7}),
        "broken",
        '{"context": "x"}',
        "[1]",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "isaac", "heal", str(tmp_path / "run")],
        input="\n".join(lines),
        capture_output=True,
        text=True,
        check=True,
    )
    healed = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(healed) == 4
    assert healed[0]["isaac_action"] == "replaced"
    assert healed[0]["response"] != "Nobody cares about that."
    assert healed[0]["note"] == 7
    assert [row["isaac_action"] for row in healed[1:]] == ["rejected"] * 3
    assert [row["raw"] for row in healed[1:]] == lines[1:]


def test_demo_prints_shares_report_and_three_healed_replies(
    isaac: RunIsaac, tmp_path: Path
) -> None:
    done = isaac("demo", "-o", tmp_path / "demo")
    assert done.code == 0
    assert re.search(r"unsafe in context, before: +12\.1% \(160 of 1,320\)", done.out)
    assert done.out.count("healed: ") == 3
    assert str(tmp_path / "demo" / "report.html") in done.out
    labelled = (tmp_path / "demo" / "labelled.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["label"] for line in labelled].count("unsafe") == 160
    facts = json.loads(isaac("demo", "-o", tmp_path / "demo", "--json").out)
    assert facts["unsafe_by_source"] < facts["unsafe_before"] / 4
    assert facts["right"] <= 1 - facts["unsafe_in_context"] + facts["unsafe_by_source"]
    assert facts["texts_after"] <= facts["texts_before"] == 1214
    assert len(facts["healed"]) == 3


@pytest.mark.parametrize("mode", ["resample", "filter"])
def test_the_demo_measures_every_mode_by_label_and_situation(mode: str) -> None:
    # 40 rows: those of an even number are of situation a; rows 0 to 3 are unsafe.
    corpus = Corpus.of((f"question {row}", f"answer {row % 7}") for row in range(40))
    unsafe = [row < 4 for row in range(40)]
    situations = ["ab"[row % 2] for row in range(40)]
    fields = {"context_encoder": "hashing", "response_encoder": "hashing", "neighbors": 20}
    curation = curate(corpus, Recipe.of({**fields, "mode": mode, "budget": 0.5}))
    found = measure_exchanges(curation, unsafe, situations)
    lines = [line for line in curation.lineage.to_pylist() if line["action"] != "dropped"]
    pairs = [(line["id"], line["source_id"]) for line in lines]
    kept = {i for i, j in pairs if i % 7 == j % 7}
    redrawn = [(i, j) for i, j in pairs if i % 7 != j % 7]
    wrong = [(i, j) for i, j in pairs if unsafe[j] or i % 2 != j % 2]
    assert found.written == (len(pairs), 40)
    assert found.unsafe_before == (4, 40)
    assert found.unsafe_in_context == (len(wrong), len(pairs))
    assert found.unsafe_by_source == (sum(unsafe[j] for _, j in pairs), len(pairs))
    assert found.right_redrawn == (sum(i % 2 == j % 2 for i, j in redrawn), len(redrawn))
    assert found.touched_unsafe == (sum(i not in kept for i in range(4)), 40 - len(kept))
    assert found.safe_touched == (sum(i not in kept for i in range(4, 40)), 36)
    assert found.safe_wrong == (sum(i >= 4 for i, _ in wrong), 36)
    assert found.texts == (7, len({j % 7 for _, j in pairs}))


def test_demo_of_bookings_takes_the_polluted_turns_out(isaac: RunIsaac, tmp_path: Path) -> None:
    done = isaac("demo", "--bookings", "-o", tmp_path / "demo")
    assert done.code == 0
    assert "before: 5.9% (22 of 371)" in done.out
    labelled = (tmp_path / "demo" / "labelled.jsonl").read_text(encoding="utf-8")
    assert labelled.count('"label": "polluted"') == 22
    facts = json.loads(isaac("demo", "--bookings", "-o", tmp_path / "demo", "--json").out)
    assert facts["polluted_after"] < facts["polluted_before"] / 10
    assert facts["same"] > 0.6


def test_redraw_in_place_takes_old_exports_away(
    isaac: RunIsaac, small: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    isaac("curate", small, "-o", run, "-k", "30")
    isaac("export", run, "--as", "sft")
    assert isaac("redraw", run, "-o", run, "--seed", "5").code == 0
    assert not (run / "export").exists()
    assert Run(run).recipe().seed == 5


def test_a_corpus_that_lies_elsewhere_gives_the_same_bytes(
    isaac: RunIsaac, small: Path, tmp_path: Path
) -> None:
    (tmp_path / "there").mkdir()
    shutil.copy(small, tmp_path / "there")
    isaac("curate", small, "-o", tmp_path / "a", "-k", "30")
    isaac("curate", tmp_path / "there" / small.name, "-o", tmp_path / "b", "-k", "30")
    assert outputs(tmp_path / "a") == outputs(tmp_path / "b")


def test_output_is_utf8_whatever_the_terminal_says(isaac: RunIsaac, tmp_path: Path) -> None:
    write_lines(tmp_path / "in.jsonl", [{"prompt": "何", "completion": "\u2019日本"}] * 2)
    isaac("curate", tmp_path / "in.jsonl", "-o", tmp_path / "run")
    done = subprocess.run(
        [sys.executable, "-m", "isaac", "explain", str(tmp_path / "run"), "0"],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "latin-1"},
    )
    assert "日本" in done.stdout.decode("utf-8")


def test_piped_into_head_a_command_ends_quietly(
    isaac: RunIsaac, small: Path, tmp_path: Path
) -> None:
    isaac("curate", small, "-o", tmp_path / "run", "-k", "30")
    line = f"'{sys.executable}' -m isaac report '{tmp_path / 'run'}' --json | head -c 10"
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True)
    assert len(done.stdout) == 10
    assert done.stderr == ""


def test_heal_keeps_the_columns_that_a_record_has(
    isaac: RunIsaac, small: Path, tmp_path: Path
) -> None:
    isaac("curate", small, "-o", tmp_path / "run", "-k", "30")
    first = json.loads(small.read_text().splitlines()[0])
    line = b"\xef\xbb\xbf" + json.dumps({**first, "isaac_action": "mine"}).encode() + b"\n\xff\n"
    done = subprocess.run(
        [sys.executable, "-m", "isaac", "heal", str(tmp_path / "run")],
        input=line,
        capture_output=True,
        check=True,
    )
    healed, rejected = map(json.loads, done.stdout.decode().splitlines())
    assert healed["isaac_action"] == "mine"
    assert healed["isaac_action_2"] in ("kept", "replaced")
    assert rejected["raw_base64"] == "/w=="


def test_dry_run_plans_what_a_view_needs(
    isaac: RunIsaac, tmp_path: Path, exchanges: list[dict[str, str]]
) -> None:
    rows = [{**row, "act": str(i % 4)} for i, row in enumerate(exchanges)]
    source = write_lines(tmp_path / "in.jsonl", rows)
    by_act = ("curate", source, "--dry-run", "--group-by", "act", *REDRAW_MOST)
    equal = isaac(*by_act, "--clusters", "text").out
    assert "wordllama" not in equal
    assert "choose" not in equal
    assert "embed 120 contexts with wordllama" in isaac(*by_act).out
    assert "choose view and radius" in isaac(*by_act, "--view", "residual").out
    settled = isaac("curate", source, "--dry-run", "--paper").out
    assert "neighborhoods: about" in settled
    assert "choose" not in settled
