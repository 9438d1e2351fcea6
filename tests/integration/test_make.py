"""``make run``, as a newcomer meets it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.asyncio.client import connect

from tests.environment import clean_environment
from tests.servers import ROOT, free_port, wait_until

PACKAGES = [
    "Collecting django==5.2.19 (from -r requirements.lock)",
    "  Downloading it",
    "Installing collected packages",
]


class Make:
    """``make run`` with what is installed already, and a database of its own."""

    def __init__(self, directory: Path, port: int, *variables: str) -> None:
        self.log = directory / "log"
        self.database = directory / "db.sqlite3"
        (directory / "installed").touch()
        own = [f"INSTALLED={directory / 'installed'}", f"SECRET={directory / 'key'}", f"PY={sys.executable}"]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                ["make", "--no-print-directory", "run", f"PORT={port}", *own, *variables],
                cwd=ROOT,
                env=clean_environment() | {"DATABASE_URL": f"sqlite:///{self.database}", "PYTHONUNBUFFERED": "1"},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def said(self, text: str) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        return text in self.log.read_text()

    def stop(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGINT)  # Ctrl-C
        self.process.wait(30)


@pytest.fixture
def made(tmp_path: Path) -> Iterator[list[Make]]:
    started: list[Make] = []
    yield started
    for make in started:
        make.stop()


async def test_it_says_what_it_does_and_prices_move_at_once(tmp_path: Path, made: list[Make]) -> None:
    port = free_port()
    make = Make(tmp_path, port, "FEED_RATE=500")
    made.append(make)
    wait_until(lambda: make.said("MarketMux is ready at"), 60)
    assert make.log.read_text().splitlines() == [
        "Preparing the database ...",
        "Added 24 instruments; there are 24.",
        "Starting the gateway (Ctrl-C stops it) ...",
        f"MarketMux is ready at http://127.0.0.1:{port}/ (1 worker, in-memory bus)",
    ]
    async with connect(f"ws://127.0.0.1:{port}/ws") as client:
        await client.send('{"action": "subscribe", "symbol": "*"}')
        kinds = [json.loads(await client.recv())["type"] for _ in range(200)]
    assert kinds.count("snapshot") + kinds.count("tick") > 150
    assert kinds.count("tick") > 50


def test_a_taken_port_is_one_sentence_and_no_database_is_made(tmp_path: Path, made: list[Make]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        make = Make(tmp_path, port)
        made.append(make)
        assert make.process.wait(60) == 2
    said = make.log.read_text()
    assert (
        f"Cannot listen on 127.0.0.1 port {port}: Address already in use. Another program listens there; "
        f"choose a free one, such as --port {port + 1}\n" in said
    )
    assert "Preparing" not in said
    assert not make.database.exists()


@pytest.mark.parametrize("ends_well", [True, False])
def test_while_pip_works_it_names_what_it_is_at(tmp_path: Path, ends_well: bool) -> None:
    (tmp_path / "requirements.lock").touch()
    (tmp_path / "pip.py").write_text(f"print({chr(10).join(PACKAGES)!r}); exit({0 if ends_well else 1})")
    command = ["make", "-f", str(ROOT / "Makefile"), "installed", "INSTALLED=installed", f"PY={sys.executable}"]
    done = subprocess.run(
        [*command, f"PIP={sys.executable} pip.py"],
        cwd=tmp_path,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.splitlines()[1:3] == [
        "  fetching django==5.2.19",
        "  unpacking all of it (the longest step) ...",
    ]
    assert (done.returncode == 0, (tmp_path / "installed").exists()) == (ends_well, ends_well)
