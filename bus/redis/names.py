"""What everything of ours in Redis is called: ``<namespace>:{<bucket>}`` and what it is, keys and channels alike.

Redis's database numbers keep keys apart and not channels, so a namespace keeps both apart. The bucket is what a cluster
of Redis goes by (it hashes what stands in braces), so all keys of a script must be of one bucket. A plain Redis is one
bucket, a cluster has several (bus/redis/topology.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from bus.redis.address import cluster_of, make_pool

__all__ = ["BUCKET", "default_namespace", "prefix_of"]

BUCKET: Final = "0"


def default_namespace(host: Mapping[str, Any]) -> str:
    """``marketmux.<database number>`` of a host as channels_redis decodes it."""
    if cluster_of(host):
        return "marketmux.0"
    return f"marketmux.{make_pool(host).connection_kwargs.get('db') or 0}"


def prefix_of(namespace: str, bucket: str = BUCKET) -> str:
    """What all names of a bucket begin with."""
    if not namespace or "{" in namespace or "}" in namespace:
        raise ValueError(f"a namespace has at least one character and no braces: {namespace!r}")
    return f"{namespace}:{{{bucket}}}"
