"""Two apps with the label ``ticks``: MarketMux's own of an earlier time, and one of somebody else's."""
