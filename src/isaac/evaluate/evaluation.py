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
from ..models.chat.likelihood import Likelihood, compute_likelihood, load_reference_model
from ..models.chat.loading import announce_unpacking, fingerprint_model, locate_model
from ..models.judges import Judge
from ..models.judges.cache import CachedJudge
from ..models.openai_client import parse_openai_name
from ..runs.reports import rendering
from ..runs.run import Run
from ..runtime.atomic_files import atomic_write, exclusive_lock, file_sha256, read_json
from ..runtime.progress import Progress
from ..text import shorten
from .ability import Ability, measure_ability, require_harness
from .arms import ModelReplies, Role, collect_coherent_pairs, judge_replies
from .prompts import Prompt, PromptError, PromptKind, filter_by_kind, load_prompts, load_replies
from .replies import ReplyFile, ReplyRequest, validate_request
from .report import render_evaluation_html, render_evaluation_markdown, render_evaluation_section
from .results import (
    RELEVANCE_ENCODER,
    Evaluation,
    EvaluationInputs,
    EvaluationSettings,
    MeasuredArm,
    build_evaluation,
)
from .statistics import require_package

ResultT = TypeVar("ResultT")


class EvaluatedModel(NamedTuple):
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
    settings: EvaluationSettings | None = None,
    tools: Tools | None = None,
) -> Evaluation:
    """Return models compared with one before, by judges, on the same prompts.

    Models are names or models of your own; ``prompts`` is a name or file; ``tools`` may hold judges
    and encoders by name. The first judge is the one that headlines go by. Answers are kept in
    ``out``/answers as they come, so that the same call goes on where it was stopped. Raises
    `RecipeError` for settings that cannot be, `ModelError`, `JudgeError` or `PromptError` for what
    cannot be had.
    """
    settings, tools = settings or EvaluationSettings(), tools or Tools()
    models = _resolve_models(before, after, settings, tools.progress)
    given, judging = _prepare_inputs(prompts, judges, settings, tools)
    with _lock_answers_folder(Path(out)) as folder:
        said = [_collect_replies(model, given, settings, folder, tools) for model in models]
    said.append(_make_constant_replies(given, settings))
    likely = _measure_perplexities(said, given, settings, Path(out), tools)
    measured = []
    for one, nats in zip(said, likely, strict=True):
        with tools.progress.stage(f"judging {one.name}"):
            found = [
                judge_replies(
                    given.risky, one.risky, name, _with_verdict_cache(judge, name, Path(out))
                )
                for name, judge in judging.items()
            ]
        ability = _collect_ability(one, given, settings, Path(out), tools)
        measured.append(MeasuredArm(one, found, ability, nats))
    return build_evaluation(measured, given, settings, tools.encoder(RELEVANCE_ENCODER))


def write_evaluation(evaluation: Evaluation, out: str | Path) -> None:
    """Write an evaluation as JSON, as Markdown and as one page."""
    for name, text in _render_files(evaluation).items():
        with atomic_write(Path(out) / name) as file:
            file.write(text)


def write_into_run(evaluation: Evaluation, run: Run) -> None:
    """Write an evaluation into a finished run: its files, and a section of the run's report."""
    with run.locked():
        manifest = run.manifest()
        for name, text in _render_files(evaluation).items():
            run.write(run.path / "evaluation" / name, text)
        page = run.path / "report.html"
        run.write(
            page,
            rendering.render_html(run.summary(), render_evaluation_section(evaluation.as_json())),
        )
        manifest["sha256"][page.name] = file_sha256(page)
        run.write(run.path / "manifest.json", json.dumps(manifest, indent=2) + "\n")


def _render_files(evaluation: Evaluation) -> dict[str, str]:
    facts = evaluation.as_json()
    return {
        "evaluation.json": dumps(facts) + "\n",
        "evaluation.md": render_evaluation_markdown(facts) + "\n",
        "evaluation.html": render_evaluation_html(facts),
    }


@contextmanager
def _lock_answers_folder(out: Path) -> Iterator[Path]:
    """Yield the folder of answers, which one process at a time writes into."""
    folder = out / "answers"
    with exclusive_lock(folder, "a folder of answers", f"evaluates into {out}"):
        yield folder


