"""Where settings are read and requests come in."""
