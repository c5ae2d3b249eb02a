"""The summary of a curation: the values that the reports show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..._version import __version__
from ...corpus.control_tokens import has_control_tokens
from ...corpus.corpus import count_formats
from ...corpus.formats import TASK_ORIENTED_FORMATS
from ...corpus.rejected import Rejected
from ...curation.curate import Curation
from ...curation.dialogue.induced_acts import count_induced_acts
from ...curation.dialogue.trimming import TRIMMED
from ...curation.lineage import first_targets
from ...curation.shard_decisions import MAX_RANKS
from ...recipe import CLUSTER_FIELDS, ResolvedRecipe
from ...text import make_printable, short_name, shorten
from ..dropped_turns import find_removed_turns
from .cases import MAX_TEXT_LENGTH, collect_cases
from .diagnosis import diagnose
from .isolation import summarize_isolation
from .price import trace_curve
from .turns import summarize_turns
from .written import find_written_rows, summarize_written

MAX_REJECTED_ROWS = 100
"""Maximum number of unusable rows that a report shows."""


def summarize(curation: Curation) -> dict[str, Any]:
    """Summarize a curation: all values of the report, as in ``report.json``.

    They depend only on the input, the recipe and the encoders: equal runs give equal reports.
    ``refused`` is whether a run has no curated corpus, because the method does not apply; only
    `write_outputs` knows that.
    """
    lineage = curation.lineage
    first = first_targets(lineage)
    actions = Counter(first.column("action").to_pylist())
    turns = summarize_turns(curation)
    return {
        "isaac": __version__,
        "refused": False,
        "diagnosis": diagnose(curation).as_json(),
        "exchanges": len(curation.corpus),
        "kept": actions["kept"],
        "replaced": actions["replaced"],
        "dropped": actions["dropped"],
        "abstained": actions["abstained"],
        **summarize_written(curation, find_written_rows(curation, first))._asdict(),
        "targets": lineage.num_rows,
        "distinct_before": _compute_distinct_share(curation, np.arange(len(curation.corpus))),
        "distinct_after": _compute_distinct_share(curation, _find_remaining_sources(curation)),
        "notes": [*turns.describe(), *_collect_notes(curation, first)],
        "cases": collect_cases(curation, first),
        "curve": [point._asdict() for point in trace_curve(curation)],
        "isolation": summarize_isolation(curation, first),
        "ranks": _summarize_ranks(curation),
        "neighborhoods": _summarize_neighborhoods(curation, first),
        "told": _describe_method(curation, first),
        "choice": _summarize_choice(curation),
        "rejected": _summarize_rejected(curation.corpus.rejected),
        "turns": turns.as_json(),
        "recipe": _summarize_recipe(curation.recipe),
        "inputs": [digest._asdict() for digest in curation.corpus.inputs],
        "formats": count_formats(curation.corpus),
        "encoders": _summarize_encoders(curation),
    }


def _summarize_recipe(recipe: ResolvedRecipe) -> dict[str, Any]:
    """The fields of a recipe that matter for its mode, with what "auto" means."""
    values = recipe.model_dump() | {"budget": recipe.share, "repeats": recipe.repeat_limit}
    if recipe.by_fit:
        values["min_fit"] = recipe.fit_bound
    unused = [] if recipe.by_fit else ["min_fit"]
    if not recipe.uses_clusters:
        unused += CLUSTER_FIELDS
    return {
        name: (", ".join(value) or None) if isinstance(value, tuple) else value
        for name, value in values.items()
        if name not in unused
    }


def _column_values(table: Any, name: str) -> npt.NDArray[Any]:
    return np.asarray(table.column(name).to_numpy())


def _compute_distinct_share(curation: Curation, ids: npt.NDArray[Any]) -> float:
    """The share of distinct texts among the responses of some exchanges."""
    return round(len(np.unique(curation.response_by_id[ids])) / max(len(ids), 1), 4)


def _describe_method(curation: Curation, first: Any) -> list[str]:
    """Describe in sentences what the curation did."""
    recipe = curation.recipe
    if not recipe.uses_clusters:
        return _describe_trust(recipe)
    largest = int(_column_values(first, "neighborhood").max())
    if recipe.reading.group_by is not None:
        key = make_printable(recipe.reading.group_by)
        source = f"the responses of all exchanges with the same value of '{key}'"
    else:
        source = f"the responses to the most similar contexts, at most {largest:,} of them"
    same = "equal ones" if recipe.clusters == "text" else "similar ones"
    sentences = [f"For each exchange, isaac took {source}, and put {same} into clusters."]
    if recipe.trim:
        sentences.append(
            "Parts of responses that have nothing to do with what they answer were removed."
        )
        if not recipe.share:
            return [*sentences, "If nothing would be left of a response, another one was drawn."]
    in_head = "rows whose response shares the largest cluster with others"
    if recipe.mode == "filter":
        except_head = f", except {in_head}" if recipe.keep else ""
        dropped = f"The least typical {recipe.share:.0%} of rows were dropped{except_head}."
        return [*sentences, dropped]
    if recipe.candidates < 1:
        sentences.append(
            f"Only the most typical {recipe.candidates:.0%} of responses could be drawn."
        )
    if recipe.share < 1:
        sentences.append(f"The most typical {1 - recipe.share:.0%} of rows kept their response.")
    if recipe.keep:
        too = " too" if recipe.share < 1 else ""
        sentences.append(f"{in_head.capitalize()} kept it{too}.")
    responses = "a response" if recipe.targets == 1 else "responses"
    is_head = recipe.sharpening == "max" or recipe.top_clusters == 1
    clusters = "the largest cluster" if is_head else "the clusters, larger ones more often"
    favoring = ", favoring responses that fit the context and are typical" * recipe.weighted
    return [
        *sentences,
        f"The other rows got {responses} drawn from {clusters}{favoring}; "
        "a row that drew its own response kept it.",
    ]


def _describe_trust(recipe: ResolvedRecipe) -> list[str]:
    """Describe in sentences what a curation without clusters did."""
    signal = {
        "wording": "their wording is",
        "smoothed": "their wording, and that of the most similar responses, is",
    }.get(recipe.trust, "their wording, that of the most similar responses, and their phrasing are")
    share = f"{1 - recipe.share:.0%}"
    trusted = f"isaac trusted {share} of the rows, because {signal} typical; they are unchanged."
    rest = {
        "filter": "The other rows were dropped.",
        "selective": "Each other row got the trusted response that fits its message best, or was "
        "dropped if none fits.",
        "pairs": "Each of them was paired with an untrusted response that fits its message, to be "
        "preferred to it, if one fits.",
    }
    return [trusted, rest[recipe.mode]]


def _find_remaining_sources(curation: Curation) -> npt.NDArray[Any]:
    """The ids of the exchanges that the remaining responses come from."""
    sources = _column_values(first_targets(curation.lineage), "source_id")
    return np.asarray(sources[~find_removed_turns(curation.corpus, curation.lineage)])


def _summarize_choice(curation: Curation) -> dict[str, Any] | None:
    """The settings that were chosen from the corpus, with the trials behind them."""
    if curation.choice is None:
        return None
    choice = curation.choice._asdict()
    choice["trials"] = [trial._asdict() for trial in curation.choice.trials]
    return choice


def _summarize_neighborhoods(curation: Curation, first: Any) -> dict[str, Any] | None:
    """Sizes of neighborhoods and clusters; None if the recipe uses none."""
    if curation.neighborhoods is None:
        return None
    sizes = _column_values(first, "neighborhood")
    return {
        "by": curation.recipe.reading.group_by or "nearest contexts",
        "count": len(curation.neighborhoods),
        "size": {
            "least": int(sizes.min()),
            "median": float(np.median(sizes)),
            "most": int(sizes.max()),
        },
        "clusters": float(np.median(_column_values(first, "clusters"))),
        "without_head": int((_column_values(first, "head_share") * sizes < 1.5).sum()),
    }


def _summarize_ranks(curation: Curation) -> list[dict[str, float]]:
    """The share of a neighborhood by rank of cluster, over all rows; rank 0 is all smaller ones."""
    stats = curation.decide().neighborhood_stats
    if stats is None:
        return []
    width = min(MAX_RANKS, int(stats.clusters.max()))
    # Shares by neighborhood (m, r), then by row (n, r).
    shares = stats.largest_counts[:, :width] / stats.total[:, None]
    shares = shares[curation.layout.row_neighborhoods(curation.recipe)]
    ranks: list[dict[str, float]] = []
    for rank in range(shares.shape[1]):
        p10, median, p90 = np.percentile(shares[:, rank], [10, 50, 90])
        ranks.append(
            {
                "rank": rank + 1,
                "mean": round(float(shares[:, rank].mean()), 5),
                "p10": round(float(p10), 5),
                "median": round(float(median), 5),
                "p90": round(float(p90), 5),
            }
        )
    rest = round(float(1 - shares.sum(axis=1).mean()), 5)
    return [*ranks, {"rank": 0, "mean": max(rest, 0.0)}]


def _summarize_rejected(rejected: Sequence[Rejected]) -> dict[str, Any]:
    reasons = Counter(make_printable(row.reason[:MAX_TEXT_LENGTH]) for row in rejected)
    return {
        "count": len(rejected),
        "reasons": [{"reason": reason, "rows": rows} for reason, rows in reasons.most_common(20)],
        "rows": [
            {
                "file": row.file,
                "line": row.line,
                "reason": make_printable(row.reason[:MAX_TEXT_LENGTH]),
                "text": shorten(row.raw[:2000].decode("utf-8", "backslashreplace"), 200),
            }
            for row in rejected[:MAX_REJECTED_ROWS]
        ],
    }


def _summarize_encoders(curation: Curation) -> dict[str, Any]:
    return {
        name: {
            "encoder": embedded.encoder,
            "texts": len(embedded.vectors),
            "dimensions": int(embedded.vectors.shape[1]),
            "unknown": embedded.unknown,
        }
        for name, embedded in (("contexts", curation.contexts), ("responses", curation.responses))
        if embedded is not None
    }


def _collect_notes(curation: Curation, first: Any) -> list[str]:
    """What a reader should know before relying on the result."""
    return [*_collect_step_notes(curation), *_collect_warnings(curation, first)]


def _collect_step_notes(curation: Curation) -> list[str]:
    """Notes on steps that not every curation has, and on their success."""
    notes = []
    recipe, count = curation.recipe, len(curation.corpus)
    uses_nearest = recipe.uses_clusters and recipe.reading.group_by is None
    if uses_nearest and recipe.neighbors > count:
        notes.append(
            f"The corpus is smaller than a neighborhood: {count:,} of {recipe.neighbors:,} "
            "exchanges. The neighborhood of every row is the whole corpus."
        )
    vetoed = curation.response_scores.vetoed
    if vetoed is not None:
        failed = int(np.isnan(vetoed).sum())
        judge = make_printable(short_name(recipe.judge or ""))
        notes.append(
            f"Judge '{judge}' vetoed {int((vetoed == 1).sum()):,} of "
            f"{len(vetoed):,} distinct exchanges before the draw"
            + (f"; it failed for {failed:,}, which may be drawn." if failed else ".")
        )
    if recipe.reading.format in TASK_ORIENTED_FORMATS and (
        acts := count_induced_acts(curation.corpus)
    ):
        notes.append(
            f"The acts of {sum(acts.values()):,} of {count:,} turns are not annotated. These turns "
            f"were grouped into {len(acts):,} induced acts by the text before, in and after them."
        )
    if count_of_control := _count_control_tokens(curation):
        notes.append(
            f"{count_of_control:,} responses have control tokens of chat templates, such as "
            "<|im_end|>. Exports take them apart; see --control-tokens."
        )
    if (trims := curation.response_scores.trims) is not None:
        trimmed = int((trims.action == TRIMMED)[curation.layout.response].sum())
        notes.append(
            f"Parts that have nothing to do with what they answer were removed from the responses "
            f"of {trimmed / count:.1%} of rows ({trimmed:,})."
        )
    search = {} if curation.neighborhoods is None else curation.neighborhoods.search
    if search.get("by") == "ivf":
        notes.append(
            "Nearest contexts were found with an inverted file, by searching "
            f"{search['probes']} of its {search['lists']:,} lists for each context. On a sample, "
            f"it found {search['recall']:.1%} of the {recipe.neighbors} nearest. --search exact "
            "compares all contexts."
        )
    return notes


def _count_control_tokens(curation: Curation) -> int:
    """The number of rows whose original response has control tokens."""
    found = [has_control_tokens(text) for text in curation.layout.responses]
    return int(np.array(found, bool)[curation.layout.response].sum())


def _collect_warnings(curation: Curation, first: Any) -> list[str]:
    """Notes on rows and texts for which the result means little."""
    notes = []
    recipe, count = curation.recipe, len(curation.corpus)
    if recipe.by_cluster and recipe.sharpening == "uniform":
        notes.append("A uniform draw favors small clusters, which need not be any safer.")
    if recipe.by_cluster and recipe.share:
        notes += _note_headless(recipe, first)
    notes += [
        f"The encoder knew no word of {embedded['unknown']:,} distinct {name}; "
        "each was treated as similar to no other."
        for name, embedded in _summarize_encoders(curation).items()
        if embedded["unknown"]
    ]
    repeats = _compute_repeat_increase(curation, first)
    if repeats > 0.05 and count >= 100:
        notes.append(f"One response was drawn for {repeats:.0%} of all rows: the result is bland.")
    return notes


def _note_headless(recipe: ResolvedRecipe, first: Any) -> list[str]:
    """A note on rows in whose neighborhood no two responses agree."""
    head_sizes = _column_values(first, "head_share") * _column_values(first, "neighborhood")
    headless = int((head_sizes < 1.5).sum())
    if not headless:
        return []
    drawn = "they got a random neighbor's response"
    outcome = "these rows are unchanged" if recipe.abstain else drawn
    return [
        f"No two responses agree in the neighborhood of {headless / len(first):.1%} of rows "
        f"({headless:,}): {outcome}. A larger radius or more neighbors may help."
    ]


def _compute_repeat_increase(curation: Curation, first: Any) -> float:
    """The largest increase of one response's share of all rows."""
    before = np.bincount(curation.response_by_id)
    responses = curation.response_by_id[_column_values(first, "source_id")]
    after = np.bincount(responses, minlength=len(before))
    return float((after - before).max() / len(responses))
