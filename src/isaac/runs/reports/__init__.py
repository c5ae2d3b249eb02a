"""runs/reports."""
