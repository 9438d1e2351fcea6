"""The ways to a client's socket."""
