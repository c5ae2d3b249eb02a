"""Tool calls and results that are written as text, in the notations that models use."""

from __future__ import annotations

import ast
import json
import re
import warnings
from typing import Any

CALL_MARKS = re.compile(
    r"</?(?:tool_call|tool_calls|function_call|functioncall|tool_use|function_calls)\b"
    r"|<(?:function|invoke)[ =][^>]{1,200}>"
    r"|\[TOOL_CALLS\]|<\|python_tag\|>|<\|(?:tool_call|tool_calls|plugin)[\w]*\|>"
    r"|<\|action_start\|>|<｜tool▁call|✿FUNCTION✿",
    re.IGNORECASE,
)
"""Markup around a call: Hermes, Mistral, Llama, Phi, InternLM, DeepSeek, Qwen and others."""

REACT = re.compile(r"^Action:[ \t]*\S.*\n+[ \t]*Action[ _]Input:", re.MULTILINE)
"""A call in the notation of ReAct (Yao et al. 2023)."""

RESULT_MARKS = re.compile(
    r"\s*(?:</?(?:tool_response|tool_result|function_response|function_results?)\b"
    r"|\[TOOL_RESULTS\]|<\|tool_response\|>|Observation:)",
    re.IGNORECASE,
)
"""Markup at the start of a message with the result of a call."""

FENCE = re.compile(r"\A```\w*\n(.*?)\n?```\Z", re.DOTALL)
NAME_KEYS = ("name", "function", "tool", "tool_name", "function_name", "action", "api")
ARGUMENT_KEYS = ("arguments", "parameters", "args", "action_input", "tool_input", "input", "kwargs")
MAX_PARSED = 20_000
"""Characters beyond which a text is not parsed as a call."""


def is_tool_call(text: str) -> bool:
    """Whether a text is, or contains, a call of a tool."""
    if CALL_MARKS.search(text) or REACT.search(text):
        return True
    text = text.strip()
    if (fenced := FENCE.match(text)) is not None:
        text = fenced[1].strip()
    if len(text) > MAX_PARSED or not text.endswith(("}", "]", ")")):
        return False
    return (text[0] in "{[" and _is_json_call(text)) or _is_python_call(text)


def is_tool_result(text: str) -> bool:
    """Whether a message begins with the markup of a tool's result."""
    return RESULT_MARKS.match(text) is not None


def _is_json_call(text: str) -> bool:
    """Whether a text is a JSON object, or a list of them, that each name a tool and arguments."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return False
    calls = value if isinstance(value, list) else [value]
    return bool(calls) and all(_names_call(call) for call in calls)


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
        return bool(value.elts) and all(_is_named_call(call) for call in value.elts)
    return _is_named_call(value) and bool(getattr(value, "keywords", []))


def _is_named_call(node: ast.expr) -> bool:
    if not isinstance(node, ast.Call) or node.args:
        return False
    function = node.func
    while isinstance(function, ast.Attribute):
        function = function.value
    return isinstance(function, ast.Name)
