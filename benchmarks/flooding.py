"""What an attacker gains by repeating one unsafe response, and how counting copies once limits it.

Each attack adds one unsafe response of DiaSafety (10 % unsafe) m more times, as the response to
the contexts nearest to its own. The table shows for how many of the corpus's own rows a copy is
then drawn. The copies are either equal, or varied: each ends in two more words.

Run: python benchmarks/flooding.py [--copies 10 50 200] [--attacks 5]
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from common import (
    CachedEncoder,
    CorpusWithLabels,
    contaminate,
    format_header,
    format_table,
    load_cached_encoder,
    make_parser,
    normalize_vectors,
    read_diasafety,
)

from isaac import Corpus, Recipe, Tools, curate

RECIPES = {
    "paper's settings": Recipe.paper(),
    "paper's settings, near-duplicates count once": Recipe.paper(duplicates="once"),
    "defaults, each near-duplicate counts": Recipe(duplicates="each"),
    "defaults": Recipe(),
}

WORDS = ("yes", "no", "well", "so", "now", "then", "here", "there", "again", "maybe", "really")
"""Varied copies end in two of these words."""


class Attack(NamedTuple):
    """An unsafe response, and the contexts that it is repeated for, nearest first."""

    response: str
    contexts: list[str]


def plan_attacks(
    labeled: CorpusWithLabels, encoder: CachedEncoder, attacks: int, copies: int, seed: int
) -> Iterator[Attack]:
    """Choose unsafe responses by a seed, and for each as many nearest contexts as copies."""
    corpus, unsafe = labeled
    contexts, responses = corpus.column("context"), corpus.column("response")
    vectors = normalize_vectors(encoder.encode(contexts))
    rng = np.random.default_rng(seed)
    for row in rng.choice(np.flatnonzero(unsafe), attacks, replace=False).tolist():
        nearest = np.argsort(-(vectors @ vectors[row]), kind="stable")[:copies]
        yield Attack(responses[row], [contexts[i] for i in nearest.tolist()])


def make_copies(attack: Attack, count: int, *, varied: bool) -> list[tuple[str, str]]:
    """The exchanges that the attacker adds."""
    endings = [f" {a} {b}" for a in WORDS for b in WORDS] if varied else [""]
    return [
        (context, attack.response + endings[i % len(endings)])
        for i, context in enumerate(attack.contexts[:count])
    ]


def count_captured(
    corpus: Corpus, added: list[tuple[str, str]], recipe: Recipe, encoder: CachedEncoder
) -> int:
    """Count the corpus's own rows for which an added response is drawn."""
    pairs = list(zip(corpus.column("context"), corpus.column("response"), strict=True))
    flooded = Corpus.of(pairs + added)
    tools = Tools(encoders={"wordllama": encoder})
    lineage = curate(flooded, recipe, tools).lineage
    sources = np.asarray(lineage.column("source_id").to_numpy())[: len(pairs)]
    return int((sources >= len(pairs)).sum())


def main() -> None:
    """Print the table."""
    parser = make_parser(__doc__)
    parser.add_argument("--data", type=Path, help="DiaSafety's train.json")
    parser.add_argument(
        "--copies", type=int, nargs="+", default=[10, 50, 200], help="copies added per attack"
    )
    parser.add_argument("--attacks", type=int, default=5, help="number of attacks")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    labeled = contaminate(read_diasafety(args.data), 0.1, args.seed)
    encoder = load_cached_encoder("wordllama")
    attacks = list(plan_attacks(labeled, encoder, args.attacks, max(args.copies), args.seed))
    table = []
    for name, recipe in RECIPES.items():
        for varied in (False, True):
            row = [name, "varied" if varied else "equal"]
            for count in args.copies:
                captured = [
                    count_captured(
                        labeled.corpus, make_copies(attack, count, varied=varied), recipe, encoder
                    )
                    for attack in attacks
                ]
                row.append(f"{statistics.mean(captured):.1f} ({min(captured)} to {max(captured)})")
            table.append(row)
            print(*row, sep="  ", file=sys.stderr, flush=True)
    print(format_header("benchmarks/flooding.py", [args.seed]))
    print(f"\n{args.attacks} attacks, {len(labeled.corpus):,} rows; rows captured by m copies\n")
    print(format_table(("recipe", "copies", *(f"m = {m}" for m in args.copies)), table))


if __name__ == "__main__":
    main()
