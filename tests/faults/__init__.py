"""Faults that are really made, and what must hold through them; the figures are in docs/explanation/reliability.md."""
