"""Steps that only task-oriented dialogues need: induced acts, and trimming irrelevant text."""
