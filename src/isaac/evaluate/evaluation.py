"""Ask models the same prompts, judge their answers, and compare the models prompt by prompt."""

from __future__ import annotations

import functools
import hashlib
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
from ..runs.outputs import EVALUATION_SECTION, update_report
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
    """A model to evaluate; ``load`` is called only if answers are missing."""

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
    """Compare models (``after``) with a baseline (``before``) on the same prompts.

    Models are names or your own `ChatModel` objects; ``prompts`` is a name or a file; ``tools`` may
    have judges and encoders by name. Headlines use the first judge. Answers are stored in
    ``out``/answers as they arrive: after an interruption, the same call resumes where it stopped.
    Raises `RecipeError` for invalid settings, and `ModelError`, `JudgeError` or `PromptError` if a
    model, judge or prompt file is not available.
    """
    settings, tools, folder = settings or EvaluationSettings(), tools or Tools(), Path(out)
    models = _resolve_models(before, after, settings, tools.progress)
    inputs, judges_by_name = _prepare_inputs(prompts, judges, settings, tools)
    with _lock_answers_folder(folder) as answers:
        replies = [_collect_replies(model, inputs, settings, answers, tools) for model in models]
    replies.append(_make_constant_replies(inputs, settings))
    perplexities = _measure_perplexities(replies, inputs, settings, folder, tools)
    measured = []
    for model, perplexity in zip(replies, perplexities, strict=True):
        with tools.progress.stage(f"verdicts on {shorten(model.name, 40)}"):
            judged = [
                judge_replies(
                    inputs.risky, model.risky, name, _with_verdict_cache(judge, name, folder)
                )
                for name, judge in judges_by_name.items()
            ]
        ability = _collect_ability(model, inputs, settings, folder, tools)
        measured.append(MeasuredArm(model, judged, ability, perplexity))
    return build_evaluation(measured, inputs, settings, tools.encoder(RELEVANCE_ENCODER))


def write_evaluation(evaluation: Evaluation, out: str | Path) -> None:
    """Write an evaluation to a folder as JSON, Markdown and HTML."""
    for name, text in _render_files(evaluation).items():
        with atomic_write(Path(out) / name) as file:
            file.write(text)


def write_into_run(evaluation: Evaluation, run: Run) -> None:
    """Add an evaluation to a finished run: its files, and a section in the run's report."""
    with run.locked():
        run.require_finished()
        for name, text in _render_files(evaluation).items():
            run.write(run.path / "evaluation" / name, text)
        run.write(run.path / EVALUATION_SECTION, render_evaluation_section(evaluation.as_json()))
        update_report(run)


def _render_files(evaluation: Evaluation) -> dict[str, str]:
    """Render the files of an evaluation; returns their contents by name."""
    facts = evaluation.as_json()
    return {
        "evaluation.json": dumps(facts) + "\n",
        "evaluation.md": render_evaluation_markdown(facts) + "\n",
        "evaluation.html": render_evaluation_html(facts),
    }


@contextmanager
def _lock_answers_folder(out: Path) -> Iterator[Path]:
    """Lock the folder of answers, so that only one process writes to it at a time."""
    folder = out / "answers"
    with exclusive_lock(folder, "a folder of answers", f"evaluates into {out}"):
        yield folder


def _resolve_models(
    before: str | ChatModel,
    after: Sequence[str | ChatModel],
    settings: EvaluationSettings,
    progress: Progress,
) -> list[EvaluatedModel]:
    """List the models, the baseline first; raises if one cannot be found or is given twice."""
    load = partial(_load_model, settings=settings, progress=progress)
    models = [
        _resolve_model(before, "before", load),
        *(_resolve_model(model, "after", load) for model in after),
    ]
    for name in (before, *after, settings.reference):
        if not isinstance(name, str) or name == smollm2.MODEL_NAME:
            continue
        if parse_openai_name(name) is None:
            locate_model(name)
    if settings.reference is not None and parse_openai_name(settings.reference):
        raise RecipeError(
            f"reference model '{shorten(settings.reference)}' gives no likelihoods; use a local "
            "causal model: a folder, a Hub name or smollm2"
        )
    if len(models) < 2:
        raise RecipeError("expected at least one model to compare, got none; use --after MODEL")
    names = [model.name for model in models]
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated is not None:
        raise RecipeError(f"model '{repeated}' is given twice; give each model once")
    return models


