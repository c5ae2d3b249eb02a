"""Rephrasers: models that learn context and original response -> drawn response.

Stages, the paper's tempering: a stage trains as any training does. Then its model rewrites the
original of every replaced row, and the next stage goes on with that model, on the rows of the
first stage and, for each replaced row, one more from the rewrite to the same drawn response. So
a later stage also learns to mend what an earlier one left half done. Many stages may pollute the
model again; each stage's rewrites are kept beside it, to be judged.
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
from ..runs.export import iter_items
from ..runs.run import Run
from ..runtime.atomic_files import atomic_write
from ..runtime.progress import Progress
from .datasets import Json, build_dataset
from .fit import TrainingJob, run_training
from .folder import TrainedModel, TrainingFolder
from .objectives import build_sft_trainer
from .settings import TrainingSettings
from .trainers import build_adapter_config, build_training_arguments, cap_max_length

REWRITES_FILE = "rewrites.jsonl"
CHUNK_RESPONSES = 256
"""Responses that are rewritten between two words on progress."""


class RephraserExample(NamedTuple):
    """One target of an exchange; ``kept`` says that its response is the original and stays."""

    context: str
    original: str
    response: str
    kept: bool
    first: bool


def iter_examples(run: Run) -> Iterator[RephraserExample]:
    """Yield the targets of a run, but for rows that it abstained from or dropped.

    A row that was kept stays as it is: further responses that were drawn for it are left out. Of
    such rows there are as many, evenly spread, as rows that were replaced, if there are more: from
    a run that kept most a model would learn to leave all as it is. Turns of dialogues are without
    their values, which the model is not to learn; their context ends with their acts.
    """
    curation, stays, seen = run.curation(), False, 0
    every = iter_items(curation, filled=False)
    actions = Counter(item.action for item in every if item.target == 0)
    most = actions["replaced"] or actions["kept"]
    for item in iter_items(curation, filled=False):
        first, kept = item.target == 0, item.action == "kept"
        stays = kept if first else stays
        if kept and first:
            seen += 1
            chosen = seen * most // actions["kept"] > (seen - 1) * most // actions["kept"]
        else:
            chosen = item.action == "replaced" and not stays
        if chosen:
            said = format_context(tuple(Message(**turn) for turn in item.prompt))
            context = append_acts(said, item.group)
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
    """Return a model that rewrites a response to the one drawn for it, and leaves what was kept.

    ``model`` is causal, or has an encoder and a decoder (T5, BART). Earlier stages lie in
    ``out/stages``, each with the rewrites that the next one learnt from. Otherwise as `sft`.
    """
    if stages < 1:
        raise RecipeError(f"stages is {stages}; wanted 1 or more")
    if not any(one.first and not one.kept for one in iter_examples(run)):
        raise RunError(
            "no response of the run was replaced, so that a rephraser has nothing to learn; "
            "draw with a greater --budget: isaac redraw RUN --budget 0.8"
        )
    job = TrainingJob.of("rephraser", run, model, out, settings)
    if run.recipe().reading.format in TASK_ORIENTED_FORMATS:
        job = job._replace(more={WITHOUT_VALUES: True})
    _check_same_training(job, stages)
    before: Path | None = None
    for stage in range(1, stages + 1):
        folder = job.out if stage == stages else job.out / "stages" / str(stage)
        done = run_training(
            _build_stage_job(job, folder, (stage, stages), before),
            _make_stage_builder(before),
            progress,
        )
        if stage < stages:
            _write_rewrites(run, folder, progress or Progress())
        before = folder
    return done


def _check_same_training(job: TrainingJob, stages: int) -> None:
    """Raise `RecipeError` before any stage is trained if the folder was begun with another."""
    work = TrainingFolder(job.out)
    with work.locked():
        work.begin(_build_stage_job(job, job.out, (stages, stages), None).asked())


def _build_stage_job(
    job: TrainingJob, folder: Path, stage: tuple[int, int], before: Path | None
) -> TrainingJob:
    """Return the job of one stage, which begins with the model of the one before."""
    more = {**job.more, "stage": stage[0], "stages": stage[1]}
    start = None if before is None else str(before)
    return job._replace(out=folder, more=more, start=start)


def _make_stage_builder(before: Path | None) -> Any:
    """Return what makes the trainer of a stage."""

    def build(job: TrainingJob, loaded: LoadedModel, work: TrainingFolder) -> Any:
        if before is not None:
            job = job._replace(settings=dataclasses.replace(job.settings, peft={}))
        pairs = _iter_stage_rows(job.run, before)
        if loaded.seq2seq:
            return _build_seq2seq_trainer(job, loaded, work, pairs)
        system = supports_system_role(loaded.tokenizer)
        rows = (
            {
                "prompt": build_chat_prompt(context, given, system=system),
                "completion": [{"role": "assistant", "content": wanted}],
            }
            for context, given, wanted in pairs
        )
        return build_sft_trainer(job, loaded, work, rows)

    return build


def _iter_stage_rows(run: Run, before: Path | None) -> Iterator[tuple[str, str, str]]:
    """Yield context, given and wanted response of every row of a stage."""
    rewrites = iter(()) if before is None else _iter_rewrites(before / REWRITES_FILE)
    rewrite: str | None = None
    for one in iter_examples(run):
        yield one.context, one.original, one.response
        if before is not None and not one.kept:
            rewrite = next(rewrites) if one.first else rewrite
            if rewrite is not None and rewrite != one.original:
                yield one.context, rewrite, one.response


def _write_rewrites(run: Run, folder: Path, progress: Progress) -> None:
    """Write what a stage's model makes of the original of every replaced row."""
    if (folder / REWRITES_FILE).exists():
        return
    asked = [
        (one.context, one.original) for one in iter_examples(run) if one.first and not one.kept
    ]
    model = load_rephraser(folder)
    with progress.stage("rewrite", len(asked)) as tick, atomic_write(folder / REWRITES_FILE) as out:
        for start in range(0, len(asked), CHUNK_RESPONSES):
            some = asked[start : start + CHUNK_RESPONSES]
            contexts, originals = [pair[0] for pair in some], [pair[1] for pair in some]
            for (context, original), new in zip(
                some, model.rewrite(contexts, originals), strict=True
            ):
                row = {"context": context, "original": original, "rewrite": new}
                out.write(dumps(row) + "\n")
            tick(len(some))


