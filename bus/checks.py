"""The system check of the channel layer."""

from __future__ import annotations

from typing import Any, Final

from channels.exceptions import InvalidChannelLayerError
from channels.layers import get_channel_layer
from django.core.checks import CheckMessage, Error, register

from bus.layers import BusLayer

__all__ = ["check_channel_layer"]

_HINT: Final = (
    "CHANNEL_LAYERS['default'] must be bus.layers.RedisLayer, bus.layers.MemoryLayer or one like them, such as "
    'CHANNEL_LAYERS = {"default": {"BACKEND": "bus.layers.MemoryLayer"}} for one process.'
)


@register
def check_channel_layer(**_: Any) -> list[CheckMessage]:
    """Ticks need what only a layer with a bus can do: batches in one step, streams, and groups for a whole process."""
    try:
        layer = get_channel_layer()
    except (InvalidChannelLayerError, ImportError, TypeError, ValueError) as error:
        return [Error(f"The default channel layer cannot be set up: {error}", hint=_HINT, id="ticks.E002")]
    if isinstance(layer, BusLayer):
        return []
    return [Error("The default channel layer has no bus for ticks.", hint=_HINT, id="ticks.E002")]
