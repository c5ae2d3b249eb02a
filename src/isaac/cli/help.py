"""The help of commands: in sections, with whole descriptions and examples."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand, TyperGroup

SECTIONS = (
    "Curate",
    "Understand",
    "Decide",
    "Export and train",
    "Evaluate",
    "Heal",
    "Task-oriented",
    "Other",
)
"""The sections of the commands, in order."""

SECTION_BY_COMMAND = {
    "curate": "Curate",
    "demo": "Curate",
    "report": "Understand",
    "diff": "Understand",
    "explain": "Understand",
    "diagnose": "Understand",
    "audit": "Decide",
    "redraw": "Decide",
    "compare": "Decide",
    "export": "Export and train",
    "train": "Export and train",
    "evaluate": "Evaluate",
    "judge": "Evaluate",
    "heal": "Heal",
    "pollute": "Task-oriented",
    "score": "Task-oriented",
}

INPUT, CHANGE, METHOD, WHERE = "Input", "What to change", "Method", "Where it runs"

PANEL_BY_FIELD = {
    **dict.fromkeys(
        (
            *("format", "context", "response", "role", "map", "encoding", "header", "turns"),
            *("database", "limit", "group_by"),
        ),
        INPUT,
    ),
    **dict.fromkeys(
        (
            *("mode", "budget", "trust", "min_fit", "repeats", "targets", "judge", "trim"),
            *("keep_original", "keep", "abstain", "seed"),
        ),
        CHANGE,
    ),
}
"""The section of each field of a recipe; all others are about the method."""

EXAMPLES = {
    "curate": (
        ("isaac curate chats.jsonl -o run --dry-run", "what would be done, and how long it takes"),
        ("isaac curate chats.jsonl -o run", "trust half of the rows, redraw or drop the others"),
        ("isaac curate chats.jsonl -o run --mode filter --budget 30%", "only drop rows"),
    ),
    "diff": (
        ("isaac diff run --sort fit", "the changes that fit least come first"),
        ("isaac diff run --action dropped --sort trust --descending", "dropped, but trusted most"),
        ("isaac diff run -o changes.xlsx", "all changes, for a spreadsheet"),
    ),
    "redraw": (
        ("isaac redraw run --budget 30% -o milder", "trust more of the rows"),
        ("isaac redraw run --mode filter -o shorter", "only drop rows"),
        ("isaac redraw run --mode pairs -o pairs", "pair trusted with untrusted responses"),
    ),
    "audit": (
        ("isaac audit run", "answer two questions about each of 300 responses"),
        ("isaac audit run --labeler ann", "if several people label the run"),
        ("isaac audit run --judge trained:my-judge", "let a judge answer the first question"),
    ),
    "export": (
        ("isaac export run --as sft", "prompts and completions"),
        ("isaac export pairs --as dpo", "of a run in mode pairs"),
        ("isaac export run --as sft --untrusted weight", "dropped rows too, with their trust"),
    ),
    "heal": (
        ("isaac heal run < replies.jsonl > healed.jsonl", "replace untrusted replies"),
        (
            "isaac heal run --judge trained:my-judge --fallback 'Please call us.'",
            "never let out what the judge rejects",
        ),
        ("isaac heal run --context question --response answer < qa.jsonl", "name the columns"),
    ),
    "evaluate": (
        (
            "isaac evaluate --before BASE --after model --prompts risky --judge profanity -o out",
            "compare a model with its base",
        ),
        (
            "isaac evaluate --before a --after b --prompts my.jsonl --judge trained:j -o out",
            "with your own prompts and judge",
        ),
        (
            "isaac evaluate --before BASE --after model --prompts risky --judge profanity -o out "
            "--limit 50",
            "fewer prompts",
        ),
    ),
}
"""Commands to copy, each with what it does."""


class SectionedCommand(TyperCommand):
    """A command whose options stand in sections, and whose examples follow them."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the parameters, section by section."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            if (record := parameter.get_help_record(ctx)) is not None:
                is_argument = parameter.param_type_name == "argument"
                name = getattr(parameter, "rich_help_panel", None)
                default = "Arguments" if is_argument else "Options"
                sections.setdefault(name or default, []).append(record)
        order = ["Arguments", INPUT, CHANGE, METHOD, WHERE]
        for name in sorted(sections, key=lambda name: order.index(name) if name in order else 9):
            with formatter.section(name):
                formatter.write_dl(sections[name])

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write the examples, each on a line of its own."""
        examples = EXAMPLES.get(ctx.command.name or "", ())
        if examples:
            with formatter.section("Examples"):
                for command, purpose in examples:
                    formatter.write(f"{' ' * formatter.current_indent}# {purpose}\n")
                    formatter.write(f"{' ' * formatter.current_indent}{command}\n")


class SectionedGroup(TyperGroup):
    """A group whose commands stand in sections, each with its whole description."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the commands, section by section."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for name in self.list_commands(ctx):
            command = self.get_command(ctx, name)
            if command is None or command.hidden:
                continue
            first = (command.help or "").partition("\n\n")[0]
            section = SECTION_BY_COMMAND.get(name, "Other") if ctx.parent is None else "Commands"
            sections.setdefault(section, []).append((name, " ".join(first.split())))
        order = [*SECTIONS, "Commands"]
        for section in sorted(sections, key=order.index):
            with formatter.section(section):
                formatter.write_dl(sections[section])
