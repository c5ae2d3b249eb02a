"""Audits: which rows to label, their labels, and the estimates that follow from them."""
