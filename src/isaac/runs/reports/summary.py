"""The summary of a curation: the values that the reports show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..._version import __version__
from ...corpus.corpus import count_formats
from ...corpus.formats import TASK_ORIENTED_FORMATS
from ...corpus.rejected import Rejected
from ...curation.curate import Curation
from ...curation.dialogue.induced_acts import count_induced_acts
from ...curation.dialogue.trimming import TRIMMED
from ...curation.lineage import MAX_RANKS
from ...curation.vectors import as_floats
from ...runtime.arrays import Floats, Ints, Keys, Reals
from ...runtime.concurrency import single_threaded_blas
from ...text import make_printable, shorten, truncate
from .diagnosis import diagnose

MAX_EXAMPLES = 20
MAX_MAP_POINTS = 1500
MAX_REJECTED_ROWS = 100
MAX_TEXT_LENGTH = 600
"""Characters of a text that a report shows."""


def summarize(curation: Curation) -> dict[str, Any]:
    """Return everything that the report says, as plain values.

    It depends on the input, the recipe and the encoders only: two equal runs give equal bytes.
    """
    lineage = curation.lineage
    first = lineage.filter(_is_first_target(lineage))
    actions = Counter(first.column("action").to_pylist())
    return {
        "isaac": __version__,
        "inputs": [digest._asdict() for digest in curation.corpus.inputs],
        "formats": count_formats(curation.corpus),
        "exchanges": len(curation.corpus),
        "kept": actions["kept"],
        "replaced": actions["replaced"],
        "dropped": actions["dropped"],
        "abstained": actions["abstained"],
        "told": _describe_method(curation, first),
        "diagnosis": diagnose(curation)._asdict(),
        "choice": _summarize_choice(curation),
        "most_repeated": _find_most_repeated(curation, first),
        "targets": lineage.num_rows,
        "distinct_before": _compute_distinct_share(curation, np.arange(len(curation.corpus))),
        "distinct_after": _compute_distinct_share(curation, _find_remaining_sources(first)),
        "neighborhoods": _summarize_neighborhoods(curation, first),
        "ranks": _summarize_ranks(curation),
        "sharpness": _compute_histogram(_column_values(first, "sharpness")),
        "head_share": _compute_histogram(_column_values(first, "head_share")),
        "typicality": _compute_histogram(_column_values(first, "typicality")),
        "map": _build_map(curation, first),
        "examples": _collect_examples(curation, first),
        "rejected": _summarize_rejected(curation.corpus.rejected),
        "encoders": _summarize_encoders(curation),
        "recipe": curation.recipe.model_dump() | {"budget": curation.recipe.share},
        "notes": _collect_notes(curation, first),
    }


def _is_first_target(lineage: Any) -> Any:
    import pyarrow.compute as pc

    return pc.equal(lineage.column("target"), 0)


def _column_values(table: Any, name: str) -> npt.NDArray[Any]:
    return np.asarray(table.column(name).to_numpy())


def _response_numbers_by_id(curation: Curation) -> Ints:
    """Return for each id the number of its response text."""
    texts = np.empty_like(curation.layout.response)
    texts[curation.layout.ids] = curation.layout.response
    return texts


def _compute_distinct_share(curation: Curation, sources: npt.NDArray[Any]) -> float:
    """Return the share of different texts among the responses of some exchanges."""
    return round(
        len(np.unique(_response_numbers_by_id(curation)[sources])) / max(len(sources), 1), 4
    )


def _describe_method(curation: Curation, first: Any) -> list[str]:
    """Return what was done, as sentences."""
    recipe = curation.recipe
    most = int(_column_values(first, "neighborhood").max())
    told = []
    if recipe.reading.group_by is not None:
        looked = f"all exchanges with the same value of '{make_printable(recipe.reading.group_by)}'"
    else:
        looked = f"how the corpus answers the nearest contexts, up to {most:,} of them"
    same = "equal responses" if recipe.clusters == "text" else "responses that say much the same"
    told.append(f"For each exchange, isaac looked at {looked}, and put {same} into clusters.")
    if recipe.trim:
        told.append(
            "Parts of responses that have nothing to do with what they answer were removed."
        )
        if not recipe.share:
            return [*told, "A response of which nothing would be left was redrawn."]
    if recipe.mode == "filter":
        return [*told, f"The least typical {recipe.share:.0%} of rows were dropped."]
    if recipe.candidates < 1:
        told.append(f"Only the most typical {recipe.candidates:.0%} of responses could be drawn.")
    if recipe.share < 1:
        told.append(f"The most typical {1 - recipe.share:.0%} of rows are kept unchanged.")
    if recipe.keep:
        who = "So does a response" if recipe.share < 1 else "A response stays as it is"
        place = "in the largest cluster" if recipe.share < 1 else "if it is in the largest cluster"
        told.append(f"{who} {place}, unless it is alone there.")
    head = recipe.sharpening == "max" or recipe.top_clusters == 1
    told.append(
        f"For the others {'a replacement was' if recipe.targets == 1 else 'replacements were'} "
        f"drawn from {'the largest cluster' if head else 'the clusters, larger ones more often'}"
        f"{', favoring what fits the context and is typical' if recipe.weighted else ''}; "
        "if the draw returned a row's own response, it was kept."
    )
    return told


def _find_remaining_sources(first: Any) -> npt.NDArray[Any]:
    """Return where the responses that are left come from."""
    left = _column_values(first, "source_id")[_column_values(first, "action") != "dropped"]
    return np.asarray(left)


def _find_most_repeated(curation: Curation, first: Any) -> dict[str, Any]:
    """Return the response that was drawn for most rows, and for how many."""
    drawn = _column_values(first, "source_id")[_column_values(first, "action") == "replaced"]
    if not len(drawn):
        return {"rows": 0, "text": ""}
    texts, rows = np.unique(_response_numbers_by_id(curation)[drawn], return_counts=True)
    most = int(rows.argmax())
    source = drawn[_response_numbers_by_id(curation)[drawn] == texts[most]][:1]
    return {
        "rows": int(rows[most]),
        "text": truncate(curation.final_responses(source)[0], MAX_TEXT_LENGTH),
    }


def _summarize_choice(curation: Curation) -> dict[str, Any] | None:
    """Return what was chosen from the data, with the curve behind it."""
    if curation.choice is None:
        return None
    choice = curation.choice._asdict()
    choice["trials"] = [trial._asdict() for trial in curation.choice.trials]
    return choice


def _summarize_neighborhoods(curation: Curation, first: Any) -> dict[str, Any]:
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
    """Return, by rank, the share of responses that a cluster holds, over the rows of the corpus."""
    nests = curation.decide().neighborhood_stats
    width = min(MAX_RANKS, int(nests.clusters.max()))
    shares = (nests.largest_counts[:, :width] / nests.total[:, None])[
        _neighborhood_indices(curation)
    ]
    rows: list[dict[str, float]] = []
    for rank in range(shares.shape[1]):
        low, middle, high = np.percentile(shares[:, rank], [10, 50, 90])
        rows.append(
            {
                "rank": rank + 1,
                "mean": round(float(shares[:, rank].mean()), 5),
                "p10": round(float(low), 5),
                "median": round(float(middle), 5),
                "p90": round(float(high), 5),
            }
        )
    rest = round(float(1 - shares.sum(axis=1).mean()), 5)
    return [*rows, {"rank": 0, "mean": max(rest, 0.0)}]


def _neighborhood_indices(curation: Curation) -> Ints:
    return curation.layout.row_neighborhoods(curation.recipe)


def _compute_histogram(values: npt.NDArray[Any], bins: int = 20) -> list[int]:
    """Return counts of values in [0, 1] in equal bins."""
    counts, _ = np.histogram(np.clip(values, 0, 1), bins=bins, range=(0, 1))
    return [int(count) for count in counts]


def _sample_rows(keys: Keys, count: int) -> Ints:
    """Return the rows with the smallest keys: a fixed sample, the same however rows come."""
    return np.sort(np.argsort(keys, kind="stable")[:count])


def _build_map(curation: Curation, first: Any) -> list[dict[str, Any]]:
    """Return a sample of contexts in the plane of their two principal components."""
    if curation.contexts is None or len(curation.contexts.vectors) < 3:
        return []
    layout = curation.layout
    rows = _sample_rows(layout.keys, MAX_MAP_POINTS)
    plane = _project_to_plane(as_floats(curation.contexts.vectors[layout.context[rows]]))
    ids = layout.ids[rows]
    typical, actions = _column_values(first, "typicality"), first.column("action").to_pylist()
    order = np.argsort(ids)
    return [
        {
            "id": int(ids[i]),
            "x": round(float(plane[i, 0]), 4),
            "y": round(float(plane[i, 1]), 4),
            "typicality": round(float(typical[ids[i]]), 4),
            "action": actions[ids[i]],
            "context": shorten(layout.contexts[layout.context[rows[i]]], 90),
        }
        for i in order
    ]


def _project_to_plane(vectors: Floats) -> Reals:
    """Return coordinates along the two principal components, signs fixed."""
    centred = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    with single_threaded_blas():
        _, axes = np.linalg.eigh(centred.T @ centred)
    axes = axes[:, [-1, -2]] if axes.shape[1] > 1 else np.column_stack([axes, axes])
    axes *= np.sign(axes[np.abs(axes).argmax(axis=0), [0, 1]])
    return np.asarray(centred @ axes)


def _collect_examples(curation: Curation, first: Any) -> list[dict[str, Any]]:
    """Return some replaced rows with the clusters of their neighborhoods."""
    layout = curation.layout
    replaced = np.array([action == "replaced" for action in first.column("action").to_pylist()])
    rows = np.flatnonzero(replaced[layout.ids])
    chosen = rows[_sample_rows(layout.keys[rows], MAX_EXAMPLES)]
    neighborhoods = _neighborhood_indices(curation)[chosen]
    sizes = curation.decide().neighborhood_stats.largest_counts[neighborhoods]
    shown = []
    for number in np.argsort(layout.ids[chosen]).tolist():
        row = chosen[number]
        place = int(layout.ids[row])
        exchange, line = curation.corpus[place], first.slice(place, 1).to_pylist()[0]
        shown.append(
            {
                "id": place,
                "file": exchange.file,
                "line": exchange.line,
                "context": truncate(exchange.context, MAX_TEXT_LENGTH),
                "before": truncate(exchange.response, MAX_TEXT_LENGTH),
                "after": truncate(
                    curation.final_responses(np.array([line["source_id"]]))[0], MAX_TEXT_LENGTH
                ),
                "source_id": line["source_id"],
                "rank": line["rank"],
                "own_rank": line["own_rank"],
                "probability": round(line["probability"], 4),
                "neighborhood": line["neighborhood"],
                "clusters": line["clusters"],
                "sizes": [int(size) for size in sizes[number] if size],
            }
        )
    return shown


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
    """Return what a reader should know before trusting the result."""
    notes = []
    recipe, count = curation.recipe, len(curation.corpus)
    if recipe.reading.group_by is None and recipe.neighbors > count:
        notes.append(
            f"The corpus is smaller than a neighborhood: {count:,} of {recipe.neighbors:,} "
            "exchanges. The neighborhood of every row is the whole corpus."
        )
    vetoed = curation.response_scores.vetoed
    if vetoed is not None:
        failed = int(np.isnan(vetoed).sum())
        notes.append(
            f"Judge '{make_printable(recipe.judge or '')}' vetoed {int((vetoed == 1).sum()):,} of "
            f"{len(vetoed):,} distinct exchanges before the draw"
            + (f"; it failed for {failed:,}, which may be drawn." if failed else ".")
        )
    if recipe.reading.format in TASK_ORIENTED_FORMATS and (
        kinds := count_induced_acts(curation.corpus)
    ):
        notes.append(
            f"The acts of {sum(kinds.values()):,} of {count:,} turns are not annotated. They were "
            f"grouped into {len(kinds):,} induced acts by what was said before, in and after them."
        )
    if (trims := curation.response_scores.trims) is not None:
        trimmed = int((trims.action == TRIMMED)[curation.layout.response].sum())
        notes.append(
            f"Parts that have nothing to do with what they answer were removed from the responses "
            f"of {trimmed / count:.1%} of rows ({trimmed:,})."
        )
    search = curation.neighborhoods.search
    if search["by"] == "ivf":
        notes.append(
            "Nearest contexts were found with an inverted file, by searching "
            f"{search['probes']} of its {search['lists']:,} lists for each context. On a sample, "
            f"it found {search['recall']:.1%} of the {recipe.neighbors} nearest. --search exact "
            "compares all contexts."
        )
    if recipe.sharpening == "uniform":
        notes.append("A uniform draw favors small clusters, which need not be any safer.")
    head_sizes = _column_values(first, "head_share") * _column_values(first, "neighborhood")
    headless = int((head_sizes < 1.5).sum())
    if headless and recipe.share and recipe.mode != "filter":
        drawn = "they got a random neighbor's response"
        outcome = "these rows are unchanged" if recipe.abstain else drawn
        notes.append(
            f"No two responses agree in the neighborhood of {headless / count:.1%} of rows "
            f"({headless:,}): {outcome}. A larger radius or more neighbors may help."
        )
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


def _compute_repeat_increase(curation: Curation, first: Any) -> float:
    drawn = _response_numbers_by_id(curation)[_column_values(first, "source_id")]
    before = np.bincount(_response_numbers_by_id(curation))
    return float((np.bincount(drawn, minlength=len(before)) - before).max() / len(drawn))
