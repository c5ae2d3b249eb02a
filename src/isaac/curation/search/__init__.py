"""Nearest neighbors: exact search, and an inverted file (IVF) for large corpora."""
