"""The method in plain Python and whole numbers, in the paper's order; slow, but easy to read.

It shares only three things with the library: the vectors on the grid, and the two hashes that
order ties: `hash_exchange` for rows and `compute_digests` for texts.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable
from typing import NamedTuple

from isaac.curation.canonical_order import hash_exchange
from isaac.curation.unique_texts import compute_digests
from isaac.curation.vectors import GRID_STEPS
from isaac.recipe import ResolvedRecipe

Vector = list[int]


class Row(NamedTuple):
    """An exchange with its group, and which copy of an equal exchange it is."""

    context: str
    response: str
    group: str = ""
    copy: int = 0


class Neighborhood(NamedTuple):
    """The clusters of one row's neighborhood, its draw odds, and whether the row is kept."""

    clusters: list[list[Row]]
    sharpness: float
    odds: list[float]
    kept: bool


def number_and_sort(rows: Iterable[tuple[str, str, str]]) -> list[Row]:
    """Number the copies of each exchange, and sort the rows by their hashes."""
    counts: dict[tuple[str, str, str], int] = {}
    numbered = []
    for texts in rows:
        counts[texts] = counts.get(texts, -1) + 1
        numbered.append(Row(*texts, copy=counts[texts]))
    return sorted(numbered, key=lambda row: hash_exchange(*row))


def dot(a: Vector, b: Vector) -> int:
    return sum(map(operator.mul, a, b))


def find_nearest(row: Row, rows: list[Row], vectors: dict[str, Vector], k: int) -> list[Row]:
    """Step 1, by search: k rows in all, of the row's own context first, then of the nearest."""

    def distance(context: str) -> tuple[bool, int, list[int]]:
        similarity = dot(vectors[row.context], vectors[context])
        return context != row.context, -similarity, compute_digests([context])[0].tolist()

    contexts = sorted({other.context for other in rows}, key=distance)
    members = [other for context in contexts for other in rows if other.context == context][:k]
    # A row is always in its own neighborhood, however frequent its context is.
    if not any(other[:3] == row[:3] for other in members):
        members[-1] = next(other for other in rows if other[:3] == row[:3])
    return members


def find_same_group(row: Row, rows: list[Row]) -> list[Row]:
    """Step 1, by key: all rows of the row's group."""
    return [other for other in rows if other.group == row.group]


def within_radius(a: Row, b: Row, vectors: dict[str, Vector] | None, radius: float) -> bool:
    """Step 2: within the radius, or the same text if there are no vectors."""
    if vectors is None:
        return a.response == b.response
    difference = list(map(operator.sub, vectors[a.response], vectors[b.response]))
    return dot(difference, difference) <= (radius * GRID_STEPS) ** 2


def find_components(
    members: list[Row], vectors: dict[str, Vector] | None, radius: float
) -> list[list[Row]]:
    """Step 2: DBSCAN with min_samples=1, that is, connected components of near responses."""
    remaining, clusters = list(members), []
    while remaining:
        cluster = [remaining.pop(0)]
        for reached in cluster:  # the list grows during the loop
            near = [row for row in remaining if within_radius(reached, row, vectors, radius)]
            remaining = [row for row in remaining if row not in near]
            cluster.extend(near)
        clusters.append(cluster)
    return clusters


def rank_clusters(clusters: list[list[Row]], rows: list[Row]) -> list[list[Row]]:
    """Sort clusters by size, largest first; ties by their first row."""
    ordered = [sorted(cluster, key=rows.index) for cluster in clusters]
    return sorted(ordered, key=lambda cluster: (-len(cluster), rows.index(cluster[0])))


def clip_sizes(sizes: list[int], total: int, recipe: ResolvedRecipe) -> list[int]:
    """Step 3: the top K clusters, up to the top P share of the rows."""
    kept: list[int] = []
    for size in sizes[: recipe.top_clusters]:
        if kept and sum(kept) >= recipe.top_mass * total:
            break
        kept.append(size)
    return kept


def compute_sharpness(sizes: list[int]) -> float:
    """Step 4: SI = (N1 - N2) / max(N1 - N_last, epsilon)."""
    if len(sizes) == 1:
        return 1.0
    return (sizes[0] - sizes[1]) / max(sizes[0] - sizes[-1], 1e-3)


def compute_weights(sizes: list[int], recipe: ResolvedRecipe) -> list[float]:
    """Step 4: the sharpened distribution, not yet normalized."""
    si, tau = compute_sharpness(sizes), recipe.temperature
    plain = {
        "max": [float(rank == 0) for rank in range(len(sizes))],
        "proportional": [float(size) for size in sizes],
        "power": [float(size) ** recipe.power for size in sizes],
        "uniform": [1.0 for _ in sizes],
    }
    if recipe.sharpening in plain:
        return plain[recipe.sharpening]
    heat = {"adaptive": (1 + 1e-3 - si) * tau, "figure": max(si, 1e-3) * tau, "softmax": tau}
    # Section 3: the temperature is at most the size of the smallest kept cluster.
    temperature = min(heat[recipe.sharpening], sizes[-1])
    return [math.exp((size - sizes[0]) / temperature) for size in sizes]


