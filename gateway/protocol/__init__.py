"""The WebSocket language. No I/O."""
