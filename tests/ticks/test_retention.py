"""Recorded ticks that are old come to an end, and exports of those that stay."""

from __future__ import annotations

import asyncio
import csv
import io
import os
import socket
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Final

import httpx
import pytest
from channels.layers import channel_layers
from django.core.management import CommandError, call_command
from django.utils import timezone
from pytest_django.fixtures import Settings

from bus.layers import MemoryLayer
from tests.office import Office
from tests.servers import GatewayProcess, children, wait_until
from tests.symbols import SYMBOLS
from tests.tables import SQLITE, change, rows
from ticks import exporting, retention
from ticks.access.export import neutral
from ticks.models import RecordedTick
from ticks.tick import Placed, Tick

OLD, NEW = "2020-01-01T00:00:00Z", f"{timezone.now():%Y-%m-%dT%H:%M:%S}Z"


def record(*ticks: Tick) -> None:
    RecordedTick.objects.record(Placed(tick, seq, "5f3a9c1e") for seq, tick in enumerate(ticks, 1))


def run(command: str, *arguments: str) -> str:
    out = StringIO()
    call_command(command, *arguments, stdout=out)
    return out.getvalue()


@pytest.mark.django_db
def test_what_is_older_is_deleted_in_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "_SLICE", 10)
    record(*(Tick("AAPL", "1", OLD) for _ in range(25)), Tick("AAPL", "2", NEW))
    assert run("prune_ticks", "--older-than", "30d") == "Deleted 25 recorded ticks.\n"
    assert [tick.price for tick in RecordedTick.objects.all()] == ["2"]
    assert run("prune_ticks", "--older-than", "30d") == "Deleted 0 recorded ticks.\n"


@pytest.mark.django_db
def test_it_takes_no_longer_than_it_may() -> None:
    record(Tick("AAPL", "1", OLD))
    assert run("prune_ticks", "--older-than", "30d", "--seconds", "0") == "Deleted 0 recorded ticks.\n"


@pytest.mark.parametrize("length", ["30", "-1d", "", "all"])
def test_how_old_is_a_length_of_time(length: str) -> None:
    with pytest.raises(CommandError, match="length of time"):
        run("prune_ticks", f"--older-than={length}")


