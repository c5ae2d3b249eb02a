"""Chat models trained on what was drawn (SFT), and on what it is preferred to (DPO, KTO)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

from ..errors import RecipeError
from ..models.chat.loading import Loaded, load
from ..runs.run import Run
from ..runtime.progress import Progress
from ..text import said as told
from .completion_loss import at_completions
from .datasets import Json, dataset, rows_of
from .fit import Build, Job, fit
from .folder import Trained, Work
from .settings import Settings
from .trainers import adapter, arguments, within


def sft(
    run: Run,
    model: str,
    out: str | Path,
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> Trained:
    """Return a model fine-tuned on the run's curated corpus, the loss on its responses only.

    Every target of an exchange is a row. ``model`` is any name that `load` knows; an adapter is
    trained on. The same call on the same folder goes on where it was stopped, and does nothing if
    it is finished. Raises `RecipeError` if the folder was begun with something else.
    """

    def build(job: Job, loaded: Loaded, work: Work) -> Any:
        return sft_trainer(job, loaded, work, rows_of(job.run, "sft"))

    return fit(Job.of("sft", run, model, out, settings), build, progress)


def sft_trainer(job: Job, loaded: Loaded, work: Work, rows: Iterable[Json]) -> Any:
    """Return TRL's SFTTrainer on conversational rows of prompt and completion."""
    import trl

    _need_causal(job, loaded)
    job = job._replace(settings=within(job.settings, loaded))
    trainer = trl.SFTTrainer(
        model=loaded.model,
        args=arguments(trl.SFTConfig, job.kind, work, job.settings),
        train_dataset=dataset(_sayable(rows, loaded, work), "sft", work.rows),
        processing_class=loaded.tokenizer,
        peft_config=adapter(loaded, job.settings),
    )
    if job.settings.completion_head:
        at_completions(trainer)
    return trainer


def _sayable(rows: Iterable[Json], loaded: Loaded, work: Work) -> Iterator[Json]:
    """Yield the rows that the model's chat template takes; the work counts the others.

    Raises `RecipeError` with the template's own words if it takes none.
    """
    why, taken = None, False
    for row in rows:
        try:
            for last in ("completion", "chosen", "rejected"):
                if last in row:
                    said = [*row["prompt"], *row[last]]
                    loaded.tokenizer.apply_chat_template(said, tokenize=False)
        except Exception as error:  # a template is code of its own
            why, work.refused = why or error, work.refused + 1
            continue
        taken = True
        yield row
    if why is not None and not taken:
        raise RecipeError(f"the model's chat template takes none of the rows: {told(why)}")


def dpo(
    run: Run,
    model: str,
    out: str | Path,
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> Trained:
    """Return a model that prefers what was drawn to the row's own atypical response, by DPO.

    ``model`` may be the folder that `sft` made: the reference is the model as it was given.
    Otherwise as `sft`.
    """
    return fit(Job.of("dpo", run, model, out, settings), _preferring("dpo"), progress)


def kto(
    run: Run,
    model: str,
    out: str | Path,
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> Trained:
    """Return a model that wants what was kept or drawn, and not what that replaced, by KTO.

    Otherwise as `dpo`. A batch must hold more than one row.
    """
    return fit(Job.of("kto", run, model, out, settings), _preferring("kto"), progress)


def _preferring(kind: Literal["dpo", "kto"]) -> Build:
    """Return what makes TRL's trainer of that kind."""

    def build(job: Job, loaded: Loaded, work: Work) -> Any:
        import trl

        _need_causal(job, loaded)
        job = job._replace(settings=within(job.settings, loaded))
        trainer, config = (getattr(trl, f"{kind.upper()}{part}") for part in ("Trainer", "Config"))
        return trainer(
            model=loaded.model,
            ref_model=_reference(job),
            args=arguments(config, kind, work, job.settings),
            train_dataset=dataset(_sayable(rows_of(job.run, kind), loaded, work), kind, work.rows),
            processing_class=loaded.tokenizer,
            peft_config=adapter(loaded, job.settings),
        )

    return build


def _reference(job: Job) -> Any:
    """Return the model as it was given, if all of its weights change; an adapter has its own."""
    if not job.settings.full:
        return None
    return load(job.model, dtype=job.settings.dtype or "float32", merged=True).model


def _need_causal(job: Job, loaded: Loaded) -> None:
    if loaded.seq2seq:
        raise RecipeError(
            f"{job.kind} is for causal language models; {job.model} has an encoder and a decoder. "
            "It can become a rephraser: isaac train rephraser"
        )
    if job.settings.completion_head and job.kind in ("dpo", "kto"):
        raise RecipeError(f"the completion head is for sft and rephrasers, not for {job.kind}")