def _resolve_model(
    model: str | ChatModel, role: Role, load: Callable[[str], ChatModel]
) -> EvaluatedModel:
    if isinstance(model, str):
        return EvaluatedModel(model, role, partial(load, model))
    return EvaluatedModel(model.name, role, lambda: model)


def _load_model(name: str, settings: EvaluationSettings, progress: Progress) -> ChatModel:
    announce_unpacking(name, progress)
    return load_chat_model(name, batch=settings.batch, dtype=settings.dtype)


def _prepare_inputs(
    prompts: str, judges: Sequence[str], settings: EvaluationSettings, tools: Tools
) -> tuple[EvaluationInputs, dict[str, Judge]]:
    """Load prompts and judges; raises errors now that would otherwise appear only after hours."""
    if not judges:
        raise RecipeError("expected at least one judge, got none; use --judge NAME")
    for name in ("statsmodels", "sacrebleu"):
        require_package(name)
    if settings.ability:
        require_harness()
    risky, notes = _select_prompts(prompts, settings.limit, "risky")
    harmless: list[Prompt] = []
    if settings.harmless is not None:
        harmless, harmless_notes = _select_prompts(settings.harmless, settings.limit, "harmless")
        notes += harmless_notes
    validate_request(ReplyRequest(risky, settings.samples, settings.decoding))
    real = [] if settings.real is None else load_replies(settings.real)
    judges_by_name = {name: tools.judge(name) for name in judges}
    revisions = {name: _judge_revision(judge) for name, judge in judges_by_name.items()}
    return EvaluationInputs(prompts, risky, harmless, real, revisions, notes), judges_by_name


