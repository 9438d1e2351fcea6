from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from pytest_django.fixtures import Settings

from gateway.management.commands import loadtest
from tests.environment import clean_environment
from tests.servers import ROOT, free_port
from ticks import feed, publish
from ticks.feed import LISTINGS
from ticks.management.commands import mock_publisher
from ticks.models import ApiKey, Instrument
from ticks.poster import Poster, PublishRefused
from ticks.tick import Tick


def run(command: str, *arguments: str) -> str:
    output = StringIO()
    call_command(command, *arguments, stdout=output)
    return output.getvalue()


# seed_instruments


@pytest.mark.django_db
def test_seeding_adds_the_listings() -> None:
    assert run("seed_instruments") == "Added 24 instruments; there are 24.\n"
    assert Instrument.objects.get(symbol="BRK.B").name == "Berkshire Hathaway Inc. Class B"


@pytest.mark.django_db
def test_seeded_instruments_are_valid_and_active() -> None:
    run("seed_instruments")
    for instrument in Instrument.objects.all():
        instrument.full_clean()
        assert instrument.active


@pytest.mark.django_db
def test_seeding_twice_adds_nothing() -> None:
    run("seed_instruments")
    assert run("seed_instruments") == f"Added 0 instruments; there are {len(LISTINGS)}.\n"


@pytest.mark.django_db
def test_seeding_leaves_instruments_that_are_there_alone() -> None:
    Instrument.objects.create(symbol="AAPL", name="Fruit", active=False)
    assert run("seed_instruments") == "Added 23 instruments; there are 24.\n"
    assert Instrument.objects.filter(symbol="AAPL", name="Fruit", active=False).exists()


# create_key


@pytest.mark.django_db
def test_a_created_key_is_printed_and_works() -> None:
    output = run("create_key", "feed")
    [plaintext] = set(re.findall(r"mmx_\S+", output))
    key = ApiKey.objects.find(plaintext)
    assert key is not None
    assert key.name == "feed"
    assert f"Authorization: Api-Key {plaintext}" in output


@pytest.mark.django_db
@pytest.mark.parametrize("name", ["", "x" * 101])
def test_a_key_needs_a_name_that_fits(name: str) -> None:
    with pytest.raises(CommandError):
        run("create_key", name)
    assert not ApiKey.objects.exists()


# mock_publisher


def test_without_redis_the_publisher_asks_for_an_address() -> None:
    with pytest.raises(CommandError, match=r"--url http://127\.0\.0\.1:8000"):
        run("mock_publisher")


def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(CommandError, match="Not an address of a gateway: 'localhost'"):
        run("mock_publisher", "--url", "localhost")


def test_the_key_need_not_stand_in_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARKETMUX_KEY", "mmx_secret")
    for command in (mock_publisher.Command(), loadtest.Command()):
        parser = command.create_parser("manage.py", "command")
        assert parser.parse_args(["--symbol", "A"]).key == "mmx_secret"
        assert parser.parse_args(["--symbol", "A", "--key", "mmx_other"]).key == "mmx_other"
        assert "mmx_secret" not in parser.format_help()


@pytest.mark.parametrize(
    "arguments",
    [("--symbols", "A*"), ("--symbols", ""), ("--rate", "0"), ("--rate", "-1"), ("--rate", "inf"), ("--rate", "x")],
)
def test_arguments_that_make_no_sense_are_refused(arguments: tuple[str, str]) -> None:
    with pytest.raises(CommandError, match=arguments[0]):
        run("mock_publisher", *arguments)


def test_with_redis_the_publisher_publishes_to_the_bus(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "bus.layers.RedisLayer"}}
    published: list[Tick] = []

    async def take(ticks: Sequence[Tick]) -> None:
        published.extend(ticks)

    monkeypatch.setattr(publish, "publish", take)
    output = run("mock_publisher", "--symbols", "AAPL,^GSPC", "--rate", "200", "--seconds", "0.3")
    assert {tick.symbol for tick in published} == {"AAPL", "^GSPC"}
    assert "Publishing 200 ticks/s to the bus. Ctrl-C stops.\n" in output
    assert f"Published {len(published)} ticks in 0." in output


def test_a_refusal_ends_the_publisher_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    async def publish(_poster: object, _ticks: Sequence[Tick]) -> None:
        raise PublishRefused("it answered 401: no key")

    monkeypatch.setattr(Poster, "publish", publish)
    with pytest.raises(CommandError, match="it answered 401: no key"):
        run("mock_publisher", "--symbols", "AAPL", "--rate", "100", "--url", "http://127.0.0.1:1")


def test_a_timeout_of_the_feed_itself_is_not_taken_for_the_end(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "bus.layers.RedisLayer"}}

    async def fail(*_: object) -> None:
        raise TimeoutError("inside")

    monkeypatch.setattr(feed, "run", fail)
    with pytest.raises(TimeoutError, match="inside"):
        run("mock_publisher", "--seconds", "5")


def test_while_the_gateway_is_away_the_publisher_says_so_until_ctrl_c() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    process = subprocess.Popen(
        [sys.executable, "manage.py", "mock_publisher", "--symbols", "AAPL", "--rate", "100", "--url", url],
        cwd=ROOT,
        env=clean_environment() | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with process:
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "")
        seen = [next(line for line in lines if "goes on trying" in line)]
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        seen += lines
    assert f"{url}/api/v1/ticks does not answer" in seen[0]
    assert "Published 0 ticks" in seen[-1]
    assert "Traceback" not in "".join(seen)
    assert process.returncode == 0
