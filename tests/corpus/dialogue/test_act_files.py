from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from isaac.corpus.dialogue.acts import act_string
from isaac.corpus.dialogue.multiwoz import ACTS_COLUMN
from isaac.corpus.dialogue.readers import READERS
from tests.conftest import CommandResult, RunIsaac

Json = dict[str, Any]

INNS = ["Fern Lodge", "The Old Mill", "Sea View", "Marsh House"]
DIALOGUES = 16
FILES = {"multiwoz20": "dialogue_acts.json", "multiwoz22": "dialog_acts.json"}
FLAGS = ("--no-trim", "--clusters", "text", "--encoder", "hashing")


def response_of(number: int) -> tuple[str, str, str]:
    """A name, an act and a response; the acts differ, but name the same slot."""
    name = INNS[number % len(INNS)]
    if number % 2:
        return name, "Hotel-Recommend", f"I would take {name} ."
    return name, "Hotel-Inform", f"It is called {name} ."


def release20() -> dict[str, Any]:
    """The files of a 2.0 release: acts keyed by dialogue, without .json, and system turn."""
    dialogues, acts = {}, {}
    for number in range(DIALOGUES):
        name, act, text = response_of(number)
        log = [{"text": each, "metadata": {}} for each in ("A room ?", text, "Thanks .", "Bye .")]
        dialogues[f"INN{number:04}.json"] = {"goal": {}, "log": log}
        bye = {"general-bye": [["none", "none"]]} if number else "No Annotation"
        acts[f"INN{number:04}"] = {"1": {act: [["Name", name]]}, "2": bye}
    return {"data.json": dialogues, "dialogue_acts.json": acts, "valListFile.json": {}}


def release22() -> dict[str, Any]:
    """The files of a 2.2 release: acts keyed by dialogue and turn, with positions."""
    files: dict[str, Any] = {"dialog_acts.json": {}, "schema.json": []}
    for number in range(DIALOGUES):
        name, act, text = response_of(number)
        texts = ("A room ?", text, "Thanks .", "Bye .")
        turns: list[Json] = [
            {
                "speaker": "SYSTEM" if index % 2 else "USER",
                "turn_id": str(index),
                "utterance": each,
                "frames": [],
            }
            for index, each in enumerate(texts)
        ]
        start = text.index(name)
        span = [act, "name", name, start, start + len(name)]
        files["dialog_acts.json"][f"INN{number:04}.json"] = {
            "1": {"dialog_act": {act: [["name", name]]}, "span_info": [span]},
            "3": {"dialog_act": {"general-bye": [["none", "none"]]}, "span_info": []},
        }
        part = files.setdefault(f"{'dev' if number > 11 else 'train'}/dialogues_001.json", [])
        part.append({"dialogue_id": f"INN{number:04}.json", "services": [], "turns": turns})
    return files


RELEASES = {"multiwoz20": release20, "multiwoz22": release22}


def write_folder(files: Json, folder: Path) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(content, indent=1), encoding="utf-8")
    return folder


def write_zip(files: Json, path: Path) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(f"MW/{name}", json.dumps(content))
    return path


def curate(
    isaac: RunIsaac, source: object, layout: str, run: Path, *flags: object
) -> CommandResult:
    return isaac("curate", "--force", source, "--format", layout, "-o", run, *FLAGS, *flags)


def read_lines(path: Path) -> list[Json]:
    return [json.loads(line) for line in path.read_text("utf-8").split("\n") if line]


def neighborhood_size(isaac: RunIsaac, run: Path, row: int) -> int:
    """The number of turns in the neighborhood of a row."""
    return int(json.loads(isaac("explain", run, row, "--json").out)["neighborhood"])


def acts_of(layout: str, record: Json) -> list[str]:
    dialogue = READERS[layout].read(record)
    return [act_string(turn.acts) for turn in dialogue.turns if turn.role == "assistant"]


