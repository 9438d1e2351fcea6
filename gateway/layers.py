"""The channel layers under their first names, which settings of other projects may have; see :mod:`bus.layers`."""

from bus.layers import MemoryLayer, RedisLayer

__all__ = ["MemoryLayer", "RedisLayer"]
