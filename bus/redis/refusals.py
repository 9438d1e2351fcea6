"""What Redis answers when it does not do what it was asked, as reasons; each said once in the log, and counted."""

from __future__ import annotations

import logging
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from redis import exceptions

from bus.contract import BusUnavailable, Reason

__all__ = ["Refusals", "reason_of"]

logger = logging.getLogger(__name__)

_QUIET_SECONDS: Final = 1.0
"""Redis does again what it refused when it has refused nothing for so long: refusals may come and go."""

_WORDS: Final = {
    "OOM": Reason.OUT_OF_MEMORY,
    "READONLY": Reason.READ_ONLY,
    "NOREPLICAS": Reason.TOO_FEW_REPLICAS,
    "MISCONF": Reason.DISK_FAILED,
    "NOPERM": Reason.FORBIDDEN,
    "NOAUTH": Reason.UNAUTHORIZED,
    "WRONGPASS": Reason.UNAUTHORIZED,
    "LOADING": Reason.LOADING,
    "MASTERDOWN": Reason.PRIMARY_DOWN,
    **dict.fromkeys(("CROSSSLOT", "MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN"), Reason.CLUSTER),
    "BUSY": Reason.BUSY,
}
# An error begins with its word; before Redis 7 one from inside a script has a preamble, and the word behind a dash.
_WORD: Final = re.compile(rf"(?:^|[ :]-)({'|'.join(_WORDS)})\b")
_PHRASES: Final = {
    "The user executing the script can't": Reason.FORBIDDEN,
    "non local key": Reason.CLUSTER,
    "max number of clients": Reason.FULL,
    "invalid username-password": Reason.UNAUTHORIZED,
    "Authentication required": Reason.UNAUTHORIZED,
    "is loading the dataset": Reason.LOADING,
}
# redis-py, which connects, takes the word away.
_CLASSES: Final[dict[type[Exception], Reason]] = {
    exceptions.AuthenticationError: Reason.UNAUTHORIZED,
    exceptions.AuthenticationWrongNumberOfArgsError: Reason.UNAUTHORIZED,
    exceptions.NoPermissionError: Reason.FORBIDDEN,
    exceptions.BusyLoadingError: Reason.LOADING,
    exceptions.ReadOnlyError: Reason.READ_ONLY,
    exceptions.OutOfMemoryError: Reason.OUT_OF_MEMORY,
    exceptions.MasterDownError: Reason.PRIMARY_DOWN,
    exceptions.ClusterDownError: Reason.CLUSTER,
}


def reason_of(error: Exception) -> Reason:
    """Why Redis did not do what it was asked."""
    text = str(error)
    if word := _WORD.search(text):
        return _WORDS[word[1]]
    for phrase, reason in _PHRASES.items():
        if phrase in text:
            return reason
    for kind, reason in _CLASSES.items():
        if isinstance(error, kind):
            return reason
    return Reason.REFUSED if isinstance(error, exceptions.ResponseError) else Reason.AWAY


class Refusals:
    """Those of one Redis; ``name`` is what the log calls it, ``counts`` is by reason."""

    def __init__(self, name: Callable[[], str], counts: Counter[Reason]) -> None:
        self._name = name
        self._counts = counts
        self._reason: Reason | None = None
        self._last = 0.0

    @contextmanager
    def told(self) -> Iterator[None]:
        """What Redis refuses in here is counted, and raised as :class:`~bus.contract.BusUnavailable`."""
        try:
            yield
        except (exceptions.RedisError, OSError) as error:
            raise self.refusal(error) from error

    def refusal(self, error: Exception) -> BusUnavailable:
        """What redis-py's error is for who publishes or asks; counts it."""
        reason = reason_of(error)
        self._note(reason, error)
        return BusUnavailable(str(error), reason)

    def over(self) -> None:
        """Redis did what publishing takes."""
        if self._reason is not None and time.monotonic() - self._last > _QUIET_SECONDS:
            self._reason = None
            logger.info("%s can be published on again.", self._name())

    def _note(self, reason: Reason, error: Exception) -> None:
        self._counts[reason] += 1
        self._last = time.monotonic()
        if reason is not self._reason:
            self._reason = reason
            logger.warning("%s cannot be used, trying again: %s %s", self._name(), reason.sentence, error)
