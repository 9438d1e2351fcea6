"""Daphne's server, hardened. It knows no ticks."""
