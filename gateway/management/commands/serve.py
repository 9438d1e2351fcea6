"""``manage.py serve``: the production server."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
import sys
from argparse import SUPPRESS, ArgumentTypeError
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from channels.routing import get_default_application
from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError, connections
from django.db.migrations.executor import MigrationExecutor

from bus import stall
from bus.layers import is_shared
from gateway.edge import reports, workers
from gateway.edge.arrivals import Arrivals
from gateway.edge.figures import merge
from gateway.edge.posts import Posts
from gateway.edge.probes import draining
from gateway.edge.process import bus_usable
from gateway.protocol.codes import SERVICE_RESTART
from gateway.server.drain import Drain
from gateway.server.exchange import Line
from gateway.server.short import ShortWay
from gateway.server.supervisor import Supervisor, bind, url
from gateway.server.worker import BACKLOG, GatewayServer, Job, raise_open_file_limit
from ticks import feed, publish, retention
from ticks.address import share_of
from ticks.conf import conf
from ticks.tick import MAX_BODY_BYTES

logger = logging.getLogger(__name__)

_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})


class Command(BaseCommand):
    help = "Serves MarketMux over HTTP and WebSocket: one process a worker, all on one port."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
        parser.add_argument(
            "--port", type=_within(0, 65_535), default=8000, help="port to listen on (default: %(default)s)"
        )
        parser.add_argument(
            "--workers",
            type=_within(1, 1_000),
            default=1,
            help="processes to serve with; more than one need REDIS_URL (default: %(default)s)",
        )
        parser.add_argument("--feed", action="store_true", help="publish made-up ticks of the active instruments")
        parser.add_argument(
            "--feed-rate", type=_within(1, 1_000_000), default=20, help="made-up ticks a second (default: %(default)s)"
        )
        parser.add_argument(
            "--prepare",
            action="store_true",
            help="first bring the database up to date, and add the mock market's instruments that it lacks",
        )
        # What the supervisor tells the workers it starts.
        parser.add_argument("--listen-fd", type=int, help=SUPPRESS)
        parser.add_argument("--lifeline-fd", type=int, help=SUPPRESS)
        parser.add_argument("--line-fd", type=int, help=SUPPRESS)
        parser.add_argument("--number", type=int, help=SUPPRESS)

    def handle(
        self, *, listen_fd: int | None, lifeline_fd: int | None, line_fd: int | None, number: int | None, **options: Any
    ) -> None:
        if None not in (descriptors := (listen_fd, lifeline_fd, line_fd)) and number is not None:
            listener, lifeline, line = (socket.socket(fileno=descriptor) for descriptor in descriptors)
            _work(
                listener,
                lifeline,
                Line(line, number, workers.ANSWERING),
                options["feed_rate"] if options["feed"] else None,
            )
            return
        with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C before there is a worker to stop
            sys.exit(self._supervise(**options))

    def _supervise(
        self,
        *,
        host: str,
        port: int,
        workers: int,
        feed: bool,
        feed_rate: int,
        prepare: bool,
        verbosity: int,
        **_: Any,
    ) -> int:
        _check_workers(workers)
        if not prepare:
            _check_migrations()
        listeners = _bind(host, port, workers)
        if prepare:  # now that the port is ours
            self._prepare()
        _check_address(host)
        address = url(listeners[0])
        supervisor = Supervisor(
            listeners,
            command=partial(_worker_command, feed_rate=feed_rate if feed else None, verbosity=verbosity),
            environment=_worker_environment(),
            on_ready=lambda: self._say(f"MarketMux is ready at {address} ({_plural(workers, 'worker')}, {_bus()})"),
            in_terminal=sys.stdin is not None and sys.stdin.isatty(),
            silence=conf.MARKETMUX_HUNG_SECONDS,
            merge=merge,
            patience=_ending().delay + _ending().spread,
        )
        return supervisor.run()

    def _prepare(self) -> None:
        self._say("Preparing the database ...")
        call_command("migrate", verbosity=0, skip_checks=True)
        call_command("seed_instruments", stdout=self.stdout)
        connections.close_all()
        self._say("Starting the gateway (Ctrl-C stops it) ...")

    def _say(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()


def _work(listener: socket.socket, lifeline: socket.socket, line: Line, feed_rate: int | None) -> None:
    """Serves as one worker on the sockets that the supervisor has handed over."""
    raise_open_file_limit()
    jobs: list[Job] = [_watch_for_stalls, reports.run, retention.run]
    if feed_rate is not None:
        jobs.append(partial(feed.run, None, feed_rate, publish.publish))
    application = get_default_application()
    workers.connect(line)
    try:
        listener.listen(BACKLOG)
    except OSError as error:  # a second gateway came while neither of the two was listening yet
        raise CommandError(f"Cannot listen on {url(listener)}: {error.strerror}") from error
    GatewayServer(
        application,
        listener,
        max_message_bytes=conf.MARKETMUX_MAX_MESSAGE_BYTES,
        max_body_bytes=MAX_BODY_BYTES,
        restart=SERVICE_RESTART,
        lifeline=lifeline,
        line=line,
        ending=_ending(),
        on_drain=draining.set,
        jobs=jobs,
        usable=bus_usable,
        most_idle=conf.MARKETMUX_MAX_IDLE_CONNECTIONS,
        share_of=share_of,
        admits=_arrivals(),
        short_requests=conf.MARKETMUX_SHORT_REQUESTS,
        short=_short_way(application),
    ).run()


def _short_way(application: Any) -> ShortWay | None:
    """None too where a project has middleware of its own around the gateway's application."""
    posts = getattr(application, "posts", None)
    if not conf.MARKETMUX_SHORT_REQUESTS or not isinstance(posts, Posts):
        return None
    return ShortWay(posts, MAX_BODY_BYTES)


