"""MarketMux's app as its label was ``ticks``: the migrations that there were by then, to the letter."""
