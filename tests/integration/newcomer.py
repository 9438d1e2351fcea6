"""Somebody who has the project in a directory, and types what the documentation says, as it is printed.

What is printed stands for something else in a few places, all of which are in :meth:`Newcomer.meant`: the addresses and
ports of this machine, and secrets, which the documentation writes as ``...``.
"""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import secrets
import select
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, Self

from tests.environment import clean_environment
from tests.servers import ROOT, children, free_port, wait_until

__all__ = ["Newcomer", "alike"]

LEFT_OUT: Final = (".*", "node_modules", "site", "db.sqlite3*", "staticfiles", "*.egg-info")
"""What is not part of the project: a checkout has none of it, or makes its own."""

ENDLESS: Final = {
    r"\bmake run\b": "MarketMux is ready at",
    r"manage\.py serve\b": "MarketMux is ready at",
    r"bin/daphne\b": "",
    r"manage\.py watch\b": "AAPL",
    r"bin/websockets\b": '"type":"welcome"',
    r"http\.server\b": "Serving HTTP",
    r"curl -N\b": "event: tick",
    r"bin/python board\.py": "AAPL",
}
"""What goes on until it is stopped, and what it has printed when it works; empty for a server that prints nothing."""

TERMINAL: Final = re.compile(r"\x1b(?:\[[\d;?]*[A-Za-z]|[78])")
"""What moves a terminal's cursor, and colours."""

GATEWAY: Final = re.compile(r"\bmake run\b|manage\.py serve\b|bin/daphne\b")
PATIENCE: Final = 300.0
MOVING: Final = frozenset({"version", "epoch", "timestamp", "time", "expires_at", "token", "heartbeat", "size"})
"""Fields whose values are others each time."""

FIXED: Final = frozenset({"type", "symbol", "symbols", "code", "status"})
"""Fields that say what a message is."""


