"""Models before and after: asked the same, judged the same, and compared prompt by prompt."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from .._version import __version__
from ..corpus.records import dumps
from ..curation.resources import Tools
from ..errors import RecipeError
from ..models.chat import load_chat_model, smollm2
from ..models.chat.base import ChatModel, ModelError
from ..models.chat.likelihood import Likelihood, likelihood, load_reference
from ..models.chat.loading import announce, find, fingerprint
from ..models.judges import Judge
from ..models.judges.cache import Cached
from ..models.openai_client import address_in
from ..runs.reports import rendering
from ..runs.run import Run
from ..runtime.atomic_files import alone, json_in, sha256_of, writing
from ..runtime.progress import Progress
from ..text import short
from .ability import Ability, ability_of, harness_package
from .arms import Role, Said, judge_all, readable
from .prompts import Kind, Prompt, PromptError, load_prompts, load_replies, of_kind
from .replies import Answers, Asked, checked
from .report import html, markdown, section
from .results import ENCODER, Evaluation, Given, Measured, Settings, compared
from .statistics import package

Kept = TypeVar("Kept")


class Model(NamedTuple):
    """A model to evaluate, by name, and how it is had."""

    name: str
    role: Role
    load: Callable[[], ChatModel]


def evaluate(
    before: str | ChatModel,
    after: Sequence[str | ChatModel],
    prompts: str,
    judges: Sequence[str],
    out: str | Path,
    settings: Settings | None = None,
    tools: Tools | None = None,
) -> Evaluation:
    """Return models compared with one before, by judges, on the same prompts.

    Models are names or models of your own; ``prompts`` is a name or file; ``tools`` may hold judges
    and encoders by name. The first judge is the one that headlines go by. Answers are kept in
    ``out``/answers as they come, so that the same call goes on where it was stopped. Raises
    `RecipeError` for settings that cannot be, `ModelError`, `JudgeError` or `PromptError` for what
    cannot be had.
    """
    settings, tools = settings or Settings(), tools or Tools()
    models = _models(before, after, settings, tools.progress)
    given, judging = _given(prompts, judges, settings, tools)
    with _folder(Path(out)) as folder:
        said = [_ask(model, given, settings, folder, tools) for model in models]
    said.append(_constant(given, settings))
    likely = _likelihoods(said, given, settings, Path(out), tools)
    measured = []
    for one, nats in zip(said, likely, strict=True):
        with tools.progress.stage(f"judging {one.name}"):
            found = [
                judge_all(given.risky, one.risky, name, _remembering(judge, name, Path(out)))
                for name, judge in judging.items()
            ]
        ability = _ability(one, given, settings, Path(out), tools)
        measured.append(Measured(one, found, ability, nats))
    return compared(measured, given, settings, tools.encoder(ENCODER))


def write(evaluation: Evaluation, out: str | Path) -> None:
    """Write an evaluation as JSON, as Markdown and as one page."""
    for name, text in _files(evaluation).items():
        with writing(Path(out) / name) as file:
            file.write(text)


def write_into(evaluation: Evaluation, run: Run) -> None:
    """Write an evaluation into a finished run: its files, and a section of the run's report."""
    with run.locked():
        manifest = run.manifest()
        for name, text in _files(evaluation).items():
            run.write(run.path / "evaluation" / name, text)
        page = run.path / "report.html"
        run.write(page, rendering.html(run.summary(), section(evaluation.as_json())))
        manifest["sha256"][page.name] = sha256_of(page)
        run.write(run.path / "manifest.json", json.dumps(manifest, indent=2) + "\n")


def _files(evaluation: Evaluation) -> dict[str, str]:
    facts = evaluation.as_json()
    return {
        "evaluation.json": dumps(facts) + "\n",
        "evaluation.md": markdown(facts) + "\n",
        "evaluation.html": html(facts),
    }


@contextmanager
def _folder(out: Path) -> Iterator[Path]:
    """Yield the folder of answers, which one process at a time writes into."""
    folder = out / "answers"
    with alone(folder, "a folder of answers", f"evaluates into {out}"):
        yield folder


def _models(
    before: str | ChatModel,
    after: Sequence[str | ChatModel],
    settings: Settings,
    progress: Progress,
) -> list[Model]:
    """Return the models in order, no two of one name."""
    load = partial(_load, settings=settings, progress=progress)
    found = [_model(before, "before", load), *(_model(one, "after", load) for one in after)]
    names = [model.name for model in found]
    for name in (one for one in (before, *after, settings.reference) if isinstance(one, str)):
        if address_in(name) is None and name != smollm2.NAME:
            find(name)
    if settings.reference is not None and address_in(settings.reference):
        raise RecipeError(
            f"'{short(settings.reference)}' gives no likelihoods; a reference model is a causal "
            "model: a folder, a hub's name or smollm2"
        )
    if len(found) < 2:
        raise RecipeError("give at least one model after")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise RecipeError(f"model '{twice}' is given twice; each is asked once")
    return found


def _model(given: str | ChatModel, role: Role, load: Callable[[str], ChatModel]) -> Model:
    if isinstance(given, str):
        return Model(given, role, partial(load, given))
    return Model(given.name, role, lambda: given)


def _load(name: str, settings: Settings, progress: Progress) -> ChatModel:
    announce(name, progress)
    return load_chat_model(name, batch=settings.batch, dtype=settings.dtype)


