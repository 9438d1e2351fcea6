from __future__ import annotations

import pytest
from django.core.checks import CheckMessage, run_checks
from pytest_django.fixtures import Settings

from marketmux.checks import check_environment, check_secret_key
from ticks import checks
from ticks.conf import OPTIONS, conf


def ids(messages: list[CheckMessage]) -> list[str | None]:
    return [message.id for message in messages]


@pytest.fixture(autouse=True)
def sound_settings(settings: Settings) -> None:
    settings.ENVIRONMENT_PROBLEMS = {}
    settings.MARKETMUX_ALLOWED_ORIGINS = []
    settings.MARKETMUX_ANONYMOUS = False
    settings.SECRET_KEY_IS_EPHEMERAL = False


def test_sound_settings_pass_all_checks() -> None:
    assert [message for message in run_checks() if (message.id or "").startswith("ticks.")] == []


def test_each_variable_that_makes_no_sense_is_an_error(settings: Settings) -> None:
    settings.ENVIRONMENT_PROBLEMS = {"MARKETMUX_MAX_SYMBOLS": "not an integer", "DEBUG": "not a boolean"}
    messages = check_environment()
    assert ids(messages) == ["ticks.E001", "ticks.E001"]
    assert "MARKETMUX_MAX_SYMBOLS makes no sense: not an integer" in messages[0].msg
    assert messages[0].hint


@pytest.mark.parametrize(
    "origin", ["*", "https://example.com", "http://localhost:8000", "http://127.0.0.1", "http://[::1]:8000"]
)
def test_an_origin_is_a_scheme_a_host_and_perhaps_a_port(origin: str, settings: Settings) -> None:
    settings.MARKETMUX_ALLOWED_ORIGINS = [origin]
    assert checks.check_allowed_origins() == []


@pytest.mark.parametrize(
    "entry",
    [
        "example.com",
        "localhost:8000",
        "https://example.com/",
        "https://example.com/path",
        "https://example.com:",
        "https://*.example.com",
        "https://user@example.com",
        "https://",
        "http://[",
        "null",
        "",
    ],
)
def test_anything_else_is_no_origin(entry: str, settings: Settings) -> None:
    settings.MARKETMUX_ALLOWED_ORIGINS = ["https://example.com", entry]
    messages = checks.check_allowed_origins()
    assert ids(messages) == ["ticks.E003"]
    assert repr(entry) in messages[0].msg
    assert messages[0].hint


def test_a_made_up_secret_key_is_worth_a_warning(settings: Settings) -> None:
    settings.SECRET_KEY_IS_EPHEMERAL = True
    assert ids(check_secret_key()) == ["ticks.W001"]


def test_while_debugging_the_secret_key_may_be_made_up(settings: Settings) -> None:
    settings.SECRET_KEY_IS_EPHEMERAL = True
    settings.DEBUG = True
    assert check_secret_key() == []


def test_anonymous_publishing_is_worth_a_warning_before_deployment(settings: Settings) -> None:
    settings.MARKETMUX_ANONYMOUS = True
    assert "ticks.W002" in ids(checks.check_deployment())
    assert "ticks.W002" not in ids(run_checks())
    assert "ticks.W002" in ids(run_checks(include_deployment_checks=True))


def test_a_gateway_with_a_public_address_is_warned_before_every_start(settings: Settings) -> None:
    assert checks.check_public() == []
    settings.MARKETMUX_PUBLIC_URL = "https://ticks.example.com"
    settings.MARKETMUX_ANONYMOUS = True
    settings.ALLOWED_HOSTS = ["*"]
    settings.MARKETMUX_ALLOWED_ORIGINS = ["*"]
    settings.SECRET_KEY = "secret"
    found = ["ticks.W002", "ticks.W003", "ticks.W004", "ticks.E005"]
    assert ids(checks.check_public()) == found
    assert checks.check_deployment() == []  # once is enough
    assert set(found) <= set(ids(run_checks()))


def test_metrics_that_everybody_sees_are_worth_a_warning_before_deployment(settings: Settings) -> None:
    assert "ticks.W005" in ids(checks.check_deployment())
    settings.MARKETMUX_METRICS_TOKEN = "0123456789abcdef"
    assert checks.check_deployment() == []


def test_a_redis_url_that_is_none_is_an_error(settings: Settings) -> None:
    settings.REDIS_URL = "nonsense"
    assert "ticks.E004" in ids(run_checks())
    settings.REDIS_URL = "redis://localhost:6379/0"
    assert "ticks.E004" not in ids(run_checks())


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("MARKETMUX_MAX_SYMBOLS", "1000", "it is of type str, and not a whole number"),
        ("MARKETMUX_MAX_SYMBOLS", True, "it is of type bool, and not a whole number"),
        ("MARKETMUX_MAX_MESSAGE_BYTES", 100, "it is 100, and not at least 128"),
        ("MARKETMUX_HEARTBEAT_SECONDS", float("nan"), "it is nan, and not at least 0"),
        ("MARKETMUX_ANONYMOUS", "yes", "it is of type str, and not True or False"),
        ("MARKETMUX_ALLOWED_ORIGINS", "https://example.com", "it is of type str, and not a list of texts"),
        ("MARKETMUX_METRICS_TOKEN", None, "it is of type NoneType, and not a text"),
    ],
)
def test_a_setting_of_the_wrong_type_or_size_is_an_error(
    name: str, value: object, said: str, settings: Settings
) -> None:
    setattr(settings, name, value)
    [message] = checks.check_settings()
    assert (message.id, message.msg) == ("ticks.E006", f"The setting {name} makes no sense: {said}.")
    assert name in (message.hint or "")


def test_a_setting_that_a_project_does_not_have_has_its_default(settings: Settings) -> None:
    for name in OPTIONS:
        delattr(settings, name)
    assert checks.check_settings() == []
    assert OPTIONS["MARKETMUX_MAX_SYMBOLS"].default == conf.MARKETMUX_MAX_SYMBOLS
    settings.MARKETMUX_MAX_SYMBOLS = 7
    assert conf.MARKETMUX_MAX_SYMBOLS == 7


def test_seconds_may_be_whole(settings: Settings) -> None:
    settings.MARKETMUX_HEARTBEAT_SECONDS = 2
    assert checks.check_settings() == []
