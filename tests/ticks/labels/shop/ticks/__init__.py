"""An app of another project: a ``ticks`` of its own, with tables, columns and migrations named as MarketMux's were."""
