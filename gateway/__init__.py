"""The WebSocket side of MarketMux: the channel layers, the hub, and the clients' protocol."""

VERSION = "0.2.0"
