from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from isaac.errors import RecipeError, RunError
from isaac.evaluate.prompts import Prompt
from isaac.evaluate.replies import (
    MIN_CHUNK_PROMPTS,
    ReplyFile,
    ReplyRequest,
    safe_file_name,
    validate_request,
)
from isaac.models.chat.base import Conversation, Decoding


class Parrot:
    """A model that says what it was asked and by which seed, and remembers how often."""

    name = "parrot"

    def __init__(
        self, fail_at: int | None = None, mute: Callable[[str], bool] | None = None
    ) -> None:
        self.asked: list[str] = []
        self.fail_at, self.mute = fail_at, mute or (lambda _: False)

    def reply(self, conversations: Sequence[Conversation], decoding: Decoding) -> list[str | None]:
        texts = [messages[-1]["content"] for messages in conversations]
        if self.fail_at is not None and len(self.asked) >= self.fail_at:
            raise KeyboardInterrupt
        self.asked += texts
        return [None if self.mute(text) else f"{text} {decoding.seed}" for text in texts]


def prompts(count: int) -> list[Prompt]:
    return [Prompt(str(n), [{"role": "user", "content": f"q{n}"}]) for n in range(count)]


WARM = Decoding(temperature=1.0, seed=5)


def test_answers_come_in_order_and_by_sample(tmp_path: Path) -> None:
    model, ticks = Parrot(), list[int]()
    asked = ReplyRequest(prompts(2), 2, WARM)
    found = ReplyFile(tmp_path, "parrot").collect(asked, lambda: model, ticks.append)
    assert found == [["q0 5", "q0 6"], ["q1 5", "q1 6"]]
    assert sum(ticks) == 4
    lines = [json.loads(line) for line in (tmp_path / "parrot.jsonl").read_text().splitlines()]
    assert {(line["prompt"], line["sample"], line["reply"]) for line in lines} == {
        (str(n), s, f"q{n} {5 + s}") for n in range(2) for s in range(2)
    }


def test_what_was_answered_is_not_asked_again(tmp_path: Path) -> None:
    asked = ReplyRequest(prompts(MIN_CHUNK_PROMPTS + 3), 1, Decoding())
    stopped = Parrot(fail_at=MIN_CHUNK_PROMPTS)
    with pytest.raises(KeyboardInterrupt):
        ReplyFile(tmp_path, "parrot").collect(asked, lambda: stopped)
    again = Parrot()
    found = ReplyFile(tmp_path, "parrot").collect(asked, lambda: again)
    assert again.asked == [f"q{n}" for n in range(MIN_CHUNK_PROMPTS, MIN_CHUNK_PROMPTS + 3)]
    assert found == [[f"q{n} 0"] for n in range(MIN_CHUNK_PROMPTS + 3)]


def test_a_model_with_nothing_left_to_say_is_not_loaded(tmp_path: Path) -> None:
    asked = ReplyRequest(prompts(3), 1, Decoding())
    first = ReplyFile(tmp_path, "parrot").collect(asked, Parrot)

    def load() -> Parrot:
        raise AssertionError("it was loaded")

    assert ReplyFile(tmp_path, "parrot").collect(asked, load) == first


def test_more_prompts_and_samples_are_added_to_those_there(tmp_path: Path) -> None:
    ReplyFile(tmp_path, "parrot").collect(ReplyRequest(prompts(2), 1, WARM), Parrot)
    model = Parrot()
    ReplyFile(tmp_path, "parrot").collect(ReplyRequest(prompts(3), 2, WARM), lambda: model)
    assert sorted(model.asked) == ["q0", "q1", "q2", "q2"]


def test_a_reply_that_failed_is_asked_for_again(tmp_path: Path) -> None:
    asked = ReplyRequest(prompts(2), 1, Decoding())
    mute = Parrot(mute=lambda text: text == "q1")
    assert ReplyFile(tmp_path, "parrot").collect(asked, lambda: mute) == [["q0 0"], [None]]
    assert ReplyFile(tmp_path, "parrot").collect(asked, Parrot) == [["q0 0"], ["q1 0"]]


@pytest.mark.parametrize(
    ("decoding", "said"),
    [
        (WARM._replace(temperature=0.5), "another decoding"),
        (WARM._replace(max_tokens=7), '"max_tokens": 7'),
    ],
)
def test_other_decoding_is_refused(tmp_path: Path, decoding: Decoding, said: str) -> None:
    ReplyFile(tmp_path, "parrot").collect(ReplyRequest(prompts(1), 1, WARM), Parrot)
    other = ReplyRequest(prompts(1), 1, decoding)
    with pytest.raises(RunError, match="holds answers by") as caught:
        ReplyFile(tmp_path, "parrot").collect(other, Parrot)
    assert said in str(caught.value)


def test_other_numbers_of_the_weights_are_refused(tmp_path: Path) -> None:
    asked = ReplyRequest(prompts(1), 1, WARM)
    ReplyFile(tmp_path, "parrot").collect(asked, Parrot)
    with pytest.raises(RunError, match='another dtype: null, now "bfloat16"'):
        ReplyFile(tmp_path, "parrot").collect(asked._replace(dtype="bfloat16"), Parrot)


