"""curation/search."""
