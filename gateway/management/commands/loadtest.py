"""``manage.py loadtest``: many subscribers, one publisher, and what became of every tick."""

from __future__ import annotations

import os
from typing import Any, TextIO, cast

from django.core.management.base import BaseCommand, CommandError, CommandParser
from rich.console import Console

from gateway.loadtest import LoadTest, LoadTestError, Options, Report
from gateway.loadtest.display import ConnectProgress, shared_out, table


class Command(BaseCommand):
    help = (
        "Opens WebSocket connections to a gateway, subscribes them, publishes ticks and reports deliveries, latency "
        "and losses. Exit code 0: every tick came to everyone, once and in order (with --verify: or was announced as "
        "left out, and everyone ended on the last value); 1: not so; 2: the test could not run."
    )
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        add = parser.add_argument
        add("--url", default="http://127.0.0.1:8000", help="the gateway (default %(default)s)")
        add("-c", "--connections", type=int, default=1000, metavar="N", help="subscribers (default %(default)s)")
        add("--symbol", action="append", required=True, metavar="S", help="may be repeated; also S1,S2,...")
        add("--per-client", type=int, metavar="K", help="symbols per subscriber (default: all)")
        add("--rate", type=float, default=10, help="ticks/s in total; 0 only listens (default %(default)s)")
        add("--batch", type=int, default=1, help="ticks per POST (default %(default)s)")
        add("--seconds", type=float, default=10, help="how long to publish (default %(default)s)")
        add("--grace", type=float, default=2, help="seconds to wait for what is under way (default %(default)s)")
        add("--verify", action="store_true", help="prove from the sequence that nothing is missing without a word")
        add("--max-rate", type=float, metavar="R", help="ticks/s and symbol that subscribers ask for; with --verify")
        add(
            "--reconnect",
            type=float,
            metavar="SHARE",
            help="of the subscribers, 0 to 1, are dropped and resume; with --verify",
        )
        add("--trace", action="store_true", help="show where time goes; a hundredth of the subscribers ask for it")
        key = os.environ.get("MARKETMUX_KEY", "")  # command lines are for everybody to see
        add("--key", default=key, help="API key, for publishing and subscribing (or MARKETMUX_KEY)")
        add("--json", action="store_true", help="one JSON object on stdout, nothing else")

    def handle(self, *_args: Any, **arguments: Any) -> None:
        try:
            report = self._run(_options(arguments), quiet=arguments["json"])
        except LoadTestError as error:
            raise CommandError(str(error), returncode=2) from error
        self._show(report, arguments["json"])
        if not report.ok:
            raise SystemExit(1)

    def _run(self, options: Options, quiet: bool) -> Report:
        with ConnectProgress(options, wanted=not quiet) as progress:
            test = LoadTest(options, on_settled=progress.advance, on_connected=progress.connected)
            if len(test.parts) > 1 and not quiet:
                self.stderr.write(shared_out(test.parts))
            return test.run()

    def _show(self, report: Report, as_json: bool) -> None:
        if as_json:
            self.stdout.write(report.json())
        else:
            Console(file=cast("TextIO", self.stdout)).print(table(report))


def _options(arguments: dict[str, Any]) -> Options:
    names = (
        "url",
        "connections",
        "per_client",
        "rate",
        "batch",
        "seconds",
        "grace",
        "verify",
        "max_rate",
        "reconnect",
        "trace",
        "key",
    )
    symbols = [symbol for each in arguments["symbol"] for symbol in each.split(",")]
    return Options(symbols=symbols, **{name: arguments[name] for name in names})
