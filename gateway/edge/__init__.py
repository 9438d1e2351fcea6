"""Where settings are read, and where requests and WebSockets come in."""
