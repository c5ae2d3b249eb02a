"""Adapt chat templates, so that their text depends on the messages alone and holds all of them.

A template is a Jinja program that comes with a model. The changes are made in the template itself:
whoever uses the tokenizer, TRL and a trained model's folder included, writes the same text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any

import jinja2
import jinja2.meta

from ...corpus.formats.reasoning import without_reasoning
from ...text import shorten
from .base import Conversation

FIXED_DATE = {
    "%d": "26", "%-d": "26", "%e": "26", "%m": "07", "%-m": "7", "%b": "Jul", "%B": "July",
    "%Y": "2024", "%y": "24", "%a": "Fri", "%A": "Friday", "%j": "208", "%H": "00", "%I": "12",
    "%M": "00", "%S": "00", "%p": "AM", "%F": "2024-07-26", "%T": "00:00:00", "%Z": "UTC",
}  # fmt: skip
"""The date that templates write in place of today's, by directives of strftime; it is the one that
Llama 3.2's template writes where no clock is available."""

THINKING_SWITCHES = ("enable_thinking", "thinking")
"""The variables by which templates turn off the thinking of a model."""

PROBE = "isaac probe"
"""A text that is rendered to see whether a template keeps it."""

OPEN_BLOCK = re.compile(
    r"(?:<(?:think|thinking|thought|thoughts|reasoning)>|<\|begin_of_thought\|>|\[THINK\])\s*\Z"
)
"""A block of thinking that begins at the end of a text."""

_DATE_MACRO = (
    "{% macro strftime_now(format) %}{{ "
    + reduce(lambda chain, pair: f"{chain} | replace({pair[0]!r}, {pair[1]!r})",
             FIXED_DATE.items(), "format")
    + " }}{% endmacro %}"
)  # fmt: skip

_TEXT_AS_PARTS = (
    "{% set isaac = namespace(messages=[]) %}{% for message in messages %}"
    "{% set isaac.messages = isaac.messages + [dict(message, content=[{'type': 'text', "
    "'text': message['content']}]) if message['content'] is string else message] %}"
    "{% endfor %}{% set messages = isaac.messages %}"
)

# trim_blocks removes a line break after a block, but not after an expression.
_START = "{{ '' }}"


def adapt_chat_template(tokenizer: Any, *, trainable: bool = False) -> None:
    """Change a tokenizer's chat template where it would surprise; most stay as they are.

    - It writes a fixed date instead of today's.
    - Thinking is off if the template has a switch. If it has none and the prompt ends in an open
      block of thinking, ``trainable`` leaves that out: the responses of a corpus have none.
    - Text is passed as a part if the template drops it otherwise.
    """
    fix_template_date(tokenizer)
    settings = _find_settings(_read_template(tokenizer))
    for name in sorted(settings.intersection(THINKING_SWITCHES)):
        _prepend(tokenizer, f"{{% set {name} = false %}}")
    if not _keeps_probe(tokenizer):
        before = tokenizer.chat_template
        _prepend(tokenizer, _TEXT_AS_PARTS)
        if not _keeps_probe(tokenizer):
            tokenizer.chat_template = before
    if trainable and (block := find_open_block(tokenizer)):
        _cut_off_generation_prompt(tokenizer, block)


def fix_template_date(tokenizer: Any) -> None:
    """Make a chat template, of a tokenizer or a processor, write a fixed date instead of today's.

    transformers gives templates a function ``strftime_now``; a macro of that name takes its place.
    """
    if "strftime_now" in _read_template(tokenizer):
        _prepend(tokenizer, _DATE_MACRO)


def find_open_block(tokenizer: Any) -> str:
    """The opening of a block of thinking in which the generation prompt ends; empty if none."""
    match = OPEN_BLOCK.search(_render_probe(tokenizer, add_generation_prompt=True))
    return match[0] if match else ""


def describe_lost_text(rendered: str, messages: Sequence[Mapping[str, str]]) -> str:
    """Which message's text a chat template left out, in words; empty if none.

    White space does not count, nor does the thinking of an assistant's turn.
    """
    text = "".join(rendered.split())
    for message in messages:
        content = message["content"]
        answer = without_reasoning(content) if message["role"] == "assistant" else content
        if "".join(answer.split()) not in text:
            return (
                f"the chat template leaves out the {message['role']} turn's text: "
                f"{shorten(content, 60)}"
            )
    return ""


def split_answer(reply: str, *, opened: bool = False) -> str | None:
    """Take a block of thinking off the start of a reply; None if the reply ends inside it.

    ``opened`` tells that the prompt has opened the block.
    """
    answer = without_reasoning(reply)
    unfinished = re.match(r"\s*(?:<(?:think|thinking)>|\[THINK\])", reply) is not None
    return None if answer == reply and (opened or unfinished) else answer


def _read_template(tokenizer: Any) -> str:
    """The template for conversations without tools; some tokenizers have several, by name."""
    template = tokenizer.chat_template
    return str(template.get("default", "") if isinstance(template, dict) else template or "")


def _find_settings(template: str) -> set[str]:
    """The variables that a template takes from its caller; empty if it cannot be parsed."""
    known = re.sub(r"{%-?\s*(?:end)?generation\s*-?%}", "", template)  # a tag of transformers
    environment = jinja2.Environment(extensions=["jinja2.ext.loopcontrols"], autoescape=False)
    try:
        return set(jinja2.meta.find_undeclared_variables(environment.parse(known)))
    except jinja2.TemplateSyntaxError:
        return set()


def _write_template(tokenizer: Any, template: str) -> None:
    several = isinstance(tokenizer.chat_template, dict)
    tokenizer.chat_template = (
        {**tokenizer.chat_template, "default": template} if several else template
    )


def _prepend(tokenizer: Any, statement: str) -> None:
    """Put a statement before the template, unless an earlier call has put it there."""
    template = _read_template(tokenizer)
    if statement not in template:
        _write_template(tokenizer, statement + _START * (_START not in template) + template)


def _cut_off_generation_prompt(tokenizer: Any, block: str) -> None:
    """Make the template leave out an opened block of thinking at the end of a prompt."""
    template = _read_template(tokenizer).removesuffix("\n")  # which Jinja does at the end, too
    _write_template(
        tokenizer,
        f"{{% set isaac_text %}}{_START}{template}{{% endset %}}{{{{ isaac_text[:-{len(block)}] "
        f"if add_generation_prompt and isaac_text.endswith({block!r}) else isaac_text }}}}",
    )


def _keeps_probe(tokenizer: Any) -> bool:
    """Whether the text of a message is in what the template writes, or the template fails."""
    rendered = _render_probe(tokenizer)
    return not rendered or PROBE in rendered


def _render_probe(tokenizer: Any, **settings: Any) -> str:
    messages: Conversation = [{"role": "user", "content": PROBE}]
    try:
        return str(tokenizer.apply_chat_template(messages, tokenize=False, **settings))
    except Exception:  # a template is code that may raise anything
        return ""
