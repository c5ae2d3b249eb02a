"""Chat templates that write the date, think, or drop texts."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pytest

from isaac.models.chat import load_chat_model
from isaac.models.chat.base import Decoding
from isaac.models.chat.loading import load_model
from isaac.models.chat.templates import (
    adapt_chat_template,
    describe_lost_text,
    find_open_block,
    split_answer,
)
from tests import tiny
from tests.servers import ServerAnswer, StartServer, chat_completion

pytest.importorskip("transformers", reason="transformers is not installed")
pytest.importorskip("torch", reason="torch is not installed")

TURNS = "{% for m in messages %}<s>{{ m['role'] }}\n{{ m['content'] }}</s>\n{% endfor %}"
DATED = (
    "{% if not date is defined %}{% if strftime_now is defined %}"
    '{%- set date = strftime_now("%d %b %Y") %}{% else %}{% set date = "none" %}{% endif %}'
    "{% endif %}{% set form = '%A, %B %d, %Y %H:%M' %}"
    "Today: {{ date }} ({{ strftime_now(form) }})\n"
    f"{TURNS}{{% if add_generation_prompt %}}<s>assistant\n{{% endif %}}"
)
SWITCHED = (
    "{% macro turn(m) %}<s>{{ m['role'] }}\n"
    "{% if m['role'] == 'assistant' %}<think>\n\n</think>\n\n{% endif %}{{ m['content'] }}</s>\n"
    "{% endmacro %}{% for m in messages %}{{ turn(m) }}{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant\n<think>\n"
    "{% if enable_thinking is defined and enable_thinking is false %}"
    "{{ '\n</think>\n\n' }}{% endif %}"
    "{% endif %}\n"
)
OPEN = (
    "{% set ns = namespace(count=0) %}{% macro turn(m) %}<s>{{ m['role'] }}\n"
    "{{ m['content'].split('</think>')[-1] }}</s>\n{% endmacro %}"
    "{% for m in messages %}{% set ns.count = ns.count + 1 %}{{ turn(m) }}{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant {{ ns.count }}\n<think>\n{% endif %}\n"
)
PARTS = (
    "{% for m in messages %}{{ m['role'] }}"
    "{{ ':' if m['content'][0]['type'] == 'image' else ': ' }}"
    "{% for part in m['content'] %}{% if part['type'] == 'text' %}{{ part['text'] }}"
    "{% elif part['type'] == 'image' %}<image>{% endif %}{% endfor %}</s>\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)
EMPTY = "{% for m in messages %}<s>{{ m['role'] }}</s>{% endfor %}"
WITHOUT_SYSTEM = (
    "{% for m in messages if m['role'] != 'system' %}{{ m['content'] }}</s>{% endfor %}"
)

TALK = [{"role": "user", "content": "Hi  there"}, {"role": "assistant", "content": "Hello"}]


def adapted(template: str, *, trainable: bool = False) -> Any:
    tokenizer = tiny.make_tokenizer(template)
    adapt_chat_template(tokenizer, trainable=trainable)
    return tokenizer


def render(tokenizer: Any, messages: Any = TALK, **settings: Any) -> str:
    return str(tokenizer.apply_chat_template(messages, tokenize=False, **settings))


def test_the_date_is_fixed_and_kept_in_the_folder(tmp_path: Path) -> None:
    today = datetime.datetime.now().strftime("%d %b %Y")
    assert today in render(tiny.make_tokenizer(DATED))
    tokenizer = adapted(DATED)
    text = render(tokenizer)
    assert text.startswith("Today: 26 Jul 2024 (Friday, July 26, 2024 00:00)\n<s>user\n")
    tokenizer.save_pretrained(tmp_path)
    from transformers import AutoTokenizer

    saved = AutoTokenizer.from_pretrained(tmp_path)
    assert render(saved) == text
    once = saved.chat_template
    adapt_chat_template(saved)
    assert saved.chat_template == once


@pytest.mark.parametrize("trainable", [False, True])
def test_thinking_is_off_where_the_template_has_a_switch(trainable: bool) -> None:
    tokenizer = adapted(SWITCHED, trainable=trainable)
    prompt = render(tokenizer, TALK[:1], add_generation_prompt=True)
    assert prompt.endswith("<s>assistant\n<think>\n\n</think>\n\n")
    assert render(tokenizer) == f"{prompt}Hello</s>\n"


def test_without_a_switch_an_open_block_is_left_out_in_training() -> None:
    plain = tiny.make_tokenizer(OPEN)
    kept, cut = adapted(OPEN), adapted(OPEN, trainable=True)
    assert kept.chat_template == OPEN
    prompt = render(plain, TALK[:1], add_generation_prompt=True)
    assert prompt.endswith("assistant 1\n<think>\n")
    assert render(cut, TALK[:1], add_generation_prompt=True) == prompt.removesuffix("<think>\n")
    assert render(cut) == render(plain)
    adapt_chat_template(cut, trainable=True)
    assert render(cut) == render(plain)


def test_templates_that_take_parts_get_texts_as_parts() -> None:
    assert describe_lost_text(render(tiny.make_tokenizer(PARTS)), TALK).startswith(
        "the chat template leaves out the user turn's text: Hi"
    )
    text = render(adapted(PARTS))
    assert text == "user: Hi  there</s>\nassistant: Hello</s>\n"
    parts = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Who?"}]}]
    assert render(adapted(PARTS), parts) == "user:<image>Who?</s>\n"


@pytest.mark.parametrize("template", [tiny.CHAT_TEMPLATE, EMPTY, "{{ raise_exception('no') }}"])
def test_other_templates_stay_as_they_are(template: str) -> None:
    assert adapted(template, trainable=True).chat_template == template


def test_of_several_templates_the_default_is_adapted() -> None:
    tokenizer = tiny.make_tokenizer()
    tokenizer.chat_template = {"default": DATED, "tool_use": TURNS}
    adapt_chat_template(tokenizer)
    assert "26 Jul 2024" in render(tokenizer)
    assert tokenizer.chat_template["tool_use"] == TURNS


def test_a_text_may_be_reformatted_but_not_lost() -> None:
    messages = [
        {"role": "system", "content": "Be\n brief"},
        {"role": "assistant", "content": "<think>So.</think>Hello"},
    ]
    assert describe_lost_text("Be brief. Hello", messages) == ""
    assert "system turn" in describe_lost_text("Hello", messages)


@pytest.mark.parametrize(
    ("reply", "opened", "answer"),
    [
        ("Hello", False, "Hello"),
        ("<think>\nHm.\n</think>\n\nHello", False, "Hello"),
        ("Hm.</think>Hello", True, "Hello"),
        ("</think>\n\nHello", True, "Hello"),
        ("Hm. Let me", True, None),
        ("<think>Hm. Let me", False, None),
        ("[THINK]Hm.", False, None),
        ("I <think> so", False, "I <think> so"),
    ],
)
def test_the_answer_comes_after_the_thinking(reply: str, opened: bool, answer: str | None) -> None:
    assert split_answer(reply, opened=opened) == answer


def test_a_reply_without_an_end_of_its_thinking_is_none(tmp_path: Path) -> None:
    model: Any = load_chat_model(str(tiny.save_llama(tmp_path, OPEN)))
    assert model.reply([TALK[:1]] * 2, Decoding(max_tokens=4)) == [None, None]
    assert model.unanswered == 2
    assert "within the model's thinking" in model.first_error


@pytest.mark.parametrize(("template", "answered"), [(PARTS, True), (WITHOUT_SYSTEM, False)])
def test_a_prompt_is_answered_only_if_all_of_it_is_read(
    tmp_path: Path, template: str, answered: bool
) -> None:
    model: Any = load_chat_model(str(tiny.save_llama(tmp_path, template)))
    talk = [{"role": "system", "content": "Be brief"}, TALK[0]]
    (reply,) = model.reply([talk], Decoding(max_tokens=4))
    assert (reply is not None) == answered
    assert answered or "leaves out the system turn's text: Be brief" in model.first_error


def test_an_adapted_template_gives_the_tokens_of_transformers(tmp_path: Path) -> None:
    loaded = load_model(str(tiny.save_llama(tmp_path)))
    model: Any = load_chat_model(str(tmp_path))
    tokens, problem = model._tokenize_one(TALK)
    expected = loaded.tokenizer.apply_chat_template(TALK, add_generation_prompt=True)
    assert tokens == list(expected["input_ids"])
    assert not problem


def test_the_thinking_of_an_endpoint_is_no_part_of_the_reply(serve: StartServer) -> None:
    pytest.importorskip("openai", reason="the extra 'openai' is not installed")
    texts = {"long": "<think>Hm.", "short": "<think>Hm.</think>Hello", "none": " Hello "}

    def answer(request: dict[str, Any], _: int) -> ServerAnswer:
        return 200, chat_completion(texts[request["messages"][0]["content"]])

    model = load_chat_model(f"openai:m@{serve(answer).url}")
    asked = [[{"role": "user", "content": text}] for text in texts]
    assert model.reply(asked, Decoding()) == [None, "Hello", " Hello "]


def test_the_templates_of_known_models_hold_the_texts_without_thinking() -> None:
    trl = pytest.importorskip("trl", reason="TRL is not installed")
    files = sorted((Path(trl.__file__).parent / "chat_templates").glob("*.jinja"))
    if not files:
        pytest.skip("this TRL has no chat templates")
    for file in files:
        tokenizer = adapted(file.read_text(encoding="utf-8"), trainable=True)
        prompt = render(tokenizer, TALK[:1], add_generation_prompt=True)
        assert not find_open_block(tokenizer), file.name
        assert render(tokenizer).startswith(prompt), file.name
        assert not describe_lost_text(render(tokenizer), TALK), file.name