def curate_row(
    row: Row,
    rows: list[Row],
    recipe: ResolvedRecipe,
    contexts: dict[str, Vector] | None,
    responses: dict[str, Vector] | None,
) -> Neighborhood:
    """Steps 1 to 5 for one row, except the draw itself."""
    members = (
        find_same_group(row, rows)
        if contexts is None
        else find_nearest(row, rows, contexts, min(recipe.neighbors, len(rows)))
    )
    clusters = rank_clusters(find_components(members, responses, recipe.radius), rows)
    sizes = clip_sizes([len(cluster) for cluster in clusters], len(members), recipe)
    weights = compute_weights(sizes, recipe)
    odds = [weight / sum(weights) for weight in weights]
    # Step 5: keep a response of the head cluster if that has more than one member.
    in_head = row.response in {member.response for member in clusters[0]}
    return Neighborhood(
        clusters, compute_sharpness(sizes), odds, in_head and sizes[0] > 1 and recipe.keep
    )


EXCHANGES = [
    ("I have had a mild fever for three days.", "You should see a doctor if it does not go down."),
    ("I have had a mild fever for three days.", "Please see a doctor soon."),
    ("I have had a mild fever for three days.", "Stop whining, nobody cares."),
    ("My fever will not go away.", "You should really see a doctor about that."),
    ("My fever will not go away.", "I hope you feel better soon."),
    ("My fever will not go away.", "I hope you get well soon!"),
    ("I have a terrible headache today.", "I hope you feel better soon."),
    ("I have a terrible headache today.", "Have you tried drinking some water?"),
    ("I have a terrible headache today.", "Drink some water and lie down."),
    ("My head hurts so much.", "Drink some water and get some rest."),
    ("My head hurts so much.", "You are just weak."),
    ("My head hurts so much.", "I hope you feel better soon."),
    ("I failed my driving test again.", "You will pass it next time, keep practising."),
    ("I failed my driving test again.", "Keep practising, you will get there."),
    ("I failed my driving test again.", "You are too stupid to drive."),
    ("I did not pass my exam.", "You will pass it next time."),
    ("I did not pass my exam.", "Do not give up, you will pass next time."),
    ("I did not pass my exam.", "That is because you are lazy."),
    ("I am afraid of my exam tomorrow.", "You will do great!"),
    ("I am afraid of my exam tomorrow.", "You will do fine, just get some sleep."),
    ("I am afraid of my exam tomorrow.", "You will do great!"),
    ("What should I cook tonight?", "How about pasta with tomato sauce?"),
    ("What should I cook tonight?", "Pasta is always a good idea."),
    ("What should I cook tonight?", "Maybe a soup with vegetables."),
    ("Any idea for a quick dinner?", "Pasta with tomato sauce is quick."),
    ("Any idea for a quick dinner?", "An omelette takes five minutes."),
    ("Any idea for a quick dinner?", "Cook something yourself, you parasite."),
    ("How do I make a good soup?", "Start with onions, carrots and celery."),
    ("How do I make a good soup?", "Fry some onions first, then add the vegetables."),
    ("How do I make a good soup?", "Start with onions, carrots and celery."),
    ("My dog died last night.", "I am so sorry for your loss."),
    ("My dog died last night.", "I am sorry to hear that."),
    ("My dog died last night.", "It was only a dog, get over it."),
    ("We lost our cat yesterday.", "I am so sorry for your loss."),
    ("We lost our cat yesterday.", "I am so sorry, losing a pet is hard."),
    ("We lost our cat yesterday.", "Good riddance."),
    ("My grandmother passed away.", "I am so sorry for your loss."),
    ("My grandmother passed away.", "My condolences to you and your family."),
    ("My grandmother passed away.", "Everyone dies, so what."),
    ("Should I invest all my savings in one stock?", "No, it is safer to spread the risk."),
    ("Should I invest all my savings in one stock?", "Spread your money over several funds."),
    ("Should I invest all my savings in one stock?", "Sure, put everything in, you cannot lose."),
    ("Is it smart to borrow money to buy shares?", "That is risky, you could lose more."),
    ("Is it smart to borrow money to buy shares?", "It is risky, I would not do that."),
    ("Is it smart to borrow money to buy shares?", "Borrow as much as you can!"),
    ("My friend does not answer my messages.", "Maybe she is busy, give her some time."),
    ("My friend does not answer my messages.", "Give it some time, she may be busy."),
    ("My friend does not answer my messages.", "Nobody likes you."),
    ("I had a fight with my best friend.", "Talk to him and say that you are sorry."),
    ("I had a fight with my best friend.", "Give it some time and then talk."),
    ("I had a fight with my best friend.", "Hit him back harder."),
    ("I feel lonely since I moved here.", "Maybe join a club to meet people."),
    ("I feel lonely since I moved here.", "You could join a sports club."),
    ("I feel lonely since I moved here.", "No wonder, nobody likes you."),
    ("What is a good book for the holidays?", "I liked a crime novel last summer."),
    ("What is a good book for the holidays?", "Try a crime novel by Agatha Christie."),
    ("Can you recommend a film?", "Have you seen The Third Man?"),
    ("Can you recommend a film?", "I would watch a comedy tonight."),
    ("I feel lonely since I moved here.", "You could join a sports club."),
    ("?", "!"),
]
"""A small realistic corpus: a dozen topics, copies, some rude answers, one row without words."""
