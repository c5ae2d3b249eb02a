"""models/judges/fitting."""
