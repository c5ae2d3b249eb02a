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

from ..corpus.corpus import context_text
from ..corpus.formats import DIALOGUES
from ..corpus.formats.base import Message
from ..corpus.formats.task_oriented import acting
from ..corpus.records import dumps, parse
from ..errors import RecipeError, RunError
from ..models.chat.loading import Loaded
from ..models.chat.rephraser import BARE, chat, load_rephraser, one_text, takes_system
from ..runs.export import items
from ..runs.run import Run
from ..runtime.atomic_files import writing
from ..runtime.progress import Progress
from .datasets import Json, dataset
from .fit import Job, fit
from .folder import Trained, Work
from .objectives import sft_trainer
from .settings import Settings
from .trainers import adapter, arguments, within

REWRITES = "rewrites.jsonl"
PORTION = 256
"""Responses that are rewritten between two words on progress."""


class Example(NamedTuple):
    """One target of an exchange; ``kept`` says that its response is the original and stays."""

    context: str
    original: str
    response: str
    kept: bool
    first: bool


def examples(run: Run) -> Iterator[Example]:
    """Yield the targets of a run, but for rows that it abstained from or dropped.

    A row that was kept stays as it is: further responses that were drawn for it are left out. Of
    such rows there are as many, evenly spread, as rows that were replaced, if there are more: from
    a run that kept most a model would learn to leave all as it is. Turns of dialogues are without
    their values, which the model is not to learn; their context ends with their acts.
    """
    curation, stays, seen = run.curation(), False, 0
    every = items(curation, filled=False)
    actions = Counter(item.action for item in every if item.target == 0)
    most = actions["replaced"] or actions["kept"]
    for item in items(curation, filled=False):
        first, kept = item.target == 0, item.action == "kept"
        stays = kept if first else stays
        if kept and first:
            seen += 1
            chosen = seen * most // actions["kept"] > (seen - 1) * most // actions["kept"]
        else:
            chosen = item.action == "replaced" and not stays
        if chosen:
            said = context_text(tuple(Message(**turn) for turn in item.prompt))
            context = acting(said, item.group)
            yield Example(context, item.original, item.response, kept, first)


def rephraser(
    run: Run,
    model: str,
    out: str | Path,
    settings: Settings | None = None,
    *,
    stages: int = 1,
    progress: Progress | None = None,
) -> Trained:
    """Return a model that rewrites a response to the one drawn for it, and leaves what was kept.

    ``model`` is causal, or has an encoder and a decoder (T5, BART). Earlier stages lie in
    ``out/stages``, each with the rewrites that the next one learnt from. Otherwise as `sft`.
    """
    if stages < 1:
        raise RecipeError(f"stages is {stages}; wanted 1 or more")
    if not any(one.first and not one.kept for one in examples(run)):
        raise RunError(
            "no response of the run was replaced, so that a rephraser has nothing to learn; "
            "draw with a greater --budget: isaac redraw RUN --budget 0.8"
        )
    job = Job.of("rephraser", run, model, out, settings)
    if run.recipe().format in DIALOGUES:
        job = job._replace(more={BARE: True})
    _refuse_early(job, stages)
    before: Path | None = None
    for stage in range(1, stages + 1):
        folder = job.out if stage == stages else job.out / "stages" / str(stage)
        done = fit(_staged(job, folder, (stage, stages), before), _build(before), progress)
        if stage < stages:
            _rewrite(run, folder, progress or Progress())
        before = folder
    return done


def _refuse_early(job: Job, stages: int) -> None:
    """Raise `RecipeError` before any stage is trained if the folder was begun with another."""
    work = Work(job.out)
    with work.locked():
        work.begin(_staged(job, job.out, (stages, stages), None).asked())


def _staged(job: Job, folder: Path, stage: tuple[int, int], before: Path | None) -> Job:
    """Return the job of one stage, which begins with the model of the one before."""
    more = {**job.more, "stage": stage[0], "stages": stage[1]}
    start = None if before is None else str(before)
    return job._replace(out=folder, more=more, start=start)