def _given(
    prompts: str, judges: Sequence[str], settings: Settings, tools: Tools
) -> tuple[Given, dict[str, Judge]]:
    """Return what all models are given; raise now what would otherwise be raised after hours."""
    if not judges:
        raise RecipeError("give at least one judge")
    for name in ("statsmodels", "sacrebleu"):
        package(name)
    if settings.ability:
        harness_package()
    risky, notes = _prompts(prompts, settings.limit, "risky")
    harmless: list[Prompt] = []
    if settings.harmless is not None:
        harmless, more = _prompts(settings.harmless, settings.limit, "harmless")
        notes += more
    checked(Asked(risky, settings.samples, settings.decoding))
    real = [] if settings.real is None else load_replies(settings.real)
    judging = {name: tools.judge(name) for name in judges}
    revisions = {name: _revision(judge) for name, judge in judging.items()}
    return Given(prompts, risky, harmless, real, revisions, notes), judging


def _prompts(name: str, limit: int | None, kind: Kind) -> tuple[list[Prompt], list[str]]:
    """Return the prompts of a name that are of a kind, and what is to be noted."""
    loaded, notes = load_prompts(name), []
    found = of_kind(loaded.prompts, kind)
    other = len(loaded.prompts) - len(found)
    if not found:
        raise PromptError(f"none of the {other:,} prompts of {short(name)} are {kind}")
    if loaded.repeated:
        notes.append(
            f"{loaded.repeated:,} prompts of {short(name)} stand there more than once and are "
            "asked once."
        )
    if other and name != "bundled":
        notes.append(f"{other:,} prompts of {short(name)} are not {kind}: left out here.")
    if limit is None or limit >= len(found):
        return found, notes
    notes.append(f"Only {limit:,} of {len(found):,} {kind} prompts were asked, spread evenly.")
    return [found[place * len(found) // limit] for place in range(limit)], notes


def _ask(model: Model, given: Given, settings: Settings, folder: Path, tools: Tools) -> Said:
    """Return what a model says to all prompts, from its file where that has it."""
    every = [
        *(prompt._replace(id=f"risky {prompt.id}") for prompt in given.risky),
        *(prompt._replace(id=f"harmless {prompt.id}") for prompt in given.harmless),
    ]
    asked = Asked(every, settings.samples, settings.decoding, settings.dtype)
    total = len(every) * settings.samples
    with tools.progress.stage(f"asking {short(model.name, 40)}", total) as tick:
        answers = Answers(folder, model.name, settings.batch)
        replies = answers.collect(asked, model.load, tick)
    missing = sum(reply is None for replied in replies for reply in replied)
    if missing:
        why = answers.first_error or "it gave no reason"
        given.notes.append(
            f"{short(model.name)} gave no answer to {missing:,} of {total:,} prompts, which are "
            f"unscored: {short(why, 300)}"
        )
    count = len(given.risky)
    return Said(model.name, model.role, replies[:count], replies[count:])


def _revision(judge: Judge) -> str:
    """Return what a judge's verdicts depend on, nothing where it does not say."""
    return str(getattr(judge, "revision", ""))


def _remembering(judge: Judge, name: str, out: Path) -> Judge:
    """Return a judge that keeps its verdicts; one that may have changed is asked anew each time."""
    return Cached(judge, out / "verdicts.jsonl", name) if _revision(judge) else judge


def _constant(given: Given, settings: Settings) -> Said:
    """Return the answers of the arm that has one reply for everything."""
    said: list[str | None] = [settings.constant] * settings.samples
    name = f"always “{short(settings.constant, 40)}”"
    return Said(name, "constant", [said] * len(given.risky), [said] * len(given.harmless))


def _likelihoods(
    said: Sequence[Said], given: Given, settings: Settings, out: Path, tools: Tools
) -> list[float | None]:
    """Return the perplexity of each model's replies under the reference model, if there is one.

    What was read is kept in ``out``, by the reference model's name and files and what it reads.
    """
    name, found = settings.reference, []
    if name is None:
        return [None] * len(said)
    reference = functools.cache(partial(load_reference, name, settings.dtype))

    def read(one: Said, pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
        with tools.progress.stage(f"reading {short(one.name, 40)}", len(pairs)) as tick:
            return likelihood(*reference(), pairs, tick=tick)._asdict()

    for one in said:
        pairs = readable(given.risky, one.risky)
        what = [name, fingerprint(name), settings.dtype, pairs]
        likely = Likelihood(**_once(out / "likelihoods.json", what, partial(read, one, pairs)))
        found.append(likely.perplexity if likely.tokens else None)
    return found


def _ability(said: Said, given: Given, settings: Settings, out: Path, tools: Tools) -> Ability:
    """Return what lm-evaluation-harness says of a model; nothing, and a note, where it fails.

    What it said is kept in ``out``, by the model's name and files and by the tasks.
    """
    if not settings.ability or said.role == "constant":
        return {}

    def measure() -> Ability:
        with tools.progress.stage(f"trying {short(said.name, 40)}"):
            return ability_of(said.name, settings.ability, settings.batch, settings.dtype)

    own = {task: sha256_of(Path(task)) for task in settings.ability if Path(task).is_file()}
    what = [said.name, fingerprint(said.name), settings.dtype, settings.ability, own]
    try:
        return _once(out / "ability.json", what, measure)
    except ModelError as error:
        given.notes.append(f"The ability of {short(said.name)} is not known: {error}")
        return {}


def _once(file: Path, what: list[Any], measure: Callable[[], Kept]) -> Kept:
    """Return what was measured of something, from the file that keeps it or measured now."""
    known = json_in(file) if file.exists() else {}
    stem = dumps([__version__, *what])
    key = hashlib.sha256(stem.encode("utf-8", "surrogatepass")).hexdigest()
    if key not in known:
        known[key] = measure()
        with writing(file) as into:
            into.write(dumps(known) + "\n")
    found: Kept = known[key]
    return found
