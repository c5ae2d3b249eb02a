"""Tool calls and results that are written as text, in the notations that models use."""

from __future__ import annotations

import ast
import json
import re
import warnings
from typing import Any

from ..control_tokens import CONTROL_TOKENS

CALL_MARKS = re.compile(
    r"<(?:tool_call|tool_calls|function_call|functioncall|tool_use|function_calls)>(?:\s*[{\[<]|\n\s*\w)"
    r"|^\s*<(?:function|invoke)[ =][^>\n]{1,200}>"
    r"|\[TOOL_CALLS\]|<\|python_tag\|>|<\|(?:tool_call|tool_calls|plugin)[\w]*\|>"
    r"|<\|action_start\|>|<\|call\|>|<\|channel\|>\w+ to=|<｜tool▁call|✿FUNCTION✿|<<<api_call>>>",
    re.IGNORECASE | re.MULTILINE,
)
"""Markup around a call: Hermes, Mistral, Llama, Phi, InternLM, DeepSeek, Qwen and others."""

REACT = re.compile(r"^[ \t*]*Action:[ \t*]*\S.*\n+[ \t*]*Action[ _]Input:", re.MULTILINE)
"""A call in the notation of ReAct (Yao et al. 2023)."""

RESULT_MARKS = re.compile(
    r"\s*(?:</?(?:tool_response|tool_result|function_response|function_results?)\b"
    r"|\[TOOL_RESULTS\]|<\|tool_response\|>|Observation:)",
    re.IGNORECASE,
)
"""Markup at the start of a message with the result of a call."""

FENCE = re.compile(r"\A```\w*\n(.*?)\n?```\Z", re.DOTALL)
LAST_BLOCK = re.compile(r"^(?:```|[{\[])", re.MULTILINE)
"""Where a call may begin after an announcement."""

BUILTINS = frozenset({"dict", "print", "set", "list", "tuple", "open", "sorted"})
"""Functions of Python that an answer about code calls."""

NAME_KEYS = ("name", "function", "tool", "tool_name", "function_name", "action", "api")
ARGUMENT_KEYS = ("arguments", "parameters", "args", "action_input", "tool_input", "kwargs")
MAX_PARSED = 20_000
"""Characters beyond which a text is not parsed as a call."""


def is_tool_call(text: str) -> bool:
    """Whether a text is, contains, or ends with a call of a tool."""
    if CALL_MARKS.search(text) or REACT.search(text):
        return True
    text = _strip_tokens(text)
    if len(text) > MAX_PARSED or not text.endswith(("}", "]", ")", "```")):
        return False
    if _is_call(text):
        return True
    lines = [line.strip().removesuffix(";") for line in text.splitlines() if line.strip()]
    if len(lines) > 1 and all(map(_is_call, lines)):
        return True
    block = LAST_BLOCK.search(text)
    return block is not None and block.start() > 0 and _is_call(text[block.start() :])


def _strip_tokens(text: str) -> str:
    """Cut off space and control tokens at the end of a text."""
    text = text.strip()
    while tokens := list(CONTROL_TOKENS.finditer(text)):
        if tokens[-1].end() != len(text):
            break
        text = text[: tokens[-1].start()].rstrip()
    return text


def _is_call(text: str) -> bool:
    if (fenced := FENCE.match(text)) is not None:
        text = fenced[1].strip()
    return (text[:1] in ("{", "[") and _is_json_call(text)) or _is_python_call(text)


def is_tool_result(text: str) -> bool:
    """Whether a message begins with the markup of a tool's result."""
    return RESULT_MARKS.match(text) is not None


def _is_json_call(text: str) -> bool:
    """Whether a text is a JSON object, or a list of them, that each name a tool and arguments."""
    value = _parse(text)
    calls = value if isinstance(value, list) else [value]
    return bool(calls) and all(_names_call(call) for call in calls)


def _parse(text: str) -> Any:
    """Parse JSON, or a value as Python writes it; None if it is neither."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.literal_eval(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _names_call(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    if "tool_calls" in value or "function_call" in value:
        return True
    inner = value.get("function")
    if isinstance(inner, dict):
        return _names_call(inner)
    named = any(isinstance(value.get(key), str) and value[key] for key in NAME_KEYS)
    return named and any(key in value for key in ARGUMENT_KEYS)


def _is_python_call(text: str) -> bool:
    """Whether a text is a list of calls, ``[f(a=1)]``, or one call with named arguments only."""
    if not re.match(r"\[?\s*[A-Za-z_][\w.]*\s*\(", text):
        return False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about literals in the text
            value = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    if isinstance(value, ast.List):
        return bool(value.elts) and all(_is_function_call(call) for call in value.elts)
    is_named = isinstance(value, ast.Call) and not value.args and bool(value.keywords)
    return is_named and _is_function_call(value)


def _is_function_call(node: ast.expr) -> bool:
    if not isinstance(node, ast.Call):
        return False
    function = node.func
    while isinstance(function, ast.Attribute):
        function = function.value
    return isinstance(function, ast.Name) and function.id not in BUILTINS