def _arrivals() -> Arrivals | None:
    rate = conf.MARKETMUX_MAX_TCP_CONNECTIONS_PER_SECOND
    return Arrivals(rate, conf.MARKETMUX_TRUSTED_PROXIES) if rate else None


def _ending() -> Drain:
    return Drain(conf.MARKETMUX_DRAIN_DELAY_SECONDS, conf.MARKETMUX_DRAIN_SECONDS)


async def _watch_for_stalls() -> None:
    """From the start: the first request of all may have waited through one."""
    stall.watch()


def _worker_command(
    number: int, listen_fd: int, lifeline_fd: int, line_fd: int, *, feed_rate: int | None, verbosity: int
) -> Sequence[str]:
    command = [
        *_program(),
        "serve",
        "--skip-checks",  # the supervisor has run them
        f"--verbosity={verbosity}",
        f"--listen-fd={listen_fd}",
        f"--lifeline-fd={lifeline_fd}",
        f"--line-fd={line_fd}",
        f"--number={number}",
    ]
    if feed_rate is not None and number == 0:
        command += ["--feed", f"--feed-rate={feed_rate}"]
    return command


def _program() -> list[str]:
    """How this process was started: by the project's manage.py, the console script, or as ``python -m django``."""
    module = getattr(sys.modules["__main__"], "__spec__", None)
    started = ["-m", module.parent] if module is not None else [str(Path(sys.argv[0]).resolve())]
    return [sys.executable, *started]


def _worker_environment() -> dict[str, str]:
    """Workers must agree on the secret key, and so must one and its replacement."""
    return os.environ | {"SECRET_KEY": settings.SECRET_KEY, "DJANGO_SETTINGS_MODULE": settings.SETTINGS_MODULE}


def _check_workers(workers: int) -> None:
    if workers > 1 and not is_shared():
        raise CommandError(
            f"--workers {workers} needs REDIS_URL: on the in-memory bus each worker would see only its own ticks."
        )


def _check_migrations() -> None:
    """Ticks pass without a database, so one that is not up to date is no reason to stay down."""
    connection = connections["default"]
    try:
        executor = MigrationExecutor(connection)
        plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except DatabaseError as error:
        raise CommandError(f"The database cannot be used: {error}") from error
    finally:
        connection.close()
    if plan:
        logger.warning(
            "The database lacks %s, so keys, logins, admin and recording do not work. Apply: python manage.py migrate",
            _plural(len(plan), "migration"),
        )


def _check_address(host: str) -> None:
    """An open gateway is for one's own machine; a container's port may well be published on nothing else."""
    if conf.MARKETMUX_ANONYMOUS and host not in _LOOPBACK:
        logger.warning("MARKETMUX_ANONYMOUS is on: anyone who reaches %s may publish prices", host)


def _bind(host: str, port: int, count: int) -> list[socket.socket]:
    try:
        return bind(host, port, count)
    except OSError as error:
        others = f". Another program listens there; choose a free one, such as --port {port % 65_535 + 1}"
        hint = others if error.errno == errno.EADDRINUSE else ""
        raise CommandError(f"Cannot listen on {host} port {port}: {error.strerror}{hint}") from error


def _bus() -> str:
    return "Redis bus" if is_shared() else "in-memory bus"


def _plural(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _within(lowest: int, highest: int) -> Callable[[str], int]:
    """An argument type: a whole number from ``lowest`` to ``highest``."""

    def whole(text: str) -> int:
        number = int(text)
        if not lowest <= number <= highest:
            raise ArgumentTypeError(f"{number} is not between {lowest} and {highest}")
        return number

    return whole
