"""The soak itself, phase by phase."""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Final

from gateway.loadtest import Options
from gateway.loadtest.crowd import Crowd
from gateway.loadtest.loop import Loop
from gateway.loadtest.proof import Findings, Latest, fetch_latest, forgotten
from gateway.loadtest.publisher import Publisher
from gateway.loadtest.target import Target
from tests.servers import GatewayProcess, RedisServer
from tests.soak.gauges import Gauge, Sample, Sampler, judge, sample
from tests.soak.publishers import ShortLedger, StreamPublisher
from tests.soak.trouble import Trouble
from tests.soak.visitors import Silent, Visitors

__all__ = ["Outcome", "Soak"]

POSTED: Final = [f"POST{number}" for number in range(10)]
STREAMED: Final = [f"WS{number}" for number in range(10)]
SYMBOLS: Final = [*POSTED, *STREAMED]

WARM_UP_SHARE: Final = 0.2
LONGEST_WARM_UP: Final = 60.0
"""Seconds: caches, arenas and Redis' histories have found their size by then."""

TROUBLE_SECONDS: Final = 15.0
SETTLE_SECONDS: Final = 20.0
"""Within which everyone is on the last value after the last tick, and everything gone after the last client."""

STEP: Final = 0.02


@dataclass(slots=True)
class Outcome:
    """``problems`` are in words; none of them, and the soak has passed."""

    seconds: float
    gauges: list[Gauge]
    findings: Findings
    figures: dict[str, str]
    problems: list[str] = field(default_factory=list)


