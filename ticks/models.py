"""What the database holds: the instruments on show and, where recording is on, every tick; and who may what."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, Final

from django.core.exceptions import ValidationError
from django.db import connections, models, transaction
from django.utils import timezone
from msgspec.structs import astuple

from ticks.access.models import ApiKey, AuditEntry, Change, Connection, Entitlement, Permission
from ticks.fields import FIELDS
from ticks.grammar import MAX_NUMBER_LENGTH, MAX_SYMBOL_LENGTH, MAX_TIMESTAMP_LENGTH, check_symbol
from ticks.tick import Placed

__all__ = ["ApiKey", "AuditEntry", "Change", "Connection", "Entitlement", "Instrument", "Permission", "RecordedTick"]

_EPOCH_LENGTH: Final = 20

_Adapt = Callable[[datetime], str | datetime | None]
"""Turns a time into what the database's driver takes."""


def validate_symbol(text: str) -> None:
    try:
        check_symbol(text)
    except ValueError as error:
        raise ValidationError(str(error), code="invalid_symbol") from error


class Instrument(models.Model):
    """Something that is traded. Any symbol can tick without one; active instruments are the ones on show."""

    symbol = models.CharField(max_length=MAX_SYMBOL_LENGTH, unique=True, validators=[validate_symbol])
    name = models.CharField(max_length=100, blank=True)
    active = models.BooleanField(
        default=True, help_text="Active instruments are listed on the demo page and published by the mock feed."
    )

    class Meta:
        ordering = ["symbol"]

    def __str__(self) -> str:
        return self.symbol


class RecordedTickManager(models.Manager["RecordedTick"]):
    def record(self, ticks: Iterable[Placed]) -> None:
        """Stores all of ``ticks`` or, if the database refuses, none.

        Past the ORM: ``bulk_create`` takes four times the processor time.
        """
        connection = connections[self.db]
        now = timezone.now()
        rows = [_row(placed, now, connection.ops.adapt_datetimefield_value) for placed in ticks]
        with transaction.atomic(using=self.db), connection.cursor() as cursor:
            cursor.executemany(_insert(connection.ops.quote_name), rows)

    def about(self) -> int:
        """About how many there are, by their numbers: more than that only where some were deleted out of their order,
        or could not be committed. To count them takes seconds.
        """
        numbers = self.values_list("pk", flat=True)
        first, last = numbers.order_by("pk").first(), numbers.order_by("-pk").first()
        return 0 if first is None or last is None else last - first + 1

    def prune(self, before: datetime, most: int) -> int:
        """Deletes the oldest of those of before a time, at most so many: how many."""
        oldest = self.filter(at__lt=before).order_by("at").values("pk")[:most]
        return self.filter(pk__in=list(oldest.values_list("pk", flat=True))).delete()[0]

    def has(self, placed: Placed) -> bool:
        """Whether this tick of this stream is stored."""
        tick, seq, epoch = placed
        at = datetime.fromisoformat(tick.timestamp)
        return self.filter(symbol=tick.symbol, at=at, seq=seq, epoch=epoch).exists()


class RecordedTick(models.Model):
    """A tick as it was published, digit for digit.

    Numbers are text, as no column for decimals keeps 150.250 apart from 150.25 (SQLite's goes through a float), and
    ``extra`` is the text of its JSON, as no column for JSON keeps digits either. What a tick did not have is empty.
    ``seq`` and ``epoch`` are its place in the stream of its symbol, which says where a recording and the live stream
    meet. ``timestamp`` is the exact one; ``at`` is the same instant cut to the microsecond, to filter and sort by.
    """

    symbol = models.CharField(max_length=MAX_SYMBOL_LENGTH)
    price = models.CharField(max_length=MAX_NUMBER_LENGTH)
    bid = models.CharField(max_length=MAX_NUMBER_LENGTH, blank=True)
    ask = models.CharField(max_length=MAX_NUMBER_LENGTH, blank=True)
    size = models.CharField(max_length=MAX_NUMBER_LENGTH, blank=True)
    extra = models.TextField(blank=True)
    timestamp = models.CharField(max_length=MAX_TIMESTAMP_LENGTH)
    seq = models.BigIntegerField()
    epoch = models.CharField(max_length=_EPOCH_LENGTH)
    at = models.DateTimeField()
    recorded_at = models.DateTimeField()

    objects = RecordedTickManager()

    class Meta:
        ordering = ["-at", "-pk"]
        indexes = [
            models.Index(fields=["symbol", "at"], name="marketmux_tick_symbol_at"),
            models.Index(fields=["at"], name="marketmux_tick_at"),
        ]

    def __str__(self) -> str:
        return f"{self.symbol} {self.price} {self.timestamp}"


_COLUMNS: Final = (*(field.name for field in FIELDS), "seq", "epoch", "at", "recorded_at")


def _insert(quote: Callable[[str], str]) -> str:
    columns = ", ".join(quote(column) for column in _COLUMNS)
    values = ", ".join(["%s"] * len(_COLUMNS))
    return f"INSERT INTO {quote(RecordedTick._meta.db_table)} ({columns}) VALUES ({values})"  # noqa: S608 - constants


def _row(placed: Placed, now: datetime, adapt: _Adapt) -> tuple[Any, ...]:
    """The values of ``_COLUMNS``; what the tick does not have is empty."""
    tick, seq, epoch = placed
    symbol, price, timestamp, *optional = astuple(tick)
    at = datetime.fromisoformat(timestamp)  # drops what is finer than a microsecond
    return (symbol, price, timestamp, *(text or "" for text in optional), seq, epoch, adapt(at), adapt(now))
