"""What a run says about itself: summary, diagnosis, explanation, comparison, charts."""