class Soak:
    """``minutes`` under load, against a gateway and its Redis, both running."""

    def __init__(self, gateway: GatewayProcess, redis: RedisServer, minutes: float) -> None:
        self._gateway = gateway
        self._redis = redis
        self._seconds = minutes * 60
        self._target = Target.from_url(gateway.http)
        self._loop = Loop()
        self._findings = Findings()
        self._posted, self._streamed = ShortLedger(), ShortLedger()
        post = Options(connections=1, symbols=POSTED, rate=200, batch=2, seconds=min(86_400, self._seconds + 60))
        self._poster = Publisher(self._loop, self._target, post, self._posted)
        self._streamer = StreamPublisher(self._loop, self._target, STREAMED, self._streamed, rate=200, batch=5)
        self._crowds = {
            "all ticks of five symbols": self._crowd(100, SYMBOLS, per_client=5),
            "five a second of five symbols": self._crowd(60, SYMBOLS, per_client=5, max_rate=5.0),
            "everything": self._crowd(40, ["*"]),
        }
        self._churn = self._visitors(places=60, stay=4.0)
        self._sleepers = self._visitors(places=20, stay=60.0, read=False)
        self._guests = [self._churn, self._sleepers]

    def run(self, say: Callable[[str], object]) -> Outcome:
        """``say`` is told what comes next."""
        with closing(self._loop):
            before = self._baseline()
            say("Connecting the steady clients")
            self._connect()
            self._poster.start()
            warm_up = min(LONGEST_WARM_UP, self._seconds * WARM_UP_SHARE)
            with Sampler(self._sample) as sampler, Trouble(self._redis, TROUBLE_SECONDS) as trouble:
                say(f"Warming up for {warm_up:.0f} s")
                self._work(warm_up)
                warmed_up = len(sampler.samples)
                say(f"Watching for {self._seconds - warm_up:.0f} s")
                self._work(self._seconds - warm_up)
            say("Quiet: everyone has to end on the last value")
            problems = self._settle()
            figures = self._figures(sampler, trouble)
            say("Everybody leaves")
            gauges = self._leave(before, sampler.samples[warmed_up:])
        return Outcome(self._seconds, gauges, self._findings, figures, [*problems, *_grown(gauges), *self._flaws()])

    # Phases

    def _baseline(self) -> Sample:
        # The first sample brings what answering one takes: a route compiled, a connection made.
        self._sample()
        return self._sample()

    def _connect(self) -> None:
        for crowd in self._crowds.values():
            while not crowd.is_settled:
                crowd.advance()
                self._loop.turn(STEP)

    def _work(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._poster.advance()
            self._streamer.advance()
            self._turn()

    def _settle(self) -> list[str]:
        """After the last tick; what is wrong if it does not come right in time."""
        for guests in self._guests:
            guests.close()
        end = time.monotonic() + SETTLE_SECONDS
        problems = ["not settled yet"]
        while problems and time.monotonic() < end:
            pause = time.monotonic() + 0.5
            while time.monotonic() < pause:
                self._turn()
            problems = self._ends()
        return problems

    def _ends(self) -> list[str]:
        try:
            latest = fetch_latest(self._target, SYMBOLS)
        except (OSError, ValueError, http.client.HTTPException) as error:
            return [f"GET /api/v1/ticks: {error}"]
        return [*self._stale(latest), *self._forgotten(latest)]

    def _stale(self, latest: dict[str, Latest]) -> list[str]:
        problems = []
        for name, crowd in self._crowds.items():
            if crowd.refused:
                problems.append(f"{crowd.refused.total()} subscribers of {name} were refused: {dict(crowd.refused)}")
            if stale := crowd.stale(latest):
                problems.append(f"{len(stale)} subscribers of {name} are not on the last value, such as {stale[0]}")
            if crowd.away:
                problems.append(f"{crowd.away} subscribers of {name} have not come back: {dict(crowd.rebuffed)}")
        return problems

    def _forgotten(self, latest: dict[str, Latest]) -> list[str]:
        ledgers = self._posted, self._streamed
        late = [symbol for ledger in ledgers for symbol in forgotten(ledger, latest, self._findings.unmeasured)]
        return [f"the last accepted tick is not the gateway's last: {', '.join(late)}"] if late else []

    def _leave(self, before: Sample, during: Sequence[Sample]) -> list[Gauge]:
        for crowd in self._crowds.values():
            crowd.close()
        self._poster.close()
        self._streamer.close()
        end = time.monotonic() + SETTLE_SECONDS
        gauges = judge(before, during, self._sample())
        while any(gauge.stayed for gauge in gauges) and time.monotonic() < end:
            time.sleep(0.5)
            gauges = judge(before, during, self._sample())
        return gauges

    # Parts

    def _turn(self) -> None:
        self._loop.turn(STEP)
        for crowd in self._crowds.values():
            crowd.turn()
        for guests in self._guests:
            guests.turn()

    def _crowd(
        self, connections: int, symbols: Sequence[str], per_client: int | None = None, max_rate: float | None = None
    ) -> Crowd:
        options = Options(
            url=self._gateway.http, connections=connections, symbols=symbols, per_client=per_client,
            max_rate=max_rate, verify=True, reconnect=0.0,
        )  # fmt: skip
        return Crowd(self._loop, self._target, options, Silent(), findings=self._findings)

    def _visitors(self, places: int, stay: float, read: bool = True) -> Visitors:
        return Visitors(
            self._loop, self._target, SYMBOLS, self._findings, places=places, stay=stay, read=read
        )  # fmt: skip

    def _sample(self) -> Sample:
        return sample(self._gateway, self._redis)

    # Books

    def _flaws(self) -> list[str]:
        found = self._findings
        flaws = {
            "lost without a word": found.lost,
            "duplicates": found.duplicates,
            "reordered": found.reordered,
            **found.breaches,
        }
        counted = [f"{count:,} x {what}" for what, count in flaws.items() if count]
        return [*counted, *(f"such as {example}" for example in found.examples)]

    def _figures(self, sampler: Sampler, trouble: Trouble) -> dict[str, str]:
        found, poster, streamer = self._findings, self._poster, self._streamer
        closed = sum(
            (crowd.closed for crowd in self._crowds.values()), start=self._churn.closed + self._sleepers.closed
        )
        conflated = ", ".join(f"{count:,} {reason}" for reason, count in found.conflated.items()) or "0"
        return {
            "Posted, accepted, refused, unanswered": _ticks(
                poster.published, poster.accepted, poster.refused, poster.unanswered
            ),
            "Streamed, accepted, refused, abandoned": _ticks(
                streamer.published, streamer.accepted, streamer.refused, streamer.abandoned
            ),
            "Ticks in sequence": f"{found.ticks:,}",
            "Conflated": conflated,
            "Gaps": f"{found.gaps:,} of {found.missed:,} ticks, {found.unmeasured:,} of unknown length",
            "Streams resumed, begun anew": f"{found.resumed:,} with {found.replayed:,} ticks, {found.restarted:,}",
            "Visitors, of whom came back": f"{self._churn.came:,}, {self._churn.resumed:,}",
            "Turned away": ", ".join(f"{n:,} x {why}" for why, n in self._churn.turned_away.items()) or "0",
            "Who never read": f"{self._sleepers.came:,}",
            "Closed by the gateway": ", ".join(f"{count:,} x {code}" for code, count in closed.items()) or "0",
            "Redis frozen, garbage messages": f"{trouble.freezes:,} times, {trouble.garbage:,}",
            "Samples taken, not to be had": f"{len(sampler.samples):,}, {sampler.missed:,}",
        }


def _grown(gauges: Sequence[Gauge]) -> list[str]:
    grown = [f"{gauge.name} grew from {gauge.first:,.0f} to {gauge.last:,.0f}" for gauge in gauges if gauge.grew]
    stayed = [
        f"{gauge.name} was {gauge.before:,.0f}, and {gauge.after:,.0f} at the end" for gauge in gauges if gauge.stayed
    ]
    return [*grown, *stayed]


def _ticks(*counts: int) -> str:
    return ", ".join(f"{count:,}" for count in counts)
