"""corpus/dialogue."""
