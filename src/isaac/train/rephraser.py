"""Rephrasers: models that learn to turn context and original response into the drawn response.

Training can have several stages, which the paper calls tempering. The model of a stage rewrites the
original of every replaced row. The next stage continues with that model, on the rows of the first
stage and on one more row per replaced row, from the rewrite to the same drawn response. A later
stage thus also learns to improve the incomplete rewrites of an earlier one. Many stages may pollute
the model again, so each stage's rewrites are stored in its folder for you to judge.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ..corpus.corpus import format_context
from ..corpus.formats import TASK_ORIENTED_FORMATS
from ..corpus.formats.base import Message
from ..corpus.formats.task_oriented import append_acts
from ..corpus.records import dumps, parse_json
from ..errors import RecipeError, RunError
from ..models.chat.loading import LoadedModel
from ..models.chat.rephraser import (
    WITHOUT_VALUES,
    build_chat_prompt,
    build_text_prompt,
    load_rephraser,
    supports_system_role,
)
from ..runs.export_items import iter_items
from ..runs.run import Run
from ..runtime.atomic_files import atomic_write
from ..runtime.progress import Progress
from .datasets import Json, build_dataset
from .fit import TrainerBuilder, TrainingJob, run_training
from .folder import TrainedModel, TrainingFolder
from .objectives import build_sft_trainer
from .settings import TrainingSettings
from .trainers import build_adapter_config, build_training_arguments, cap_max_length

REWRITES_FILE = "rewrites.jsonl"
"""The file with a stage's rewrites, in the folder of the stage."""

CHUNK_RESPONSES = 256
"""Responses that are rewritten between two progress reports."""


class RephraserExample(NamedTuple):
    """A context with an original response and the response to rewrite it into.

    An exchange with several targets has one example for each. ``kept`` is true if the response
    stays unchanged, ``first`` for the first target of an exchange.
    """

    context: str
    original: str
    response: str
    kept: bool
    first: bool


def iter_examples(run: Run) -> Iterator[RephraserExample]:
    """Iterate over the targets of a run that a rephraser learns from.

    Rows on which the run abstained, and dropped rows, are left out. A kept row is an example of a
    response that stays unchanged; further responses drawn for it are left out. At most as many kept
    rows as replaced ones are used, evenly spread; otherwise a model trained on a run that kept most
    rows would learn to copy. Dialogue turns are delexicalized, so that the model does not learn
    their values, and their acts are appended to their context. Raises `RunError` if the run has no
    curated corpus.
    """
    run.require_corpus()
    curation, row_kept, kept_rows = run.curation(), False, 0
    items = iter_items(curation, filled=False)
    actions = Counter(item.action for item in items if item.target == 0)
    quota = actions["replaced"] or actions["kept"]
    for item in iter_items(curation, filled=False):
        first, kept = item.target == 0, item.action == "kept"
        row_kept = kept if first else row_kept
        if kept and first:
            # Spread the quota evenly: use this row if the number of rows due so far rises by one.
            kept_rows += 1
            used = kept_rows * quota // actions["kept"] > (kept_rows - 1) * quota // actions["kept"]
        else:
            used = item.action == "replaced" and not row_kept
        if used:
            prompt = format_context(tuple(Message(**turn) for turn in item.prompt))
            context = append_acts(prompt, item.group)
            yield RephraserExample(context, item.original, item.response, kept, first)


def rephraser(
    run: Run,
    model: str,
    out: str | Path,
    settings: TrainingSettings | None = None,
    *,
    stages: int = 1,
    progress: Progress | None = None,
) -> TrainedModel:
    """Train a model to rewrite a response into the drawn one, and to leave kept ones unchanged.

    ``model`` is a causal model, or an encoder-decoder model such as T5 or BART. Earlier stages are
    in ``out/stages``, each with the rewrites that the next one learned from. Everything else works
    as in `sft`.
    """
    if stages < 1:
        raise RecipeError(f"expected at least 1 stage, got {stages}")
    if not any(example.first and not example.kept for example in iter_examples(run)):
        raise RunError(
            "no response of the run was replaced, so a rephraser has nothing to learn; redraw with "
            "a larger --budget: isaac redraw RUN --budget 0.8"
        )
    job = TrainingJob.of("rephraser", run, model, out, settings)
    if run.recipe().reading.format in TASK_ORIENTED_FORMATS:
        job = job._replace(extra={WITHOUT_VALUES: True})
    _check_same_training(job, stages)
    previous: Path | None = None
    for stage in range(1, stages + 1):
        folder = job.out if stage == stages else job.out / "stages" / str(stage)
        done = run_training(
            _build_stage_job(job, folder, (stage, stages), previous),
            _make_stage_builder(previous),
            progress,
        )
        if stage < stages:
            _write_rewrites(run, folder, progress or Progress())
        previous = folder
    return done


def _check_same_training(job: TrainingJob, stages: int) -> None:
    """Raise `RecipeError`, before any stage is trained, if ``out`` contains a different job."""
    folder = TrainingFolder(job.out)
    with folder.locked():
        folder.begin(_build_stage_job(job, job.out, (stages, stages), None).describe())


