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
    """A model that repeats the prompt and the seed, and records the prompts it was asked."""

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
    request = ReplyRequest(prompts(2), 2, WARM)
    replies = ReplyFile(tmp_path, "parrot").collect(request, lambda: model, ticks.append)
    assert replies == [["q0 5", "q0 6"], ["q1 5", "q1 6"]]
    assert sum(ticks) == 4
    lines = [json.loads(line) for line in (tmp_path / "parrot.jsonl").read_text().splitlines()]
    assert {(line["prompt"], line["sample"], line["reply"]) for line in lines} == {
        (str(n), s, f"q{n} {5 + s}") for n in range(2) for s in range(2)
    }


def test_answered_prompts_are_not_asked_again(tmp_path: Path) -> None:
    request = ReplyRequest(prompts(MIN_CHUNK_PROMPTS + 3), 1, Decoding())
    interrupted = Parrot(fail_at=MIN_CHUNK_PROMPTS)
    with pytest.raises(KeyboardInterrupt):
        ReplyFile(tmp_path, "parrot").collect(request, lambda: interrupted)
    resumed = Parrot()
    replies = ReplyFile(tmp_path, "parrot").collect(request, lambda: resumed)
    assert resumed.asked == [f"q{n}" for n in range(MIN_CHUNK_PROMPTS, MIN_CHUNK_PROMPTS + 3)]
    assert replies == [[f"q{n} 0"] for n in range(MIN_CHUNK_PROMPTS + 3)]


def test_a_model_that_has_answered_everything_is_not_loaded(tmp_path: Path) -> None:
    request = ReplyRequest(prompts(3), 1, Decoding())
    first = ReplyFile(tmp_path, "parrot").collect(request, Parrot)

    def load() -> Parrot:
        raise AssertionError("the model was loaded")

    assert ReplyFile(tmp_path, "parrot").collect(request, load) == first


def test_more_prompts_and_samples_can_be_added(tmp_path: Path) -> None:
    ReplyFile(tmp_path, "parrot").collect(ReplyRequest(prompts(2), 1, WARM), Parrot)
    model = Parrot()
    ReplyFile(tmp_path, "parrot").collect(ReplyRequest(prompts(3), 2, WARM), lambda: model)
    assert sorted(model.asked) == ["q0", "q1", "q2", "q2"]


def test_a_missing_reply_is_asked_for_again(tmp_path: Path) -> None:
    request = ReplyRequest(prompts(2), 1, Decoding())
    mute = Parrot(mute=lambda text: text == "q1")
    assert ReplyFile(tmp_path, "parrot").collect(request, lambda: mute) == [["q0 0"], [None]]
    assert ReplyFile(tmp_path, "parrot").collect(request, Parrot) == [["q0 0"], ["q1 0"]]


@pytest.mark.parametrize(
    ("decoding", "message"),
    [
        (WARM._replace(temperature=0.5), "another decoding"),
        (WARM._replace(max_tokens=7), '"max_tokens": 7'),
    ],
)
def test_other_decoding_is_refused(tmp_path: Path, decoding: Decoding, message: str) -> None:
    ReplyFile(tmp_path, "parrot").collect(ReplyRequest(prompts(1), 1, WARM), Parrot)
    other = ReplyRequest(prompts(1), 1, decoding)
    with pytest.raises(RunError, match="were made with another") as caught:
        ReplyFile(tmp_path, "parrot").collect(other, Parrot)
    assert message in str(caught.value)


def test_another_data_type_of_the_weights_is_refused(tmp_path: Path) -> None:
    request = ReplyRequest(prompts(1), 1, WARM)
    ReplyFile(tmp_path, "parrot").collect(request, Parrot)
    with pytest.raises(RunError, match='another dtype: null, now "bfloat16"'):
        ReplyFile(tmp_path, "parrot").collect(request._replace(dtype="bfloat16"), Parrot)


def test_another_prompt_of_the_same_id_is_refused(tmp_path: Path) -> None:
    ReplyFile(tmp_path, "parrot").collect(ReplyRequest(prompts(1), 1, WARM), Parrot)
    changed = [Prompt("0", [{"role": "user", "content": "else"}])]
    with pytest.raises(RunError, match="line 1 answers a different prompt with the id '0'"):
        ReplyFile(tmp_path, "parrot").collect(ReplyRequest(changed, 1, WARM), Parrot)


def test_a_folder_with_other_weights_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"one")
    request = ReplyRequest(prompts(1), 1, WARM)
    ReplyFile(tmp_path, str(folder)).collect(request, Parrot)
    (folder / "README.md").write_text("a card")
    ReplyFile(tmp_path, str(folder)).collect(request, Parrot)
    (folder / "model.safetensors").write_bytes(b"two")
    with pytest.raises(RunError, match="another fingerprint"):
        ReplyFile(tmp_path, str(folder)).collect(request, Parrot)