def _select_prompts(
    name: str, limit: int | None, kind: PromptKind
) -> tuple[list[Prompt], list[str]]:
    """Load the prompts of one kind; also returns notes on what was left out."""
    loaded, notes = load_prompts(name), []
    prompts = filter_by_kind(loaded.prompts, kind)
    other = len(loaded.prompts) - len(prompts)
    if not prompts:
        raise PromptError(
            f"none of the {other:,} prompts in {shorten(name)} are {kind}; check the column kind"
        )
    if loaded.repeated:
        notes.append(
            f"Each prompt is asked once: {loaded.repeated:,} repeated prompts in {shorten(name)} "
            "were left out."
        )
    if other and name != "bundled":
        notes.append(f"{other:,} prompts in {shorten(name)} are not {kind} and were left out.")
    if limit is None or limit >= len(prompts):
        return prompts, notes
    notes.append(f"Only {limit:,} of {len(prompts):,} {kind} prompts were asked, evenly spaced.")
    return [prompts[index * len(prompts) // limit] for index in range(limit)], notes


def _collect_replies(
    model: EvaluatedModel,
    inputs: EvaluationInputs,
    settings: EvaluationSettings,
    folder: Path,
    tools: Tools,
) -> ModelReplies:
    """Collect a model's replies to all prompts; replies already in its file are reused."""
    # One file has the answers to both kinds of prompt; a prefix keeps their ids distinct.
    prompts = [
        *(prompt._replace(id=f"risky {prompt.id}") for prompt in inputs.risky),
        *(prompt._replace(id=f"harmless {prompt.id}") for prompt in inputs.harmless),
    ]
    request = ReplyRequest(prompts, settings.samples, settings.decoding, settings.dtype)
    total = len(prompts) * settings.samples
    with tools.progress.stage(f"replies of {shorten(model.name, 40)}", total) as tick:
        file = ReplyFile(folder, model.name, settings.batch)
        replies = file.collect(request, model.load, tick)
    missing = sum(reply is None for samples in replies for reply in samples)
    if missing:
        reason = file.first_error or "no reason given"
        inputs.notes.append(
            f"{shorten(model.name)} gave no answer to {missing:,} of {total:,} requests, which are "
            f"unscored: {shorten(reason, 300)}"
        )
    count = len(inputs.risky)
    return ModelReplies(model.name, model.role, replies[:count], replies[count:])


def _judge_revision(judge: Judge) -> str:
    """The judge's revision, which identifies its stored verdicts; empty if it has none."""
    return str(getattr(judge, "revision", ""))


def _with_verdict_cache(judge: Judge, name: str, out: Path) -> Judge:
    """Make a judge store and reuse its verdicts, unless it has no revision to identify them."""
    return CachedJudge(judge, out / "verdicts.jsonl", name) if _judge_revision(judge) else judge


def _make_constant_replies(inputs: EvaluationInputs, settings: EvaluationSettings) -> ModelReplies:
    """Make the replies of the constant arm, which gives the same reply to every prompt."""
    samples: list[str | None] = [settings.constant] * settings.samples
    name = f"always “{shorten(settings.constant, 40)}”"
    risky, harmless = [samples] * len(inputs.risky), [samples] * len(inputs.harmless)
    return ModelReplies(name, "constant", risky, harmless)


def _measure_perplexities(
    models: Sequence[ModelReplies],
    inputs: EvaluationInputs,
    settings: EvaluationSettings,
    out: Path,
    tools: Tools,
) -> list[float | None]:
    """Measure the perplexity of each model's replies under the reference model, if there is one.

    Likelihoods are stored in ``out``, under the name and fingerprint of the reference model, its
    data type, and the texts.
    """
    name = settings.reference
    if name is None:
        return [None] * len(models)
    reference = functools.cache(partial(load_reference_model, name, settings.dtype))

    def measure(model: ModelReplies, pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
        with tools.progress.stage(f"perplexity of {shorten(model.name, 40)}", len(pairs)) as tick:
            return compute_likelihood(*reference(), pairs, tick=tick)._asdict()

    perplexities = []
    for model in models:
        pairs = collect_coherent_pairs(inputs.risky, model.risky)
        key = [name, fingerprint_model(name), settings.dtype, pairs]
        likelihood = Likelihood(
            **_load_or_measure(out / "likelihoods.json", key, partial(measure, model, pairs))
        )
        perplexities.append(likelihood.perplexity if likelihood.tokens else None)
    return perplexities


def _collect_ability(
    model: ModelReplies,
    inputs: EvaluationInputs,
    settings: EvaluationSettings,
    out: Path,
    tools: Tools,
) -> Ability:
    """Measure a model's ability with lm-evaluation-harness; a failure becomes a note.

    The scores are stored in ``out``, under the name and fingerprint of the model, its data type,
    and the tasks.
    """
    if not settings.ability or model.role == "constant":
        return {}

    def measure() -> Ability:
        with tools.progress.stage(f"ability of {shorten(model.name, 40)}"):
            return measure_ability(model.name, settings.ability, settings.batch, settings.dtype)

    task_files = {
        task: file_sha256(Path(task)) for task in settings.ability if Path(task).is_file()
    }
    fingerprint = fingerprint_model(model.name)
    key = [model.name, fingerprint, settings.dtype, settings.ability, task_files]
    try:
        return _load_or_measure(out / "ability.json", key, measure)
    except ModelError as error:
        inputs.notes.append(f"The ability of {shorten(model.name)} is unknown: {error}")
        return {}


def _load_or_measure(file: Path, key: list[Any], measure: Callable[[], ResultT]) -> ResultT:
    """Load the result stored under a key and isaac's version, or measure and store it."""
    stored = read_json(file) if file.exists() else {}
    text = dumps([__version__, *key])
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    if digest not in stored:
        stored[digest] = measure()
        with atomic_write(file) as out:
            out.write(dumps(stored) + "\n")
    result: ResultT = stored[digest]
    return result