def _build_stage_job(
    job: TrainingJob, folder: Path, stage: tuple[int, int], previous: Path | None
) -> TrainingJob:
    """Derive the job of ``stage`` (number, total), which starts from the previous stage's model."""
    extra = {**job.extra, "stage": stage[0], "stages": stage[1]}
    start = None if previous is None else str(previous)
    return job._replace(out=folder, extra=extra, start=start)


def _make_stage_builder(previous: Path | None) -> TrainerBuilder:
    """Make the function that builds the trainer of a stage."""

    def build(job: TrainingJob, loaded: LoadedModel, folder: TrainingFolder) -> Any:
        if previous is not None:  # the adapter continues with the configuration of the first stage
            job = job._replace(settings=dataclasses.replace(job.settings, peft={}))
        stage_rows = _iter_stage_rows(job.run, previous)
        if loaded.seq2seq:
            return _build_seq2seq_trainer(job, loaded, folder, stage_rows)
        system = supports_system_role(loaded.tokenizer)
        rows = (
            {
                "prompt": build_chat_prompt(context, original, system=system),
                "completion": [{"role": "assistant", "content": target}],
            }
            for context, original, target in stage_rows
        )
        return build_sft_trainer(job, loaded, folder, rows)

    return build


def _iter_stage_rows(run: Run, previous: Path | None) -> Iterator[tuple[str, str, str]]:
    """Yield the context, the response to rewrite, and the target of every row of a stage."""
    rewrites = iter(()) if previous is None else _iter_rewrites(previous / REWRITES_FILE)
    rewrite: str | None = None
    for example in iter_examples(run):
        yield example.context, example.original, example.response
        if previous is not None and not example.kept:
            # There is one rewrite per exchange, for all of its targets.
            rewrite = next(rewrites) if example.first else rewrite
            if rewrite is not None and rewrite != example.original:
                yield example.context, rewrite, example.response


def _write_rewrites(run: Run, folder: Path, progress: Progress) -> None:
    """Rewrite the original of every replaced row with a stage's model, and store the rewrites."""
    if (folder / REWRITES_FILE).exists():
        return
    pairs = [
        (example.context, example.original)
        for example in iter_examples(run)
        if example.first and not example.kept
    ]
    model = load_rephraser(folder)
    with (
        progress.stage("rewrites", len(pairs)) as tick,
        atomic_write(folder / REWRITES_FILE) as out,
    ):
        for start in range(0, len(pairs), CHUNK_RESPONSES):
            chunk = pairs[start : start + CHUNK_RESPONSES]
            contexts, originals = [pair[0] for pair in chunk], [pair[1] for pair in chunk]
            rewrites = model.rewrite(contexts, originals)
            for (context, original), rewrite in zip(chunk, rewrites, strict=True):
                row = {"context": context, "original": original, "rewrite": rewrite}
                out.write(dumps(row) + "\n")
            tick(len(chunk))


def _iter_rewrites(file: Path) -> Iterator[str | None]:
    for line in file.read_text(encoding="utf-8").split("\n"):
        if line:
            yield parse_json(line)["rewrite"]


def _build_seq2seq_trainer(
    job: TrainingJob,
    loaded: LoadedModel,
    folder: TrainingFolder,
    stage_rows: Iterator[tuple[str, str, str]],
) -> Any:
    """Build transformers' Seq2SeqTrainer; rows that are too long for the model are left out."""
    import peft
    import transformers

    if job.settings.completion_head:
        raise RecipeError("the completion head is for causal models; leave it out")
    settings = cap_max_length(job.settings, loaded)
    args = build_training_arguments(
        transformers.Seq2SeqTrainingArguments, job.kind, folder, settings
    )
    transformers.set_seed(args.seed)
    config, model = build_adapter_config(loaded, settings), loaded.model
    if config is not None:
        model = peft.get_peft_model(model, config)
    if args.gradient_checkpointing and isinstance(model, peft.PeftModel):
        model.enable_input_require_grads()
    rows = build_dataset(_tokenize_rows(loaded.tokenizer, stage_rows), "tokens", folder.rows_file)
    return transformers.Seq2SeqTrainer(
        model=model,
        args=args,
        train_dataset=rows.filter(
            lambda row: max(len(row["input_ids"]), len(row["labels"])) <= settings.max_length
        ),
        data_collator=transformers.DataCollatorForSeq2Seq(loaded.tokenizer, model=model),
        processing_class=loaded.tokenizer,
    )


def _tokenize_rows(tokenizer: Any, rows: Iterator[tuple[str, str, str]]) -> Iterator[Json]:
    """Yield the token ids of each row's prompt and of its target."""
    for context, original, target in rows:
        yield {
            "input_ids": tokenizer(build_text_prompt(context, original))["input_ids"],
            "labels": tokenizer(text_target=target)["input_ids"],
        }
