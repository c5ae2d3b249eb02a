"""What only task-oriented corpora need: induced acts, and trimming what does not belong."""
