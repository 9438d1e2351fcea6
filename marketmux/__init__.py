"""MarketMux. From a Django project's own code: ``marketmux.publish``, ``apublish``, ``publish_on_commit``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ticks.direct import Published, apublish, publish, publish_on_commit

__all__ = ["Published", "apublish", "publish", "publish_on_commit"]


def __getattr__(name: str) -> Any:
    """Imported when they are asked for: settings, which import this package, are read before there is a Django."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ticks import direct  # noqa: PLC0415

    return getattr(direct, name)