def _resolve_models(
    before: str | ChatModel,
    after: Sequence[str | ChatModel],
    settings: EvaluationSettings,
    progress: Progress,
) -> list[EvaluatedModel]:
    """Return the models in order, no two of one name."""
    load = partial(_load_model, settings=settings, progress=progress)
    found = [
        _resolve_model(before, "before", load),
        *(_resolve_model(one, "after", load) for one in after),
    ]
    names = [model.name for model in found]
    for name in (one for one in (before, *after, settings.reference) if isinstance(one, str)):
        if parse_openai_name(name) is None and name != smollm2.MODEL_NAME:
            locate_model(name)
    if settings.reference is not None and parse_openai_name(settings.reference):
        raise RecipeError(
            f"'{shorten(settings.reference)}' gives no likelihoods; a reference model is a causal "
            "model: a folder, a hub's name or smollm2"
        )
    if len(found) < 2:
        raise RecipeError("give at least one model after")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise RecipeError(f"model '{twice}' is given twice; each is asked once")
    return found


def _resolve_model(
    given: str | ChatModel, role: Role, load: Callable[[str], ChatModel]
) -> EvaluatedModel:
    if isinstance(given, str):
        return EvaluatedModel(given, role, partial(load, given))
    return EvaluatedModel(given.name, role, lambda: given)


def _load_model(name: str, settings: EvaluationSettings, progress: Progress) -> ChatModel:
    announce_unpacking(name, progress)
    return load_chat_model(name, batch=settings.batch, dtype=settings.dtype)


def _prepare_inputs(
    prompts: str, judges: Sequence[str], settings: EvaluationSettings, tools: Tools
) -> tuple[EvaluationInputs, dict[str, Judge]]:
    """Return what all models are given; raise now what would otherwise be raised after hours."""
    if not judges:
        raise RecipeError("give at least one judge")
    for name in ("statsmodels", "sacrebleu"):
        require_package(name)
    if settings.ability:
        require_harness()
    risky, notes = _select_prompts(prompts, settings.limit, "risky")
    harmless: list[Prompt] = []
    if settings.harmless is not None:
        harmless, more = _select_prompts(settings.harmless, settings.limit, "harmless")
        notes += more
    validate_request(ReplyRequest(risky, settings.samples, settings.decoding))
    real = [] if settings.real is None else load_replies(settings.real)
    judging = {name: tools.judge(name) for name in judges}
    revisions = {name: _judge_revision(judge) for name, judge in judging.items()}
    return EvaluationInputs(prompts, risky, harmless, real, revisions, notes), judging