def _build(before: Path | None) -> Any:
    """Return what makes the trainer of a stage."""

    def build(job: Job, loaded: Loaded, work: Work) -> Any:
        if before is not None:
            job = job._replace(settings=dataclasses.replace(job.settings, peft={}))
        pairs = _inputs(job.run, before)
        if loaded.seq2seq:
            return _seq2seq_trainer(job, loaded, work, pairs)
        system = takes_system(loaded.tokenizer)
        rows = (
            {
                "prompt": chat(context, given, system=system),
                "completion": [{"role": "assistant", "content": wanted}],
            }
            for context, given, wanted in pairs
        )
        return sft_trainer(job, loaded, work, rows)

    return build


def _inputs(run: Run, before: Path | None) -> Iterator[tuple[str, str, str]]:
    """Yield context, given and wanted response of every row of a stage."""
    rewrites = iter(()) if before is None else _read(before / REWRITES)
    rewrite: str | None = None
    for one in examples(run):
        yield one.context, one.original, one.response
        if before is not None and not one.kept:
            rewrite = next(rewrites) if one.first else rewrite
            if rewrite is not None and rewrite != one.original:
                yield one.context, rewrite, one.response


def _rewrite(run: Run, folder: Path, progress: Progress) -> None:
    """Write what a stage's model makes of the original of every replaced row."""
    if (folder / REWRITES).exists():
        return
    asked = [(one.context, one.original) for one in examples(run) if one.first and not one.kept]
    model = load_rephraser(folder)
    with progress.stage("rewrite", len(asked)) as tick, writing(folder / REWRITES) as out:
        for start in range(0, len(asked), PORTION):
            some = asked[start : start + PORTION]
            contexts, originals = [pair[0] for pair in some], [pair[1] for pair in some]
            for (context, original), new in zip(
                some, model.rewrite(contexts, originals), strict=True
            ):
                row = {"context": context, "original": original, "rewrite": new}
                out.write(dumps(row) + "\n")
            tick(len(some))


def _read(file: Path) -> Iterator[str | None]:
    for line in file.read_text(encoding="utf-8").split("\n"):
        if line:
            yield parse(line)["rewrite"]


def _seq2seq_trainer(
    job: Job, loaded: Loaded, work: Work, pairs: Iterator[tuple[str, str, str]]
) -> Any:
    """Return transformers' Seq2SeqTrainer; rows that are too long for the model are left out."""
    import peft
    import transformers

    if job.settings.completion_head:
        raise RecipeError("the completion head is for causal models; leave it out")
    settings = within(job.settings, loaded)
    args = arguments(transformers.Seq2SeqTrainingArguments, job.kind, work, settings)
    transformers.set_seed(args.seed)
    config, model = adapter(loaded, settings), loaded.model
    if config is not None:
        model = peft.get_peft_model(model, config)
    if args.gradient_checkpointing and isinstance(model, peft.PeftModel):
        model.enable_input_require_grads()
    rows = dataset(_tokens(loaded.tokenizer, pairs), "tokens", work.rows)
    return transformers.Seq2SeqTrainer(
        model=model,
        args=args,
        train_dataset=rows.filter(
            lambda row: max(len(row["input_ids"]), len(row["labels"])) <= settings.max_length
        ),
        data_collator=transformers.DataCollatorForSeq2Seq(loaded.tokenizer, model=model),
        processing_class=loaded.tokenizer,
    )


def _tokens(tokenizer: Any, pairs: Iterator[tuple[str, str, str]]) -> Iterator[Json]:
    """Yield the tokens of what is given and of what is wanted."""
    for context, given, wanted in pairs:
        yield {
            "input_ids": tokenizer(one_text(context, given))["input_ids"],
            "labels": tokenizer(text_target=wanted)["input_ids"],
        }
