"""Signals of trust: scores of the distinct responses that need no labels, and their combination.

Each signal starts from the typicality of the wording and looks at another side of the responses:
their phrases (`phrasing`), their vectors (`self_training`), the hidden states of a small language
model (`states`), or a few generic examples (`reference`). All are cross-fitted: a response is
scored by what the responses of other folds have in common, and near-duplicates share a fold
(`folds`). `combine` ranks the responses by the signals that agree with each other.
"""