def _select_prompts(
    name: str, limit: int | None, kind: PromptKind
) -> tuple[list[Prompt], list[str]]:
    """Return the prompts of a name that are of a kind, and what is to be noted."""
    loaded, notes = load_prompts(name), []
    found = filter_by_kind(loaded.prompts, kind)
    other = len(loaded.prompts) - len(found)
    if not found:
        raise PromptError(f"none of the {other:,} prompts of {shorten(name)} are {kind}")
    if loaded.repeated:
        notes.append(
            f"{loaded.repeated:,} prompts of {shorten(name)} stand there more than once and are "
            "asked once."
        )
    if other and name != "bundled":
        notes.append(f"{other:,} prompts of {shorten(name)} are not {kind}: left out here.")
    if limit is None or limit >= len(found):
        return found, notes
    notes.append(f"Only {limit:,} of {len(found):,} {kind} prompts were asked, spread evenly.")
    return [found[place * len(found) // limit] for place in range(limit)], notes


def _collect_replies(
    model: EvaluatedModel,
    given: EvaluationInputs,
    settings: EvaluationSettings,
    folder: Path,
    tools: Tools,
) -> ModelReplies:
    """Return what a model says to all prompts, from its file where that has it."""
    every = [
        *(prompt._replace(id=f"risky {prompt.id}") for prompt in given.risky),
        *(prompt._replace(id=f"harmless {prompt.id}") for prompt in given.harmless),
    ]
    asked = ReplyRequest(every, settings.samples, settings.decoding, settings.dtype)
    total = len(every) * settings.samples
    with tools.progress.stage(f"asking {shorten(model.name, 40)}", total) as tick:
        answers = ReplyFile(folder, model.name, settings.batch)
        replies = answers.collect(asked, model.load, tick)
    missing = sum(reply is None for replied in replies for reply in replied)
    if missing:
        why = answers.first_error or "it gave no reason"
        given.notes.append(
            f"{shorten(model.name)} gave no answer to {missing:,} of {total:,} prompts, which are "
            f"unscored: {shorten(why, 300)}"
        )
    count = len(given.risky)
    return ModelReplies(model.name, model.role, replies[:count], replies[count:])


def _judge_revision(judge: Judge) -> str:
    """Return what a judge's verdicts depend on, nothing where it does not say."""
    return str(getattr(judge, "revision", ""))


def _with_verdict_cache(judge: Judge, name: str, out: Path) -> Judge:
    """Return a judge that keeps its verdicts; one that may have changed is asked anew each time."""
    return CachedJudge(judge, out / "verdicts.jsonl", name) if _judge_revision(judge) else judge


def _make_constant_replies(given: EvaluationInputs, settings: EvaluationSettings) -> ModelReplies:
    """Return the answers of the arm that has one reply for everything."""
    said: list[str | None] = [settings.constant] * settings.samples
    name = f"always “{shorten(settings.constant, 40)}”"
    return ModelReplies(name, "constant", [said] * len(given.risky), [said] * len(given.harmless))


def _measure_perplexities(
    said: Sequence[ModelReplies],
    given: EvaluationInputs,
    settings: EvaluationSettings,
    out: Path,
    tools: Tools,
) -> list[float | None]:
    """Return the perplexity of each model's replies under the reference model, if there is one.

    What was read is kept in ``out``, by the reference model's name and files and what it reads.
    """
    name, found = settings.reference, []
    if name is None:
        return [None] * len(said)
    reference = functools.cache(partial(load_reference_model, name, settings.dtype))

    def read(one: ModelReplies, pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
        with tools.progress.stage(f"reading {shorten(one.name, 40)}", len(pairs)) as tick:
            return compute_likelihood(*reference(), pairs, tick=tick)._asdict()

    for one in said:
        pairs = collect_coherent_pairs(given.risky, one.risky)
        what = [name, fingerprint_model(name), settings.dtype, pairs]
        likely = Likelihood(
            **_load_or_measure(out / "likelihoods.json", what, partial(read, one, pairs))
        )
        found.append(likely.perplexity if likely.tokens else None)
    return found


def _collect_ability(
    said: ModelReplies,
    given: EvaluationInputs,
    settings: EvaluationSettings,
    out: Path,
    tools: Tools,
) -> Ability:
    """Return what lm-evaluation-harness says of a model; nothing, and a note, where it fails.

    What it said is kept in ``out``, by the model's name and files and by the tasks.
    """
    if not settings.ability or said.role == "constant":
        return {}

    def measure() -> Ability:
        with tools.progress.stage(f"trying {shorten(said.name, 40)}"):
            return measure_ability(said.name, settings.ability, settings.batch, settings.dtype)

    own = {task: file_sha256(Path(task)) for task in settings.ability if Path(task).is_file()}
    what = [said.name, fingerprint_model(said.name), settings.dtype, settings.ability, own]
    try:
        return _load_or_measure(out / "ability.json", what, measure)
    except ModelError as error:
        given.notes.append(f"The ability of {shorten(said.name)} is not known: {error}")
        return {}


def _load_or_measure(file: Path, what: list[Any], measure: Callable[[], ResultT]) -> ResultT:
    """Return what was measured of something, from the file that keeps it or measured now."""
    known = read_json(file) if file.exists() else {}
    stem = dumps([__version__, *what])
    key = hashlib.sha256(stem.encode("utf-8", "surrogatepass")).hexdigest()
    if key not in known:
        known[key] = measure()
        with atomic_write(file) as into:
            into.write(dumps(known) + "\n")
    found: ResultT = known[key]
    return found
