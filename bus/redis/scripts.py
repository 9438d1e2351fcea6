"""The scripts that keep the streams (lua/), for a Redis that is alone and for a cluster."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from bus.redis.link import Script

__all__ = ["Scripts", "scripts"]

_LUA = Path(__file__).with_name("lua")


class Scripts(NamedTuple):
    publish: Script
    retain: Script
    positions: Script
    history: Script
    groups: Script
    page: Script
    held: Script
    lease: Script
    spend: Script
    announce: Script
    announced: Script

    @property
    def questions(self) -> Sequence[Script]:
        """All but the one that publishes."""
        return self[1:]


@cache
def scripts(is_cluster: bool = False) -> Scripts:
    sending = "cluster/send.lua" if is_cluster else "send.lua"

    def script(name: str) -> Script:
        parts = ("streams.lua", sending, name) if name in ("publish.lua", "retain.lua") else ("streams.lua", name)
        return Script("\n".join((_LUA / part).read_text() for part in parts), is_cluster)

    return Scripts(*(script(f"{name}.lua") for name in Scripts._fields))
