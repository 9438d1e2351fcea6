"""The conversation before a start: asks one Redis for all that will be needed, and says what to do where it refuses.

What the scripts call is asked for in a transaction that is discarded: Redis checks rights when it queues a command.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from redis.asyncio import ConnectionPool
from redis.exceptions import RedisError, ResponseError

from bus.contract import BusUnavailable, Reason
from bus.redis.connection import Info, address, connect
from bus.redis.link import Link, Script
from bus.redis.refusals import reason_of

__all__ = ["check", "rights"]

_SECONDS: Final = 8.0
_OLDEST: Final = (5, 0)
"""Before, a script that had asked for the time could not write."""
_OLDEST_CLUSTER: Final = (7, 0)
"""Before, there were no channels that belong to a slot."""

_USED: Final = (
    *("PING", "SELECT"),  # by redis-py; its CLIENT SETINFO may be refused, and Redis 7.0 knows none to grant
    *("INFO", "TIME", "DBSIZE", "COMMAND|INFO", "MULTI", "DISCARD", "SET"),
    *("SCRIPT|LOAD", "EVAL", "EVALSHA"),
)
"""Commands that the bus sends itself."""
_USED_ALONE: Final = ("PUBLISH", "SUBSCRIBE", "UNSUBSCRIBE", "PSUBSCRIBE", "PUNSUBSCRIBE")
_USED_IN_CLUSTER: Final = (
    "CLUSTER|SLOTS",
    "CLUSTER|NODES",
    "CLUSTER|INFO",
    "GET",
    "SPUBLISH",
    "SSUBSCRIBE",
    "SUNSUBSCRIBE",
)
"""Those that it sends beside them, to a Redis that is alone and to a cluster."""

_CALLED: Final = re.compile(r"\bcall\(\s*'([A-Z]+)'")
_OWN: Final = ("EVALSHA", "PING")

_ADVICE: Final = {
    Reason.UNAUTHORIZED: "Correct the user and password in REDIS_URL: redis://user:password@host:6379/0.",
    Reason.READ_ONLY: "Name its primary in REDIS_URL.",
    Reason.PRIMARY_DOWN: "Name its primary in REDIS_URL.",
    Reason.OUT_OF_MEMORY: "Give it more memory (maxmemory), or delete what else it holds.",
    Reason.TOO_FEW_REPLICAS: "Start its replicas, or lower min-replicas-to-write.",
    Reason.DISK_FAILED: "Give it a disk that it can write to, or have it save nothing (CONFIG SET save '').",
    Reason.CLUSTER: "Begin REDIS_URL with redis+cluster:// or rediss+cluster://.",
    Reason.FULL: "Raise its maxclients.",
    Reason.OUTDATED: f"Install Redis {'.'.join(map(str, _OLDEST))} or later, or Valkey.",
}


def rights(sources: Iterable[str], is_cluster: bool = False) -> str:
    """The commands that a user of Redis needs, beside the namespace's keys and channels: those that the bus sends, and
    those that its scripts, by their sources, call. As Redis's ACL writes them.
    """
    called = {name for source in sources for name in _CALLED.findall(source)}
    beside = _USED_IN_CLUSTER if is_cluster else _USED_ALONE
    return " ".join(f"+{name.lower()}" for name in sorted({*_USED, *beside, *called}))


async def check(
    pool: ConnectionPool, prefix: str, patterns: Sequence[str], scripts: Sequence[Script], is_cluster: bool = False
) -> list[str]:
    """Sentences about what is odd; :class:`~bus.contract.BusUnavailable`, with advice, if the Redis cannot be used.

    ``prefix`` is that of all names, ``patterns`` are those that will be subscribed to, ``scripts`` all there are.
    ``is_cluster``: whether it is a node of a cluster, as which the URL has it.
    """
    where = address(pool)
    try:
        async with asyncio.timeout(_SECONDS):
            link = Link(await connect(pool), lambda _: None)
            try:
                conversation = _Conversation(link, prefix, patterns, scripts, is_cluster)
                return [f"{where}: {oddity}" for oddity in await conversation.hold()]
            finally:
                link.abort()
    except BusUnavailable as error:
        raise BusUnavailable(f"{where}: {error}", error.reason) from error
    except TimeoutError as error:
        raise BusUnavailable(f"{where} does not answer.") from error
    except (RedisError, OSError) as error:
        raise _advised(reason_of(error), f"{where}: {error}") from error


class _Conversation:
    """Over a link of its own: its transaction must not take in what others send."""

    def __init__(
        self, link: Link, prefix: str, patterns: Sequence[str], scripts: Sequence[Script], is_cluster: bool
    ) -> None:
        self._link = link
        self._is_cluster = is_cluster
        self._scripts = scripts
        self._name = f"{prefix}:entry"
        self._patterns = [] if is_cluster else patterns
        namespace = prefix.partition("{")[0]
        # Redis compares a pattern that is subscribed to with those in the rule letter by letter.
        commands = rights((script.source for script in scripts), is_cluster)
        self._rule = " ".join(
            [f"~{namespace}*", *(f"&{name}" for name in (f"{namespace}*", *self._patterns)), commands]
        )

    async def hold(self) -> list[str]:
        """What is odd."""
        info = Info(await self._ask("INFO")).fields
        if (info.get("redis_mode") == "cluster") is not self._is_cluster:
            if self._is_cluster:
                raise BusUnavailable("It is no cluster: begin REDIS_URL with redis:// or rediss://.", Reason.REFUSED)
            raise _advised(Reason.CLUSTER, Reason.CLUSTER.sentence)
        version = info.get("redis_version", "")
        number = tuple(map(int, re.findall(r"\d+", version)[:2]))
        if self._is_cluster and number < _OLDEST_CLUSTER:
            raise BusUnavailable(
                f"Redis {version} is too old for a cluster: install {'.'.join(map(str, _OLDEST_CLUSTER))} or later.",
                Reason.OUTDATED,
            )
        if number < _OLDEST:
            raise _advised(Reason.OUTDATED, f"Redis {version} is too old.")
        await self._link.check()
        for script in self._scripts:
            await self._ask("SCRIPT", "LOAD", script.source)
        called = {name for script in self._scripts for name in _CALLED.findall(script.source)}
        await self._ask_for_rights({*_OWN, *called})
        await self._ask("EVAL", "redis.call('SET', KEYS[1], 1, 'PX', 1) return redis.call('TIME')", 1, self._name)
        return _oddities(info)

    async def _ask_for_rights(self, names: set[str]) -> None:
        """Of each command, with as many arguments as it takes at least."""
        call = self._link.call
        described = await self._ask("COMMAND", "INFO", *sorted(names))
        commands = [[name[0].decode().upper(), *[self._name] * (abs(name[1]) - 1)] for name in described if name]
        commands += [
            ["SSUBSCRIBE" if self._is_cluster else "SUBSCRIBE", self._name],
            *(["PSUBSCRIBE", pattern] for pattern in self._patterns),
        ]
        replies = await asyncio.gather(
            call("MULTI"), *(call(*command) for command in commands), call("DISCARD"), return_exceptions=True
        )
        for command, reply in zip(commands, replies[1:-1], strict=True):
            if isinstance(reply, ResponseError) and reason_of(reply) is Reason.FORBIDDEN:
                raise self._forbidden(command[0], reply)

    async def _ask(self, *command: Any) -> Any:
        try:
            return await self._link.call(*command)
        except ResponseError as error:
            reason = reason_of(error)
            if reason is Reason.FORBIDDEN:
                raise self._forbidden("SCRIPT LOAD" if command[0] == "SCRIPT" else command[0], error) from error
            raise _advised(reason, str(error)) from error

    def _forbidden(self, command: str, error: Exception) -> BusUnavailable:
        return BusUnavailable(
            f"It does not grant {command} ({error}). This suffices: ACL SETUSER <user> {self._rule}", Reason.FORBIDDEN
        )


def _advised(reason: Reason, text: str) -> BusUnavailable:
    return BusUnavailable(" ".join(filter(None, (text, _ADVICE.get(reason)))), reason)


def _oddities(info: Mapping[str, str]) -> list[str]:
    found = []
    policy = info.get("maxmemory_policy", "noeviction")
    if info.get("maxmemory", "0") != "0" and policy.startswith("allkeys"):
        found.append(f"its maxmemory-policy is {policy}, so it may forget the latest ticks: set noeviction.")
    if info.get("role") == "slave":
        found.append("it is a replica that can be written to: what is published here is lost with its next sync.")
    return found
