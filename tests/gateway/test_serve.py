"""``manage.py serve`` in this process: what it hands to the supervisor and, as a worker, to the server."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from io import StringIO
from typing import Any
from unittest import mock

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError

from gateway.edge import process, reports, workers
from gateway.management.commands import serve
from gateway.protocol.codes import SERVICE_RESTART
from gateway.server.worker import BACKLOG
from ticks import retention
from ticks.tick import MAX_BODY_BYTES


@pytest.fixture
def supervisor(monkeypatch: pytest.MonkeyPatch) -> Iterator[mock.Mock]:
    """Stands in for the class: ends at once, with exit code 3."""
    supervisor = mock.Mock(**{"return_value.run.return_value": 3})
    monkeypatch.setattr(serve, "Supervisor", supervisor)
    monkeypatch.setattr(serve, "MigrationExecutor", mock.MagicMock())
    serve.MigrationExecutor.return_value.migration_plan.return_value = []  # type: ignore[attr-defined]
    yield supervisor
    for call in supervisor.call_args_list:
        for listener in call.args[0]:
            listener.close()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> mock.Mock:
    """Stands in for the class."""
    server = mock.Mock()
    monkeypatch.setattr(serve, "GatewayServer", server)
    monkeypatch.setattr(serve, "raise_open_file_limit", mock.Mock())
    monkeypatch.setattr(workers, "_lines", [])
    return server


def supervise(*arguments: str) -> str:
    """Runs the command as the supervisor; returns what it prints."""
    output = StringIO()
    with pytest.raises(SystemExit) as exit_:
        call_command("serve", "--port=0", *arguments, stdout=output)
    assert exit_.value.code == 3
    return output.getvalue()


def work(*arguments: str) -> None:
    """Runs the command as a worker, on sockets as the supervisor would hand over."""
    our_lifeline, lifeline = socket.socketpair()
    our_line, line = socket.socketpair()
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    handed = {"listen": listener, "lifeline": lifeline, "line": line}
    descriptors = [f"--{name}-fd={one.detach()}" for name, one in handed.items()]
    with our_lifeline, our_line:
        call_command("serve", *descriptors, "--number=1", *arguments)


# The supervisor


def test_there_is_a_socket_for_each_worker(supervisor: mock.Mock, settings: Any) -> None:
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "bus.layers.RedisLayer"}}
    supervise("--workers=3")
    [listeners] = supervisor.call_args.args
    assert len(listeners) == 3


def test_it_says_where_it_is_ready(supervisor: mock.Mock) -> None:
    supervisor.return_value.run.side_effect = lambda: supervisor.call_args.kwargs["on_ready"]() or 3
    said = supervise()
    [[listener]] = supervisor.call_args.args
    port = listener.getsockname()[1]
    assert said == f"MarketMux is ready at http://127.0.0.1:{port}/ (1 worker, in-memory bus)\n"


def test_one_worker_makes_up_ticks_and_no_other(supervisor: mock.Mock) -> None:
    supervise("--feed", "--feed-rate=7", "--verbosity=2")
    command = supervisor.call_args.kwargs["command"]
    first, second = command(0, 5, 6, 7), command(1, 8, 9, 10)
    common = ["serve", "--skip-checks", "--verbosity=2"]
    handed = ["--listen-fd=5", "--lifeline-fd=6", "--line-fd=7", "--number=0"]
    assert first[first.index("serve") :] == [*common, *handed, "--feed", "--feed-rate=7"]
    assert second[second.index("serve") :] == [
        *common,
        "--listen-fd=8",
        "--lifeline-fd=9",
        "--line-fd=10",
        "--number=1",
    ]


def test_workers_share_the_secret_key_and_the_environment(supervisor: mock.Mock, settings: Any) -> None:
    supervise()
    environment = supervisor.call_args.kwargs["environment"]
    assert environment == os.environ | {"SECRET_KEY": settings.SECRET_KEY}


def test_several_workers_need_redis(supervisor: mock.Mock) -> None:
    with pytest.raises(CommandError, match="--workers 2 needs REDIS_URL"):
        call_command("serve", "--workers=2")


@pytest.mark.parametrize("argument", ["--port=65536", "--workers=0", "--feed-rate=0", "--port=x"])
def test_numbers_have_limits(argument: str) -> None:
    with pytest.raises(CommandError, match=argument.partition("=")[0]):
        call_command("serve", argument)


def test_a_port_that_is_taken_is_one_clear_line(supervisor: mock.Mock) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CommandError, match=f"Cannot listen on 127.0.0.1 port {port}: Address already in use"):
            call_command("serve", f"--port={port}")


def test_a_database_that_lacks_migrations_is_a_warning(supervisor: mock.Mock, caplog: pytest.LogCaptureFixture) -> None:
    serve.MigrationExecutor.return_value.migration_plan.return_value = [mock.Mock()] * 2  # type: ignore[attr-defined]
    supervise()
    assert "The database lacks 2 migrations" in caplog.text


def test_a_database_that_cannot_be_used_is_one_clear_line(supervisor: mock.Mock) -> None:
    serve.MigrationExecutor.side_effect = DatabaseError("no such host")  # type: ignore[attr-defined]
    with pytest.raises(CommandError, match="The database cannot be used: no such host"):
        call_command("serve", "--port=0")


def test_ctrl_c_before_there_is_a_worker_is_no_failure(supervisor: mock.Mock) -> None:
    supervisor.side_effect = KeyboardInterrupt
    call_command("serve", "--port=0")


# A worker


def test_a_worker_serves_on_the_sockets_that_it_was_handed(server: mock.Mock) -> None:
    work()
    options = server.call_args.kwargs
    with server.call_args.args[1] as listener, options["lifeline"] as lifeline:
        assert listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        assert lifeline.family == socket.AF_UNIX
    assert options["line"].number == workers.number() == 1
    options["line"].close()
    assert (options["max_body_bytes"], options["restart"]) == (MAX_BODY_BYTES, SERVICE_RESTART)
    assert options["jobs"] == [serve._watch_for_stalls, reports.run, retention.run]
    assert options["usable"] is process.bus_usable
    server.return_value.run.assert_called_once_with()


def test_a_worker_that_makes_up_ticks_does_so_beside_the_server(server: mock.Mock) -> None:
    work("--feed", "--feed-rate=7")
    options = server.call_args.kwargs
    server.call_args.args[1].close()
    options["lifeline"].close()
    options["line"].close()
    [_, _, _, job] = options["jobs"]
    assert 7 in job.args


def test_a_worker_whose_port_was_taken_meanwhile_is_one_clear_line(
    server: mock.Mock, monkeypatch: pytest.MonkeyPatch
) -> None:
    listener = mock.Mock(**{"getsockname.return_value": ("127.0.0.1", 8000)})
    listener.listen.side_effect = OSError(errno.EADDRINUSE, "Address already in use")
    monkeypatch.setattr(serve, "socket", mock.Mock(**{"socket.return_value": listener}))
    with pytest.raises(CommandError, match=r"Cannot listen on http://127\.0\.0\.1:8000/: Address already in use"):
        call_command("serve", "--listen-fd=5", "--lifeline-fd=6", "--line-fd=7", "--number=0")
    listener.listen.assert_called_once_with(BACKLOG)
    server.assert_not_called()
