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
    "demo": (
        ("isaac demo", "curate a bundled corpus, and measure the result"),
        ("isaac demo --bookings", "a booking assistant, whose turns are polluted"),
        ("isaac demo -o elsewhere --json", "into another folder, as JSON"),
    ),
    "report": (
        ("isaac report run", "as Markdown"),
        ("isaac report run --json", "the numbers behind it"),
        ("isaac report run > report.md", "to keep it with the data"),
    ),
    "explain": (
        ("isaac explain run 3", "why row 3 was kept, replaced or dropped"),
        ("isaac explain run 3 --json", "for a script"),
        ("isaac diff run --limit 1", "find the ids of rows that were changed"),
    ),
    "diagnose": (
        ("isaac diagnose run", "whether to trust this run, and why"),
        ("isaac diagnose run --json", "for a script"),
        ("isaac audit run", "find out more, from a few hundred labels"),
    ),
    "compare": (
        ("isaac compare run milder", "two runs of one corpus, side by side"),
        ("isaac compare run milder --chart compare.svg", "as a picture, too"),
        ("isaac compare run milder --column label", "with labels, which are used only to measure"),
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
    "train sft": (
        ("isaac train sft run --model smollm2 -o model", "fine-tune an adapter"),
        ("isaac train sft run --model smollm2 -o model --steps 100 --completion-head", "on a CPU"),
        ("isaac train sft run --model BASE -o model --merge", "write the merged model, too"),
    ),
    "train dpo": (
        ("isaac train dpo pairs --model model -o safer", "after sft, on a run in mode pairs"),
        ("isaac train dpo pairs --model model -o safer --steps 100", "for fewer steps"),
        ("isaac train dpo pairs --model model -o safer --config trl.yaml", "with TRL's own fields"),
    ),
    "train kto": (
        ("isaac train kto run --model model -o safer", "after sft"),
        ("isaac train kto run --model model -o safer --steps 100", "for fewer steps"),
        ("isaac train kto run --model model -o safer --config trl.yaml", "with TRL's own fields"),
    ),
    "train rephraser": (
        ("isaac train rephraser run --model smollm2 -o rephraser", "to heal replies"),
        ("isaac train rephraser run --model smollm2 -o rephraser --stages 2", "in two stages"),
        ("isaac heal run --model rephraser < replies.jsonl", "use it"),
    ),
    "judge fit": (
        (
            "isaac judge fit rows.jsonl -o judge --frozen --encoder wordllama",
            "from labeled rows, without torch",
        ),
        ("isaac judge fit rows.jsonl -o judge --label safe --unsafe no", "name column and value"),
        ("isaac judge fit rows.jsonl -o judge --epochs 5", "fine-tune a small encoder for longer"),
    ),
    "pollute": (
        (
            "isaac pollute clean.json -o polluted.json --truth truth.jsonl",
            "insert rude sentences and slang into a tenth of the turns",
        ),
        (
            "isaac pollute clean.json -o polluted.json --truth truth.jsonl --rate 0.3",
            "into more turns",
        ),
        (
            "isaac pollute clean.json -o polluted.json --truth truth.jsonl --kinds high",
            "only insults",
        ),
    ),
    "score": (
        ("isaac score run --gold clean.json --truth truth.jsonl", "what a run did to the turns"),
        (
            "isaac score answers.json --format predictions --database db",
            "a system's predictions, for MultiWOZ",
        ),
        ("isaac score dialogues.json --json", "a corpus, for a script"),
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


def _name_parameter(parameter: Any) -> str:
    """A parameter as the help shows it: RUN, or -o / --out."""
    if parameter.param_type_name == "argument":
        return str(parameter.metavar or parameter.name.upper())
    return " / ".join(parameter.opts)


class SectionedCommand(TyperCommand):
    """A command whose options stand in sections, and whose examples follow them."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments; an error names all that are missing, not only the first."""
        given, _, _ = self.make_parser(ctx).parse_args(args=list(args))
        parameters: list[Any] = self.get_params(ctx)
        missing = [p for p in parameters if p.required and not given.get(p.name)]
        if len(missing) > 1 and not given.get("help"):
            ctx.fail(f"Missing {', '.join(map(_name_parameter, missing))}.")
        return super().parse_args(ctx, args)

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
        examples = EXAMPLES.get(ctx.command_path.partition(" ")[2], ())
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