def test_another_prompt_of_the_same_id_is_refused(tmp_path: Path) -> None:
    ReplyFile(tmp_path, "parrot").collect(ReplyRequest(prompts(1), 1, WARM), Parrot)
    changed = [Prompt("0", [{"role": "user", "content": "else"}])]
    with pytest.raises(RunError, match="line 1 answers another prompt '0'"):
        ReplyFile(tmp_path, "parrot").collect(ReplyRequest(changed, 1, WARM), Parrot)


def test_a_folder_with_other_weights_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"one")
    asked = ReplyRequest(prompts(1), 1, WARM)
    ReplyFile(tmp_path, str(folder)).collect(asked, Parrot)
    (folder / "README.md").write_text("a card")
    ReplyFile(tmp_path, str(folder)).collect(asked, Parrot)
    (folder / "model.safetensors").write_bytes(b"two")
    with pytest.raises(RunError, match="another fingerprint"):
        ReplyFile(tmp_path, str(folder)).collect(asked, Parrot)


def test_an_adapter_on_other_weights_is_refused(tmp_path: Path) -> None:
    base, folder = tmp_path / "base", tmp_path / "adapter"
    for one in (base, folder):
        one.mkdir()
    (base / "model.safetensors").write_bytes(b"one")
    (base / "config.json").write_text("{}")
    (folder / "adapter_config.json").write_text(f'{{"base_model_name_or_path": "{base}"}}')
    asked = ReplyRequest(prompts(1), 1, WARM)
    ReplyFile(tmp_path, str(folder)).collect(asked, Parrot)
    ReplyFile(tmp_path, str(folder)).collect(asked, Parrot)
    (base / "model.safetensors").write_bytes(b"two")
    with pytest.raises(RunError, match="another fingerprint"):
        ReplyFile(tmp_path, str(folder)).collect(asked, Parrot)


@pytest.mark.parametrize("damage", [b"\xff\xfe\n", b"[]\n", b"null\n"])
def test_a_damaged_line_is_named_and_the_rest_read(tmp_path: Path, damage: bytes) -> None:
    asked = ReplyRequest(prompts(1), 1, WARM)
    ReplyFile(tmp_path, "parrot").collect(asked, Parrot)
    with (tmp_path / "parrot.jsonl").open("ab") as file:
        file.write(damage)
    with pytest.raises(RunError, match=r"parrot\.jsonl line 2 is no answer; remove the line"):
        ReplyFile(tmp_path, "parrot").collect(asked, Parrot)


def test_damaged_settings_are_named(tmp_path: Path) -> None:
    asked = ReplyRequest(prompts(1), 1, WARM)
    ReplyFile(tmp_path, "parrot").collect(asked, Parrot)
    (tmp_path / "parrot.json").write_text("[]")
    with pytest.raises(RunError, match=r"parrot\.json: expected a JSON object, got list"):
        ReplyFile(tmp_path, "parrot").collect(asked, Parrot)


def test_a_line_cut_off_by_a_crash_is_asked_again(tmp_path: Path) -> None:
    asked = ReplyRequest(prompts(3), 1, Decoding())
    first = ReplyFile(tmp_path, "parrot").collect(asked, Parrot)
    file = tmp_path / "parrot.jsonl"
    whole = file.read_bytes()
    file.write_bytes(whole[:-9])
    model = Parrot()
    assert ReplyFile(tmp_path, "parrot").collect(asked, lambda: model) == first
    assert model.asked == ["q2"]
    assert file.read_bytes() == whole


def test_a_line_that_is_no_answer_is_named(tmp_path: Path) -> None:
    asked = ReplyRequest(prompts(1), 1, Decoding())
    ReplyFile(tmp_path, "parrot").collect(asked, Parrot)
    with (tmp_path / "parrot.jsonl").open("a") as file:
        file.write("{}\n")
    with pytest.raises(RunError, match="line 2 is no answer"):
        ReplyFile(tmp_path, "parrot").collect(asked, Parrot)


def test_too_few_replies_are_an_error(tmp_path: Path) -> None:
    class Short(Parrot):
        def reply(
            self, conversations: Sequence[Conversation], decoding: Decoding
        ) -> list[str | None]:
            return []

    with pytest.raises(RunError, match="gave 0 replies to 2 prompts"):
        ReplyFile(tmp_path, "parrot").collect(ReplyRequest(prompts(2), 1, WARM), Short)


def test_hostile_replies_survive_the_file(tmp_path: Path) -> None:
    hostile = 'a\x00b\u2028c\ud83d\n"{'

    class Odd(Parrot):
        def reply(
            self, conversations: Sequence[Conversation], decoding: Decoding
        ) -> list[str | None]:
            return [hostile] * len(conversations)

    asked = ReplyRequest(prompts(2), 1, WARM)
    ReplyFile(tmp_path, "parrot").collect(asked, Odd)
    whole = hostile.replace("\ud83d", "?")  # half a character, which no judge could read
    assert ReplyFile(tmp_path, "parrot").collect(asked, Parrot) == [[whole], [whole]]


def test_samples_that_are_all_the_same_are_refused() -> None:
    with pytest.raises(RecipeError, match="3 samples at temperature 0"):
        validate_request(ReplyRequest(prompts(1), 3, Decoding()))


def test_files_are_named_after_models_and_told_apart() -> None:
    assert safe_file_name("smollm2") == "smollm2"
    names = [
        safe_file_name(name) for name in ("runs/a", "runs-a", "openai:m@http://h/v1", "..", "é/é")
    ]
    assert len(set(names)) == len(names)
    assert all(name and "/" not in name and not name.startswith(".") for name in names)