def _iter_rewrites(file: Path) -> Iterator[str | None]:
    for line in file.read_text(encoding="utf-8").split("\n"):
        if line:
            yield parse_json(line)["rewrite"]


def _build_seq2seq_trainer(
    job: TrainingJob,
    loaded: LoadedModel,
    work: TrainingFolder,
    pairs: Iterator[tuple[str, str, str]],
) -> Any:
    """Return transformers' Seq2SeqTrainer; rows that are too long for the model are left out."""
    import peft
    import transformers

    if job.settings.completion_head:
        raise RecipeError("the completion head is for causal models; leave it out")
    settings = cap_max_length(job.settings, loaded)
    args = build_training_arguments(transformers.Seq2SeqTrainingArguments, job.kind, work, settings)
    transformers.set_seed(args.seed)
    config, model = build_adapter_config(loaded, settings), loaded.model
    if config is not None:
        model = peft.get_peft_model(model, config)
    if args.gradient_checkpointing and isinstance(model, peft.PeftModel):
        model.enable_input_require_grads()
    rows = build_dataset(_tokenize_pairs(loaded.tokenizer, pairs), "tokens", work.rows)
    return transformers.Seq2SeqTrainer(
        model=model,
        args=args,
        train_dataset=rows.filter(
            lambda row: max(len(row["input_ids"]), len(row["labels"])) <= settings.max_length
        ),
        data_collator=transformers.DataCollatorForSeq2Seq(loaded.tokenizer, model=model),
        processing_class=loaded.tokenizer,
    )


def _tokenize_pairs(tokenizer: Any, pairs: Iterator[tuple[str, str, str]]) -> Iterator[Json]:
    """Yield the tokens of what is given and of what is wanted."""
    for context, given, wanted in pairs:
        yield {
            "input_ids": tokenizer(build_text_prompt(context, given))["input_ids"],
            "labels": tokenizer(text_target=wanted)["input_ids"],
        }
