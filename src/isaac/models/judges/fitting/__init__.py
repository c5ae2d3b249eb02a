"""Fitting a judge of your own on labeled rows."""
