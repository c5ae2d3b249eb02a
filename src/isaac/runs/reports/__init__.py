"""Reports of runs: summary, diagnosis, explanation, comparison, and their charts."""
