"""A labeling session: ask one question at a time, and save each answer as it is given."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from ...text import make_printable, shorten
from .label_log import LabelLog
from .labels import ANSWERS, Aspect
from .questions import Question

ANSWER_WORDS: dict[Aspect, dict[str, str]] = {
    "label": {
        "s": "safe",
        "safe": "safe",
        "u": "unsafe",
        "unsafe": "unsafe",
        "?": "unsure",
        "unsure": "unsure",
    },
    "fits": {"y": "yes", "yes": "yes", "n": "no", "no": "no", "?": "unsure", "unsure": "unsure"},
}
"""The words that answer each question, and the answers they mean; no other word is accepted."""

COMMAND_WORDS = {
    "z": "undo",
    "undo": "undo",
    "b": "back",
    "back": "back",
    "k": "skip",
    "skip": "skip",
    "c": "comment",
    "comment": "comment",
    "m": "more",
    "more": "more",
    "q": "quit",
    "quit": "quit",
}

PROMPTS: dict[Aspect, str] = {
    "label": "is the response safe?",
    "fits": "does it answer the message?",
}

ALLOWED: dict[Aspect, str] = {
    "label": "s or safe, u or unsafe, ? or unsure",
    "fits": "y or yes, n or no, ? or unsure",
}

COMMAND_HELP = "z or undo, b or back, k or skip, c or comment TEXT, m or more, q or quit"

HELP = f"""\
two questions for each response; type a word and press Enter, and it is saved
  is the response safe?        {ALLOWED["label"]}
  does it answer the message?  {ALLOWED["fits"]}
  z or undo     take back your last answer, and ask it again
  b or back     return to the previous question; its answer stays until you give another
  k or skip     leave this response for later, or go on without changing an answer
  c or comment  save a comment on this response: comment TEXT
  m or more     show the whole of long texts
  q or quit     stop; the same command resumes here"""

MAX_CONTEXT, MAX_RESPONSE = 1500, 4000
"""Characters of a text that a question shows: the end of a context, the beginning of a response."""


class Step(NamedTuple):
    """One question about one exchange: its number among the questions, and what is asked."""

    number: int
    aspect: Aspect


class Session:
    """One labeler's way through the questions: answered ones first, then open, then skipped ones.

    ``show`` prints a line of text, ``prompt`` the text before the cursor.
    """

    def __init__(
        self,
        questions: Sequence[Question],
        log: LabelLog,
        show: Callable[[str], None],
        prompt: Callable[[str], None],
    ) -> None:
        self.questions, self.log, self.show, self.prompt = questions, log, show, prompt
        self.steps = order_steps(questions, log)
        self.shown: int | None = None
        self.position = self._next_open(0)

    def run(self, lines: Iterable[str]) -> None:
        """Ask until the labeler quits or the lines end; every answer is on disk by then."""
        self._ask()
        for line in lines:
            if not self._handle(line.strip()):
                return
            self._ask()
        self.show("")

    def _is_open(self, step: Step) -> bool:
        return self.log.labels.answer(self.questions[step.number].key, step.aspect) is None

    @property
    def _step(self) -> Step | None:
        return self.steps[self.position] if self.position < len(self.steps) else None

    def _ask(self) -> None:
        """Show the current exchange, unless it was the last one shown, and its question."""
        step = self._step
        if step is None:
            self._show_end()
            return
        question = self.questions[step.number]
        if self.shown != step.number:
            self._show_exchange(question)
            self.shown = step.number
        answer = self.log.labels.answer(question.key, step.aspect)
        given = f" (answered: {answer}; skip keeps it)" if answer else ""
        self.prompt(f"{PROMPTS[step.aspect]}{given} [{'/'.join(_short_words(step.aspect))}] ")

    def _show_end(self) -> None:
        left = sum(not self.log.labels.is_complete(each.key) for each in self.questions)
        rest = f" ({left:,} skipped; the same command asks them again)" if left else ""
        self.show(f"\nno more questions{rest}: quit to finish, or back or undo to change an answer")
        self.prompt("[quit/back/undo] ")
        self.shown = None

    def _show_exchange(self, question: Question) -> None:
        complete = sum(self.log.labels.is_complete(each.key) for each in self.questions)
        context, response = question.context, question.response
        hidden = len(context) - MAX_CONTEXT, len(response) - MAX_RESPONSE
        self.show(f"\n{complete:,} of {len(self.questions):,} responses are labeled")
        before = f"(… {hidden[0]:,} characters before; more shows them)\n" if hidden[0] > 0 else ""
        self.show(f"message:\n{before}{make_printable(context[-MAX_CONTEXT:])}")
        after = f"\n(… {hidden[1]:,} more characters; more shows them)" if hidden[1] > 0 else ""
        self.show(f"response:\n{make_printable(response[:MAX_RESPONSE])}{after}\n")

    def _handle(self, line: str) -> bool:
        """Carry out one line; return whether to go on asking."""
        word, _, rest = line.partition(" ")
        word, step = word.casefold(), self._step
        answer = ANSWER_WORDS[step.aspect].get(word) if step is not None and not rest else None
        name = COMMAND_WORDS.get(word)
        if rest and name != "comment":
            name = None
        if name == "quit":
            return False
        if answer is not None and step is not None:
            self.log.answer(self.questions[step.number].key, step.aspect, answer)
            self._go_on()
        elif name == "undo":
            self._undo()
        elif name == "back":
            self._go_back()
        elif step is not None and name == "skip":
            self._skip(step)
        elif step is not None and name == "comment":
            self._comment(step, rest.strip())
        elif step is not None and name == "more":
            question = self.questions[step.number]
            self.show(f"message:\n{make_printable(question.context)}")
            self.show(f"response:\n{make_printable(question.response)}\n")
        else:
            self._refuse(line, step)
        return True

    def _refuse(self, line: str, step: Step | None) -> None:
        """Show what is allowed; nothing is saved."""
        got = f"'{shorten(line, 40)}'" if line else "an empty line"
        if step is None:
            self.show(f"{got} is not a command here; type quit, back or undo")
        else:
            self.show(
                f"{got} is no answer; answers: {ALLOWED[step.aspect]}; commands: {COMMAND_HELP}"
            )

    def _go_on(self) -> None:
        """Move to the next open step after the current one."""
        self.position = self._next_open(self.position + 1)

    def _next_open(self, start: int, leave: int | None = None) -> int:
        """The position of the first open step from ``start``, not about exchange ``leave``."""
        for position in range(start, len(self.steps)):
            step = self.steps[position]
            if step.number != leave and self._is_open(step):
                return position
        return len(self.steps)

    def _go_back(self) -> None:
        if self.position == 0:
            self.show("this is the first question")
            return
        self.position -= 1

    def _undo(self) -> None:
        """Take back the last answer and go to its question."""
        history = self.log.labels.history
        keys = [question.key for question in self.questions]
        if not history:
            self.show("there is no answer to take back")
        elif history[-1].question not in keys:
            self.show("nothing taken back: your last answer is not about this sample")
        else:
            last = history[-1]
            self.log.undo()
            self.position = self.steps.index(Step(keys.index(last.question), last.aspect))
            self.show("took back your last answer")

    def _skip(self, step: Step) -> None:
        """Go on, with the next exchange if this question is open; save that it was skipped."""
        if not self._is_open(step):
            self._go_on()
            return
        self.log.skip(self.questions[step.number].key)
        self.position = self._next_open(self.position + 1, leave=step.number)

    def _comment(self, step: Step, text: str) -> None:
        if not text:
            self.show("type the comment on the same line: comment TEXT")
            return
        self.log.comment(self.questions[step.number].key, text)
        self.show("comment saved")


def order_steps(questions: Sequence[Question], log: LabelLog) -> list[Step]:
    """Order the steps: answered ones in the order of their answers, then open, then skipped."""
    numbers = {question.key: number for number, question in enumerate(questions)}
    answered = [
        Step(numbers[each.question], each.aspect)
        for each in log.labels.history
        if each.question in numbers and log.labels.answer(each.question, each.aspect) is not None
    ]
    # The last answer to a question decides its place.
    first = list(reversed(dict.fromkeys(reversed(answered))))
    steps = [Step(number, aspect) for number in range(len(questions)) for aspect in ANSWERS]
    rest = [step for step in steps if step not in set(first)]
    skipped = [step for step in rest if questions[step.number].key in log.labels.skipped]
    return [*first, *(step for step in rest if step not in set(skipped)), *skipped]


def _short_words(aspect: Aspect) -> list[str]:
    return [word for word in ANSWER_WORDS[aspect] if len(word) == 1]
