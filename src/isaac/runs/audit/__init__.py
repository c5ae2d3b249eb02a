"""runs/audit."""