@pytest.fixture(params=RELEASES)
def layout(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("packed", [True, False])
def test_turns_are_grouped_by_the_acts_of_a_separate_file(
    isaac: RunIsaac, tmp_path: Path, layout: str, packed: bool
) -> None:
    files = RELEASES[layout]()
    source = (
        write_zip(files, tmp_path / "mw.zip") if packed else write_folder(files, tmp_path / "mw")
    )
    done = curate(isaac, source, layout, tmp_path / "run")
    assert done.code == 0, done.err
    where = f"mw.zip/MW/{FILES[layout]}" if packed else FILES[layout]
    assert f"read the acts of 16 dialogues from {where}\n" in done.err
    assert neighborhood_size(isaac, tmp_path / "run", 0) == DIALOGUES // 2
    assert not (tmp_path / "run" / "rejected.jsonl").read_text()
    dry = isaac("curate", source, "--format", layout, "--dry-run")
    assert (dry.err, dry.code) == (f"read the acts of 16 dialogues from {where}\n", 0)


def test_a_missing_act_file_is_reported(isaac: RunIsaac, tmp_path: Path, layout: str) -> None:
    files = RELEASES[layout]()
    del files[FILES[layout]]
    done = curate(isaac, write_folder(files, tmp_path / "mw"), layout, tmp_path / "run")
    names = " or ".join(["dialogue_acts.json", "system_acts.json"])
    expected = names if layout == "multiwoz20" else "dialog_acts.json"
    assert f"16 dialogues without acts: no {expected} next to them\n" in done.err
    report = (tmp_path / "run" / "report.md").read_text(encoding="utf-8")
    assert f"The acts of {2 * DIALOGUES} of {2 * DIALOGUES} turns are not annotated." in report


def test_the_curated_corpus_has_its_acts_and_reads_back(
    isaac: RunIsaac, tmp_path: Path, layout: str
) -> None:
    source = write_zip(RELEASES[layout](), tmp_path / "mw.zip")
    first, second = tmp_path / "a" / "first", tmp_path / "a" / "second"
    assert curate(isaac, source, layout, first).code == 0
    done = curate(isaac, first / "curated.jsonl", layout, second)
    assert done.code == 0
    assert "acts" not in done.err.replace("contexts", "")
    made = read_lines(first / "curated.jsonl")
    assert acts_of(layout, made[1]) == ["hotel-recommend-name", "general-bye"]
    assert all(len(acts_of(layout, record)) == 2 for record in made)
    assert neighborhood_size(isaac, second, 0) == DIALOGUES // 2
    again = read_lines(second / "curated.jsonl")
    assert [record[ACTS_COLUMN] for record in again] == [record[ACTS_COLUMN] for record in made]
    found = isaac("score", second, "--gold", source, "--format", layout)
    assert found.code == 0, found.err
    assert "slot error rate 0.0%: 0 missing and 0 superfluous of 16 placeholders" in found.out


def test_the_same_release_gives_the_same_bytes(
    isaac: RunIsaac, tmp_path: Path, layout: str
) -> None:
    source = write_folder(RELEASES[layout](), tmp_path / "mw")
    for run in ("a", "b"):
        assert curate(isaac, source, layout, tmp_path / run, "--seed", 3).code == 0
    for name in ("curated.jsonl", "corpus.parquet", "lineage.parquet", "input.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.parametrize("part", ["train/dialogues_001.json", "train"])
def test_a_part_of_a_release_uses_the_act_file_in_the_folder_above(
    isaac: RunIsaac, tmp_path: Path, part: str
) -> None:
    source, run = write_folder(release22(), tmp_path / "mw"), tmp_path / "run"
    done = curate(isaac, source / part, "multiwoz22", run)
    assert "read the acts of 12 dialogues from ../dialog_acts.json\n" in done.err
    assert neighborhood_size(isaac, run, 0) == 6
    digests = json.loads((run / "input.json").read_text())["files"]
    assert [one["name"] for one in digests] == ["../dialog_acts.json", "dialogues_001.json"]
    scored = isaac("score", source / part)
    assert "read the acts of 12 dialogues from ../dialog_acts.json\n" in scored.err


def test_a_changed_act_file_is_another_input(isaac: RunIsaac, tmp_path: Path, layout: str) -> None:
    files, run = RELEASES[layout](), tmp_path / "run"
    folder = write_folder(files, tmp_path / "mw")
    source = folder / "data.json" if layout == "multiwoz20" else folder
    assert curate(isaac, source, layout, run).code == 0
    assert curate(isaac, source, layout, run).code == 0
    (folder / FILES[layout]).write_text(json.dumps(files[FILES[layout]]), encoding="utf-8")
    done = curate(isaac, source, layout, run)
    assert (done.code, "contains a run of another input" in done.err) == (1, True)


def test_a_limit_does_not_change_the_acts(isaac: RunIsaac, tmp_path: Path, layout: str) -> None:
    source, run = write_folder(RELEASES[layout](), tmp_path / "mw"), tmp_path / "run"
    assert curate(isaac, source, layout, run, "--limit", 20).code == 0
    assert neighborhood_size(isaac, run, 0) == 5
    assert curate(isaac, source, layout, run, "--limit", 20).code == 0


def test_dialogues_that_do_not_match_the_act_file_are_counted(
    isaac: RunIsaac, tmp_path: Path, layout: str
) -> None:
    files = RELEASES[layout]()
    acts = files[FILES[layout]]
    names = list(acts)
    acts[names[0]]["9"] = acts[names[0]]["1"]
    del acts[names[1]], acts[names[2]]
    source, out = write_zip(files, tmp_path / "mw.zip"), tmp_path / "out.json"
    message = (
        f"read the acts of 13 dialogues from mw.zip/MW/{FILES[layout]}; "
        "2 dialogues without acts: not in the act files; "
        "1 dialogue without acts: the act files number their turns differently\n"
    )
    done = curate(isaac, source, layout, tmp_path / "run")
    assert message in done.err
    made = {one["dialogue_id"]: one for one in read_lines(tmp_path / "run" / "curated.jsonl")}
    assert [ACTS_COLUMN in made[name] for name in sorted(made)] == [False] * 3 + [True] * 13
    done = isaac("pollute", source, "--format", layout, "-o", out, "--truth", tmp_path / "t.jsonl")
    assert (done.code, message in done.err) == (0, True)


@pytest.mark.parametrize("packed", [True, False])
def test_a_polluted_release_keeps_its_acts_and_can_be_scored(
    isaac: RunIsaac, tmp_path: Path, layout: str, packed: bool
) -> None:
    files = RELEASES[layout]()
    gold = write_zip(files, tmp_path / "mw.zip") if packed else write_folder(files, tmp_path / "mw")
    out, truth = tmp_path / "out" / "polluted.json", tmp_path / "out" / "truth.jsonl"
    out.parent.mkdir()
    flags = ("--format", layout, "--rate", 0.5)
    done = isaac("pollute", gold, "-o", out, "--truth", truth, *flags)
    assert done.code == 0, done.err
    assert f"{FILES[layout]}\n" in done.err
    assert f"contain no dialogues: {FILES[layout]}" not in done.err
    document = json.loads(out.read_text(encoding="utf-8"))
    records = document if isinstance(document, list) else list(document.values())
    assert len(records) == DIALOGUES
    assert all(ACTS_COLUMN in record for record in records)
    if layout == "multiwoz22":
        for record in records:
            ((_, _, value, start, end),) = record[ACTS_COLUMN]["1"]["span_info"]
            assert record["turns"][1]["utterance"][start:end] == value
    done = curate(isaac, out, layout, tmp_path / "run", "--abstain", 0)
    assert done.code == 0, done.err
    assert neighborhood_size(isaac, tmp_path / "run", 0) == DIALOGUES // 2
    score = isaac("score", tmp_path / "run", "--gold", gold, "--truth", truth, "--format", layout)
    assert score.code == 0, score.err
    assert "0 missing and 0 superfluous of 16 placeholders" in score.out


def test_acts_in_the_record_take_precedence_over_the_act_file(
    isaac: RunIsaac, tmp_path: Path
) -> None:
    files = release20()
    acts = files.pop("dialogue_acts.json")
    for number, record in enumerate(files["data.json"].values()):
        for index, own in acts[f"INN{number:04}"].items() if number else ():
            record["log"][2 * int(index) - 1]["dialog_act"] = own
    wrong = {name: {"1": {"Taxi-Inform": [["Car", "x"]]}} for name in acts if name != "INN0000"}
    files["system_acts.json"] = {"INN0000": acts["INN0000"], **wrong}
    done = curate(isaac, write_zip(files, tmp_path / "mw.zip"), "multiwoz21", tmp_path / "run")
    assert "read the acts of 1 dialogue from mw.zip/MW/system_acts.json\n" in done.err
    assert neighborhood_size(isaac, tmp_path / "run", 0) == DIALOGUES // 2


def test_an_act_file_in_an_archive_applies_to_that_archive_only(
    isaac: RunIsaac, tmp_path: Path
) -> None:
    files, folder = release20(), tmp_path / "in"
    folder.mkdir()
    write_zip(files, folder / "a.zip")
    other: Json = {name: {"1": {"Taxi-Inform": []}} for name in files["dialogue_acts.json"]}
    write_zip({**files, "dialogue_acts.json": other}, folder / "b.zip")
    assert curate(isaac, folder, "multiwoz20", tmp_path / "run").code == 0
    made = read_lines(tmp_path / "run" / "curated.jsonl")
    found = [acts_of("multiwoz20", record)[0] for record in made]
    assert found == ["hotel-inform-name", "hotel-recommend-name"] * 8 + ["taxi-inform"] * 16


ACT = '{"1": {"Hotel-Inform": [["Name", "x"]]}}'


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "is not a JSON object of dialogue ids and their acts"),
        ("[1]", "is not a JSON object of dialogue ids and their acts"),
        (f'{{"INN0000": {ACT},\n"INN0001": {{"1"', "line 2: broken JSON"),
        (f'{{"INN0000": {ACT},\n"INN0001": 5}}', "line 2: the acts of 'INN0001' cannot be used"),
        (f'{{"A": {ACT},\n"A.json": {{}}}}', "line 2: the acts of 'A.json' appear twice"),
        (f'{{"A": {ACT}}} more', "there is more after the end of the object"),
        (b"\xff\xfe", "is not a JSON object of dialogue ids and their acts"),
        (b'{"A": {"\xff": 1}}', "invalid UTF-8"),
    ],
)
def test_an_error_names_a_damaged_act_file(
    isaac: RunIsaac, tmp_path: Path, content: str | bytes, words: str
) -> None:
    folder = write_folder(release20(), tmp_path / "mw")
    file = folder / "dialogue_acts.json"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    flags = ("--format", "multiwoz20")
    for done in (
        isaac("curate", folder / "data.json", *flags, "--dry-run"),
        isaac("score", folder, *flags),
    ):
        assert (done.code, "dialogue_acts.json" in done.err) == (1, True)
        assert words in done.err


