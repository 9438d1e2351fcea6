"""System checks of the gateway."""

from __future__ import annotations

from typing import Any

from channels.layers import get_channel_layer
from django.core.checks import CheckMessage, Error, register

__all__ = ["check_channel_layer"]


@register
def check_channel_layer(**_: Any) -> list[CheckMessage]:
    """The hub joins groups for the whole process, which not every channel layer can do."""
    try:
        layer = get_channel_layer()
    except Exception:  # ticks.E002 says what keeps it from being set up
        return []
    if layer is not None and "taps" in getattr(layer, "extensions", ()):
        return []
    return [
        Error(
            "The default channel layer cannot hand groups to the gateway.",
            hint="Use bus.layers.RedisLayer or bus.layers.MemoryLayer in CHANNEL_LAYERS.",
            id="gateway.E001",
        )
    ]