async def test_one_worker_of_all_does_it(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []

    async def note(length: str) -> None:
        done.append(length)

    settings.MARKETMUX_RECORD_DAYS = 30.0
    monkeypatch.setattr(retention, "_prune_beside", note)
    monkeypatch.setattr(retention, "_FIRST", 0.01)
    monkeypatch.setattr(retention, "_LOOK", 0.01)
    channel_layers.set("default", MemoryLayer())
    try:
        async with asyncio.timeout(0.5):
            await asyncio.gather(*(retention.run() for _ in range(4)))
    except TimeoutError:
        pass
    channel_layers.backends.clear()
    assert done == ["2592000s"]


async def test_without_the_setting_nothing_is_deleted(settings: Settings) -> None:
    settings.MARKETMUX_RECORD_DAYS = 0.0
    await asyncio.wait_for(retention.run(), 10)


# Exports


@pytest.mark.django_db
def test_an_export_has_every_digit_and_no_formula() -> None:
    record(
        Tick("^GSPC", "1.50", "2026-05-12T15:04:05.123456789Z", extra='{"a":"=1"}'),
        Tick("-X", "2", "2026-05-12T15:04:04Z"),
        Tick("MSFT", "3", OLD),
    )
    rows = list(csv.DictReader(io.StringIO(run("export_ticks", "--since", "2026-01-01"))))
    assert [(row["symbol"], row["price"], row["timestamp"]) for row in rows] == [
        ("'-X", "2", "2026-05-12T15:04:04Z"),
        ("^GSPC", "1.50", "2026-05-12T15:04:05.123456789Z"),
    ]
    assert rows[1]["extra"] == '{"a":"=1"}'
    assert len(run("export_ticks", "--symbol", "MSFT").splitlines()) == 2


@pytest.mark.django_db
def test_symbols_of_real_feeds_are_exported_as_they_are() -> None:
    record(*(Tick(symbol, "1", OLD) for symbol in SYMBOLS))
    rows = list(csv.DictReader(io.StringIO(run("export_ticks"), newline="")))
    assert [row["symbol"] for row in rows] == [neutral(symbol) for symbol in SYMBOLS]
    for symbol in SYMBOLS:
        [row] = csv.DictReader(io.StringIO(run("export_ticks", f"--symbol={symbol}"), newline=""))
        assert row["symbol"] == neutral(symbol)


@pytest.mark.django_db
def test_no_tick_is_left_out_or_comes_twice_between_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "_PAGE", 7)
    times = [OLD, NEW]
    record(*(Tick("AAPL", str(number), times[number // 25]) for number in range(50)))
    rows = list(csv.DictReader(io.StringIO(run("export_ticks"))))
    assert [row["price"] for row in rows] == [str(number) for number in range(50)]


class Filled:
    """A gateway whose database has many recorded ticks, and a login of its superuser."""

    count = 200_000

    def __init__(self, gateway: GatewayProcess) -> None:
        self.gateway = gateway
        insert(gateway.database_url, self.count)
        with Office(gateway.environment) as office:
            code = "answer = login(User.objects.create(username='root', is_staff=True, is_superuser=True))"
            self.cookie = {"cookie": f"sessionid={office.do(code)}"}

    def get(self, query: str = "") -> httpx.Response:
        return httpx.get(
            f"{self.gateway.http}/admin/marketmux_ticks/recordedtick/{query}", headers=self.cookie, timeout=60
        )


NUMBERS: Final = {
    True: "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count}) ",
    False: "WITH n(i) AS (SELECT * FROM generate_series(1, {count})) ",
}
AT: Final = {
    True: "datetime('now', ((i - {count}) / 10) || ' seconds'), datetime('now')",
    False: "now() + ((i - {count}) / 10) * interval '1 second', now()",
}


def insert(url: str, count: int) -> None:
    """Ticks of 1,000 symbols, ten a second, the newest now."""
    is_sqlite = url.startswith(SQLITE)
    statement = (
        "INSERT INTO marketmux_ticks_recordedtick (symbol, price, bid, ask, size, extra, timestamp, seq, epoch, at, recorded_at) "
        "SELECT 'S' || (i % 1000), '1.50', '', '', '', '', '2026-05-12T15:04:05Z', i, '5f3a9c1e', "
    )
    change(url, f"{NUMBERS[is_sqlite]} {statement} {AT[is_sqlite]} FROM n".replace("{count}", str(count)))
    change(url, "UPDATE marketmux_ticks_recordedtick SET symbol = '茅台' WHERE seq = 1")


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory, migrated_database: Path) -> Iterator[Filled]:
    directory = tmp_path_factory.mktemp("filled")
    # In a terminal whose letters are those of Western Europe an export is UTF-8 all the same.
    gateway = GatewayProcess(directory, database=migrated_database, MARKETMUX_ANONYMOUS="0", PYTHONIOENCODING="latin-1")
    gateway.start()
    yield Filled(gateway)
    assert "Traceback" not in gateway.output()
    gateway.stop()


@pytest.mark.soak
@pytest.mark.database
def test_the_pages_cost_the_process_that_serves_ticks_little(filled: Filled) -> None:
    pid = filled.gateway.pids[0]
    filled.get()
    before = processor_seconds(pid)
    pages = [
        filled.get(query) for query in ("", "?q=S7", "?symbol=S7&q=S8", "?last=1h", "?p=100", "?o=2", "?q=S1%20S2")
    ]
    assert {page.status_code for page in pages} == {200}
    assert "about 200,000 recorded ticks" in pages[0].text
    assert processor_seconds(pid) - before < 2.0
    assert max(len(page.content) for page in pages) < 200_000


@pytest.mark.soak
def test_an_export_is_whole_and_waits_in_no_memory(filled: Filled) -> None:
    pid = filled.gateway.pids[0]
    filled.get()
    before, began = resident_bytes(pid), processor_seconds(pid)
    text = filled.get("export/").text
    assert text.count("\r\n") == filled.count + 1
    with socket.create_connection(("127.0.0.1", filled.gateway.port)) as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        head = f"Host: localhost\r\nCookie: {filled.cookie['cookie']}"
        request = f"GET /admin/marketmux_ticks/recordedtick/export/ HTTP/1.1\r\n{head}\r\n\r\n"
        slow.sendall(request.encode())
        time.sleep(4)  # in which all of it could be made
        assert resident_bytes(pid) - before < len(text) / 2 + 3_000_000
        assert slow.recv(12) == b"HTTP/1.1 200"
        wait_until(lambda: len(exports(pid)) == 1)
    wait_until(lambda: not exports(pid))
    assert "did not end within" not in filled.gateway.output()
    assert processor_seconds(pid) - began < 10
    assert filled.get("export/?symbol=S7").text.count("\r\n") == filled.count // 1_000 + 1
    assert filled.get("export/?symbol=S7&q=S8").status_code == 400
    assert "\r\n茅台," in filled.get("export/?symbol=%E8%8C%85%E5%8F%B0").text


@pytest.mark.database
def test_ticks_are_recorded_while_old_ones_are_deleted(filled: Filled) -> None:
    pruned = filled.gateway.manage("prune_ticks", "--older-than", "5h")
    assert int(pruned.split()[1].replace(",", "")) > 15_000
    [(oldest,)] = rows(filled.gateway.database_url, "SELECT min(at) FROM marketmux_ticks_recordedtick")
    at = oldest if isinstance(oldest, datetime) else datetime.fromisoformat(f"{oldest}+00:00")
    assert at > timezone.now() - timedelta(hours=5, minutes=5)


def exports(pid: int) -> list[int]:
    return [child for child in children(pid) if "export_ticks" in Path(f"/proc/{child}/cmdline").read_text()]


def processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")