def test_malformed_acts_reject_their_dialogue(isaac: RunIsaac, tmp_path: Path, layout: str) -> None:
    files = RELEASES[layout]()
    name = next(iter(files[FILES[layout]]))
    files[FILES[layout]][name]["1"] = [5]
    source, run = write_zip(files, tmp_path / "mw.zip"), tmp_path / "run"
    assert curate(isaac, source, layout, run).code == 0
    (row,) = read_lines(run / "rejected.jsonl")
    assert "turn 1" in row["reason"]
    assert "is [5], not an object" in row["reason"]
    assert ACTS_COLUMN not in row["raw"]
    assert "1 of 16 records cannot be read" in isaac("score", source, "--format", layout).err


def test_no_output_overwrites_the_act_file(isaac: RunIsaac, tmp_path: Path) -> None:
    folder = write_folder(release20(), tmp_path / "mw")
    out = folder / "dialogue_acts.json"
    done = isaac("pollute", folder / "data.json", "-o", out, "--truth", tmp_path / "t.jsonl")
    assert (done.code, "is a file of the input" in done.err) == (2, True)
    assert "INN0000" in out.read_text()


def test_other_formats_read_no_act_file(isaac: RunIsaac, tmp_path: Path) -> None:
    (tmp_path / "dialog_acts.json").write_text("no JSON")
    row = {"context": "A room ?", "response": "Which area ?", "act": "hotel-request-area"}
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join([json.dumps(row)] * 4))
    assert curate(isaac, file, "dialogue", tmp_path / "run").code == 0
    done = isaac("score", file)
    assert (done.code, "acts" in done.err) == (0, False)
