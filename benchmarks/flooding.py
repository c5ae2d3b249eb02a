"""What an attacker gains by repeating one unsafe response, and what counting copies once does.

For each attack one unsafe response of DiaSafety (10 % unsafe) is added again, m times, as the
answer to the contexts nearest to its own. The table says for how many of the corpus's own rows
that response, or a copy, is then drawn. Copies are equal, or each with another word at its end.

Run: python benchmarks/flooding.py [--copies 10 50 200] [--attacks 5]
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from common import CachedEncoder, contaminate, format_header, format_table, read_diasafety

from isaac import Corpus, Recipe, Tools, curate, load_encoder

RECIPES = {
    "paper's settings": Recipe.paper(),
    "paper's settings, near-duplicates once": Recipe.paper(duplicates="once"),
    "defaults, near-duplicates each": Recipe(duplicates="each"),
    "defaults": Recipe(),
}

WORDS = ("yes", "no", "well", "so", "now", "then", "here", "there", "again", "maybe", "really")


class Attack(NamedTuple):
    """An unsafe response and the contexts it is repeated for, the nearest first."""

    response: str
    contexts: list[str]


def plan_attacks(
    corpus: Corpus, unsafe: np.ndarray, encoder: CachedEncoder, count: int, most: int, seed: int
) -> Iterator[Attack]:
    """Yield attacks with a seeded choice of unsafe responses."""
    contexts, responses = corpus.column("context"), corpus.column("response")
    vectors = encoder.encode(contexts)
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    rng = np.random.default_rng(seed)
    for row in rng.choice(np.flatnonzero(unsafe), count, replace=False).tolist():
        near = np.argsort(-(vectors @ vectors[row]), kind="stable")[:most]
        yield Attack(responses[row], [contexts[i] for i in near.tolist()])


def make_copies(attack: Attack, count: int, *, varied: bool) -> list[tuple[str, str]]:
    """Return the exchanges that the attacker adds."""
    ends = [f" {a} {b}" for a in WORDS for b in WORDS] if varied else [""]
    return [
        (context, attack.response + ends[i % len(ends)])
        for i, context in enumerate(attack.contexts[:count])
    ]


def count_captured(
    corpus: Corpus, added: list[tuple[str, str]], recipe: Recipe, encoder: CachedEncoder
) -> int:
    """Return for how many of the corpus's own rows an added response is drawn."""
    pairs = list(zip(corpus.column("context"), corpus.column("response"), strict=True))
    flooded = Corpus.of(pairs + added)
    tools = Tools(encoders={"wordllama": encoder})
    lineage = curate(flooded, recipe, tools).lineage
    sources = np.asarray(lineage.column("source_id").to_numpy())[: len(pairs)]
    return int((sources >= len(pairs)).sum())


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="DiaSafety's train.json")
    parser.add_argument("--copies", type=int, nargs="+", default=[10, 50, 200])
    parser.add_argument("--attacks", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    labelled = contaminate(read_diasafety(given.data), 0.1, given.seed)
    encoder = CachedEncoder(load_encoder("wordllama"))
    chosen = list(
        plan_attacks(
            labelled.corpus, labelled.unsafe, encoder, given.attacks, max(given.copies), given.seed
        )
    )
    rows = []
    for name, recipe in RECIPES.items():
        for varied in (False, True):
            shown = [name, "varied" if varied else "equal"]
            for count in given.copies:
                found = [
                    count_captured(
                        labelled.corpus, make_copies(one, count, varied=varied), recipe, encoder
                    )
                    for one in chosen
                ]
                shown.append(f"{statistics.mean(found):.1f} ({min(found)} to {max(found)})")
            rows.append(tuple(shown))
            print(*shown, sep="  ", file=sys.stderr, flush=True)
    print(format_header("benchmarks/flooding.py", [given.seed]))
    print(f"\n{given.attacks} attacks, {len(labelled.corpus):,} rows; rows captured by m copies\n")
    print(format_table(("recipe", "copies", *(f"m = {m}" for m in given.copies)), rows))


if __name__ == "__main__":
    main()
