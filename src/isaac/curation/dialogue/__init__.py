"""curation/dialogue."""
