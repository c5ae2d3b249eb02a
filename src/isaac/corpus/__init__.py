"""Files in, exchanges out, records back: every format and layout that a corpus comes in."""

from .corpus import Corpus, Exchange
from .reading import read_corpus
from .rejected import Rejected

__all__ = ["Corpus", "Exchange", "Rejected", "read_corpus"]