def test_an_adapter_on_other_weights_is_refused(tmp_path: Path) -> None:
    base, folder = tmp_path / "base", tmp_path / "adapter"
    for path in (base, folder):
        path.mkdir()
    (base / "model.safetensors").write_bytes(b"one")
    (base / "config.json").write_text("{}")
    (folder / "adapter_config.json").write_text(f'{{"base_model_name_or_path": "{base}"}}')
    request = ReplyRequest(prompts(1), 1, WARM)
    ReplyFile(tmp_path, str(folder)).collect(request, Parrot)
    ReplyFile(tmp_path, str(folder)).collect(request, Parrot)
    (base / "model.safetensors").write_bytes(b"two")
    with pytest.raises(RunError, match="another fingerprint"):
        ReplyFile(tmp_path, str(folder)).collect(request, Parrot)


@pytest.mark.parametrize("damage", [b"\xff\xfe\n", b"[]\n", b"null\n"])
def test_a_damaged_line_is_named(tmp_path: Path, damage: bytes) -> None:
    request = ReplyRequest(prompts(1), 1, WARM)
    ReplyFile(tmp_path, "parrot").collect(request, Parrot)
    with (tmp_path / "parrot.jsonl").open("ab") as file:
        file.write(damage)
    with pytest.raises(RunError, match=r"parrot\.jsonl line 2 is not a valid answer; remove the"):
        ReplyFile(tmp_path, "parrot").collect(request, Parrot)


def test_damaged_settings_are_named(tmp_path: Path) -> None:
    request = ReplyRequest(prompts(1), 1, WARM)
    ReplyFile(tmp_path, "parrot").collect(request, Parrot)
    (tmp_path / "parrot.json").write_text("[]")
    with pytest.raises(RunError, match=r"parrot\.json: expected a JSON object, got list"):
        ReplyFile(tmp_path, "parrot").collect(request, Parrot)


def test_a_line_cut_off_by_a_crash_is_asked_again(tmp_path: Path) -> None:
    request = ReplyRequest(prompts(3), 1, Decoding())
    first = ReplyFile(tmp_path, "parrot").collect(request, Parrot)
    file = tmp_path / "parrot.jsonl"
    whole = file.read_bytes()
    file.write_bytes(whole[:-9])
    model = Parrot()
    assert ReplyFile(tmp_path, "parrot").collect(request, lambda: model) == first
    assert model.asked == ["q2"]
    assert file.read_bytes() == whole


def test_a_line_that_is_not_an_answer_is_named(tmp_path: Path) -> None:
    request = ReplyRequest(prompts(1), 1, Decoding())
    ReplyFile(tmp_path, "parrot").collect(request, Parrot)
    with (tmp_path / "parrot.jsonl").open("a") as file:
        file.write("{}\n")
    with pytest.raises(RunError, match="line 2 is not a valid answer"):
        ReplyFile(tmp_path, "parrot").collect(request, Parrot)


def test_too_few_replies_are_an_error(tmp_path: Path) -> None:
    class Short(Parrot):
        def reply(
            self, conversations: Sequence[Conversation], decoding: Decoding
        ) -> list[str | None]:
            return []

    with pytest.raises(RunError, match="returned 0 replies; expected 2, one per prompt"):
        ReplyFile(tmp_path, "parrot").collect(ReplyRequest(prompts(2), 1, WARM), Short)


def test_hostile_replies_survive_the_file(tmp_path: Path) -> None:
    hostile = 'a\x00b\u2028c\ud83d\n"{'

    class Odd(Parrot):
        def reply(
            self, conversations: Sequence[Conversation], decoding: Decoding
        ) -> list[str | None]:
            return [hostile] * len(conversations)

    request = ReplyRequest(prompts(2), 1, WARM)
    ReplyFile(tmp_path, "parrot").collect(request, Odd)
    stored = hostile.replace("\ud83d", "?")  # a lone surrogate, which no judge could read
    assert ReplyFile(tmp_path, "parrot").collect(request, Parrot) == [[stored], [stored]]


def test_samples_that_are_all_the_same_are_refused() -> None:
    with pytest.raises(RecipeError, match="3 samples at temperature 0"):
        validate_request(ReplyRequest(prompts(1), 3, Decoding()))


def test_file_names_come_from_model_names_and_are_unique() -> None:
    assert safe_file_name("smollm2") == "smollm2"
    names = [
        safe_file_name(name) for name in ("runs/a", "runs-a", "openai:m@http://h/v1", "..", "é/é")
    ]
    assert len(set(names)) == len(names)
    assert all(name and "/" not in name and not name.startswith(".") for name in names)
