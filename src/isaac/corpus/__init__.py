"""Read a corpus from files into exchanges, and write changed responses back into its records."""

from .corpus import Corpus, Exchange
from .reading import read_corpus
from .rejected import Rejected

__all__ = ["Corpus", "Exchange", "Rejected", "read_corpus"]