class Newcomer:
    """``directory``: where the copy of the project goes. ``redis_url``: what stands for a Redis on this machine."""

    def __init__(self, directory: Path, redis_url: str, **environment: str) -> None:
        self.project = directory / "marketmux"
        self.environment = clean_environment() | {"COLUMNS": "200", "PIP_NO_INDEX": "1", "PYTHONUNBUFFERED": "1"}
        self.environment |= environment
        self.port, self.second_port, self.tls_port = free_port(), free_port(), free_port()
        self.printed = ""
        self.stands_for: dict[str, str] = {}
        self._redis_url = redis_url
        self._key = ""
        self._exports = directory / "exports"
        self._logs = directory
        self._running: list[tuple[str, Path, subprocess.Popen[str]]] = []

    def copy(self) -> Self:
        """Gets the project as it is here, with the changes that are not committed."""
        shutil.copytree(ROOT, self.project, ignore=shutil.ignore_patterns(*LEFT_OUT), symlinks=True)
        return self.install()

    def clone(self, text: str) -> Self:
        """Types the block that clones the project: as it was committed last or, where it has no history, as it is."""
        if not (ROOT / ".git").exists():
            return self.copy()
        (self._logs / ".gitconfig").write_text("[safe]\n\tdirectory = *\n")  # somebody else's checkout, in CI
        text = re.sub(r"https://\S+/marketmux\.git", ROOT.as_uri(), text)
        environment = self.environment | {"HOME": str(self._logs)}
        subprocess.run(["bash", "-ec", f"{text}\ntest -f Makefile"], cwd=self._logs, env=environment, check=True)
        return self.install()

    def install(self) -> Self:
        """A ``.venv`` of the copy's own, whose packages are those of this Python."""
        venv = self.project / ".venv"
        venv.mkdir()
        for name in ("bin", "include", "lib", "pyvenv.cfg"):
            if (found := Path(sys.prefix, name)).exists():
                (venv / name).symlink_to(found)
        (venv / "installed").touch()
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def http(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def meant(self, text: str) -> str:
        """What a block means here: its addresses, ports and secrets replaced."""
        if "mmx_..." in text and not self._key:
            self._key = self._execute('.venv/bin/python manage.py create_key "of the tests" --quiet').strip()
        for printed, real in (
            (r"127\.0\.0\.1:8000\b", f"127.0.0.1:{self.port}"),
            (r"--port 8000\b", f"--port {self.port}"),
            (r"\b8001\b", str(self.second_port)),
            (r"\bssl:8443:", f"ssl:{self.tls_port}:interface=127.0.0.1:"),
            (r"redis://(localhost|127\.0\.0\.1):6379/0", self._redis_url),
            (r"\b(SECRET_KEY|PASSWORD|TOKEN)=\.\.\.", rf"\1={secrets.token_urlsafe(50)}"),
            (r"mmx_\.\.\.", self._key),
            (r"\bmake run\b", f"make run PORT={self.port}"),
            (r"(manage\.py serve\b(?![^\n]*--port))", rf"\1 --port {self.port}"),
            (r"(manage\.py (?:loadtest|watch)\b)", rf"\1 --url {self.http}"),
            (r"bin/daphne (?=--)", f"bin/daphne --port {self.port} "),
            *self.stands_for.items(),
        ):
            text = re.sub(printed, real, text)
        return text

    def shown(self, text: str) -> str:
        """What was printed, as the documentation prints it."""
        return re.sub(rf":{self.port}\b", ":8000", text)

    def save(self, name: str, text: str) -> None:
        """Writes a file of the project."""
        (self.project / name).parent.mkdir(exist_ok=True)
        (self.project / name).write_text(self.meant(text))

    def run(self, text: str, answers: Mapping[str, str] | None = None) -> None:
        """Types a block; returns when it is done or, where it has no end, when it works.

        ``answers``: what to type at each prompt of a block that asks.
        """
        if GATEWAY.search(text):
            self.stop()
        for program, sign in ENDLESS.items():
            if re.search(program, text):
                return self._start(text, sign)
        self.printed = self._converse(text, answers) if answers else self._execute(self.meant(text))
        return None

    def output(self) -> str:
        """What everything that runs has printed, and what was printed last."""
        return "\n".join([self.printed, *(TERMINAL.sub("", log.read_text()) for _, log, _ in self._running)])

    def signal(self, text: str, signum: signal.Signals) -> None:
        """A signal to all processes of what a block has started."""
        [process] = [process for block, _, process in self._running if block == text]
        os.killpg(process.pid, signum)

    def stop(self) -> None:
        """Ends all that runs."""
        for _, _, process in reversed(self._running):
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGCONT)
                os.killpg(process.pid, signal.SIGINT)
        for _, _, process in self._running:
            pids = children(process.pid)
            try:
                process.wait(120)
            except subprocess.TimeoutExpired:
                for pid in (*pids, process.pid):
                    with contextlib.suppress(ProcessLookupError):  # it has ended after all
                        os.kill(pid, signal.SIGKILL)
            if process.stdin is not None:
                process.stdin.close()
        self._running.clear()

    def _listens(self) -> bool:
        for port in (self.port, self.tls_port):
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port), 5).close()
                return True
        return False

    def _script(self, text: str) -> list[str]:
        """The block for a shell that stops at the first failure, and knows what blocks before it exported."""
        around = (
            f"set -eo pipefail; . {self._exports} 2>/dev/null || true; trap 'export -p > {self._exports}' DEBUG EXIT"
        )
        return ["bash", "-c", f"{around}\n{text}"]

    def _execute(self, text: str) -> str:
        done = subprocess.run(
            self._script(text),
            cwd=self.project,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}\n{self.output()}"
        return done.stdout

    def _start(self, text: str, sign: str) -> None:
        log = self._logs / f"log{len(list(self._logs.glob('log*')))}"
        with log.open("w") as file:
            process = subprocess.Popen(
                self._script(self.meant(text)),
                cwd=self.project,
                env=self.environment,
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=file,
                text=True,
                start_new_session=True,
            )
        self._running.append((text, log, process))

        def works() -> bool:
            ended = process.poll() is not None
            if self._listens() if sign == "" else sign in log.read_text():
                return True
            assert not ended, f"{text}\n{self.output()}"
            return False

        try:
            wait_until(works, PATIENCE)
        except AssertionError as error:
            raise AssertionError(f"{text}\nnever printed {sign!r}\n{self.output()}") from error

    def _converse(self, text: str, answers: Mapping[str, str]) -> str:
        """Types a block in a terminal of its own, where programs can ask."""
        master, slave = pty.openpty()
        script = self._script(self.meant(text))
        script[-1] = f"exec <>{os.ttyname(slave)} >&0 2>&0\n{script[-1]}"  # which makes it the session's terminal
        waiting, said, unseen = dict(answers), "", ""
        with subprocess.Popen(script, cwd=self.project, env=self.environment, start_new_session=True) as process:
            try:
                while process.poll() is None:
                    if not select.select([master], [], [], 0.1)[0]:
                        continue
                    piece = os.read(master, 65_536).decode(errors="replace")
                    said, unseen = said + piece, unseen + piece
                    for prompt, answer in list(waiting.items()):
                        if prompt in unseen:
                            os.write(master, f"{answer}\n".encode())
                            del waiting[prompt]
                            unseen = ""
                while select.select([master], [], [], 0)[0]:
                    said += os.read(master, 65_536).decode(errors="replace")
            finally:
                process.kill()
                os.close(slave)
                os.close(master)
        assert process.returncode == 0, said
        return said.replace("\r\n", "\n")


def alike(shown: str, got: str) -> bool:
    """Whether a line of the documentation is what a program printed, but for what is another each time."""
    if shown == got:
        return True
    shown, got = (line.removeprefix("< ").removeprefix("data: ") for line in (shown, got))
    try:
        return _same(_parsed(shown), _parsed(got))
    except json.JSONDecodeError:
        return re.fullmatch(re.escape(shown).replace(r"\.\.\.", ".+"), got) is not None


def _parsed(text: str) -> Any:
    return json.loads(text, parse_float=Decimal)


def _same(shown: Any, got: Any, moving: bool = False) -> bool:
    if isinstance(shown, dict):
        if not isinstance(got, dict) or list(shown) != list(got):
            return False
        moving = moving or shown.get("symbol", "ACME").partition("/")[0] != "ACME"
        return all(_same(shown[name], got[name], (moving or _moves(name)) and name not in FIXED) for name in shown)
    if isinstance(shown, list):
        return isinstance(got, list) and len(shown) == len(got) and all(map(_same, shown, got, [moving] * len(got)))
    if isinstance(shown, bool) or shown is None:
        return shown is got
    if isinstance(shown, int | Decimal):
        return isinstance(got, int | Decimal) and not isinstance(got, bool) and (moving or str(shown) == str(got))
    return isinstance(got, str) and (moving or re.fullmatch(re.escape(shown).replace(r"\.\.\.", ".+"), got) is not None)


def _moves(name: str) -> bool:
    """A field of which the value is another each time; symbols of the mock feed are the names of some."""
    return name in MOVING or (name.isupper() and name != "ACME")
