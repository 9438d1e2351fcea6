"""The documents name what there is: every code, every variable, every metric; and their links lead somewhere."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest
from django.core.management import get_commands, load_command_class

from bus.contract import Reason
from gateway.edge import metrics, publisher
from gateway.fanout.heartbeat import ASK_SECONDS
from gateway.protocol import budget
from gateway.protocol import codes as errors
from gateway.protocol.codes import CLOSURES, ERRORS, Closure, ErrorCode, close_codes, error_codes, table
from gateway.protocol.commands import MAX_RATE, MIN_RATE
from gateway.server import drain, inbox, supervisor, websocket, worker
from gateway.server.timeouts import Timeouts
from marketmux.client import Backoff
from tests import commands
from tests.documents import blocks
from ticks.conf import OPTIONS
from ticks.problems import PROBLEMS
from ticks.publish import MAX_KEY_LENGTH
from ticks.tick import MAX_BATCH, MAX_BODY_BYTES

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
SETTINGS = (ROOT / "marketmux" / "settings.py").read_text()
VARIABLES = {*re.findall(r'env\.\w+\(\s*"([A-Z_]+)"', SETTINGS), *OPTIONS}
BACKOFF = {name: parameter.default for name, parameter in inspect.signature(Backoff).parameters.items()}


def section(document: str, heading: str) -> str:
    """What stands below a heading, as far as the next."""
    return (ROOT / document).read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]


def rows(text: str) -> set[str]:
    """The first words of a text's table rows, without the marks of code."""
    return {name for row in re.findall(r"^\| ([^|]+) \|", text, re.MULTILINE) for name in re.split("[`, ]+", row)}


def test_the_error_codes_are_those_of_the_code() -> None:
    assert ERRORS.keys() == set(ErrorCode) == rows(section("docs/reference/protocol.md", "Error codes")) - {"", "code"}
    assert table(error_codes()) in section("docs/reference/protocol.md", "Error codes")


def test_the_close_codes_are_those_of_the_code() -> None:
    assert {value for value in vars(errors).values() if isinstance(value, Closure)} <= set(CLOSURES)
    codes = rows(section("docs/reference/protocol.md", "Close codes")) - {"", "code"}
    assert {str(closure.code) for closure in CLOSURES} == codes
    assert table(close_codes()) in section("docs/reference/protocol.md", "Close codes")


@pytest.mark.parametrize("name", sorted(VARIABLES))
def test_every_variable_is_explained(name: str) -> None:
    assert name in rows((ROOT / "docs/reference/configuration.md").read_text())
    assert re.search(rf"^#?{name}=", (ROOT / ".env.example").read_text(), re.MULTILINE)


def test_no_variable_is_explained_that_is_not_read() -> None:
    assert set(re.findall(r"^#?([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE)) == VARIABLES


def test_the_problems_are_those_of_the_code() -> None:
    text = section("docs/reference/api.md", "Errors")
    table = re.findall(r"^\| (\d{3}) \| `(\w+)`(?:, or [^|]+)? \| (.+) \|$", text, re.MULTILINE)
    listed = {code: (int(status), when) for status, code, when in table}
    bus = {reason.value for reason in Reason}
    assert bus == rows(text.split("### What the bus refuses")[1]) - {"", "code"}
    assert listed.keys() | bus == PROBLEMS.keys()
    assert {code: said for code, said in listed.items() if code not in bus} == {
        code: (problem.status, problem.when) for code, problem in PROBLEMS.items() if code not in bus
    }


def test_every_metric_is_explained() -> None:
    table = re.findall(r"^\| `(\w+)` \| (.+) \|$", section("docs/reference/api.md", "GET /metrics"), re.MULTILINE)
    assert table == list(metrics.explained().items())


def test_the_readme_is_short_and_its_pictures_are_there() -> None:
    readme = (ROOT / "README.md").read_text()
    assert len(readme.splitlines()) < 200
    pictures = re.findall(r'(?:src|srcset)="([^"]+)"', readme)
    assert len(pictures) == 2
    assert all((ROOT / picture).is_file() for picture in pictures)


def test_the_readmes_five_ways_are_lines_of_the_pages_that_they_name() -> None:
    """Where tests run them, as tests/integration/test_docs_commands.py sees to."""
    before, table = (ROOT / "README.md").read_text().split("| with the gateway of ", 1)
    ways = table.split("\n\n")[0].splitlines()[2:]
    assert len(ways) == 5
    assert before.count("\n") + len(ways) < 20, "on the first screen"
    for way in ways:
        [page] = re.findall(r"\]\(([^#)]+)", way)
        lines = [line.strip() for block in blocks(page) for line in block.text.splitlines()]
        assert [line for line in re.findall(r"`([^`]+)`", way) if line not in lines] == []
        assert way.count("`") == 4, "ten lines in all"


def test_the_readmes_figures_are_measured_ones() -> None:
    """Each number of its table stands in the table of fan-out, rounded."""
    table = (ROOT / "README.md").read_text().split("| measured on two cores |")[1].split("\n\n")[0]
    measured = [
        float(number) for number in re.findall(r"\d+\.\d+", section("docs/explanation/performance.md", "Fan-out"))
    ]
    shown = re.findall(r"([\d,]+(?:\.\d+)?)(?:\*\*)? (?:µs|ms|%)", table)
    assert len(shown) >= 7
    for text in (one.strip("*").replace(",", "") for one in shown if one != "99"):
        digits = len(text.partition(".")[2])
        assert any(round(value, digits) == float(text) for value in measured), text


def test_the_commands_are_those_of_the_code() -> None:
    assert commands.page() == commands.PAGE.read_text(), "python -m tests.commands writes the page"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_that_is_named_is_one(document: Path) -> None:
    """With its options; those in blocks are run besides (tests/integration/test_docs_commands.py)."""
    text = re.sub(r"\\\n", " ", document.read_text())
    for name, rest in re.findall(r"manage\.py ([a-z]\w+)([^`\n|#;]*)", text):
        parser = load_command_class(get_commands()[name], name).create_parser("manage.py", name)
        known = {option for action in parser._actions for option in action.option_strings}
        assert set(re.findall(r"(?<!\S)--?[a-z][\w-]*", rest)) <= known, f"{name}{rest}"
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:^|`|; )make (\w+)", text, re.MULTILINE)) <= targets


def words(document: str) -> str:
    """A document's text with its lines joined."""
    return " ".join((ROOT / document).read_text().split())


TIMEOUTS = Timeouts()
OPERATE, ADDRESS, PROTOCOL, API, CLIENT = (
    f"docs/{page}.md"
    for page in ("how-to/operate", "how-to/address", "reference/protocol", "reference/api", "reference/client")
)


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        (OPERATE, f"| a WebSocket client, until a heartbeat takes a ping along | {ASK_SECONDS:g} |"),
        (OPERATE, f"that gets no heartbeats, a publisher's, before it is pinged | {TIMEOUTS.ping:g} |"),
        (OPERATE, f"anything else from the client | {TIMEOUTS.pong:g}: a half-open connection"),
        (OPERATE, f"a half-open connection is found within {ASK_SECONDS + TIMEOUTS.pong + TIMEOUTS.round:g}"),
        (OPERATE, f"without heartbeats within {TIMEOUTS.ping + TIMEOUTS.pong + 2 * TIMEOUTS.round:g} |"),
        (OPERATE, f"| the answer to a close frame | {TIMEOUTS.closing:g} |"),
        (OPERATE, f"| a WebSocket's handshake | {TIMEOUTS.handshake:g} |"),
        (OPERATE, f"from its first byte | {TIMEOUTS.message:g}, then it is closed"),
        (OPERATE, f"send {websocket.FRAMES_AT_ONCE:,} frames that carry nothing"),
        (OPERATE, f"fragments under {websocket.TINY_BYTES} bytes) and {websocket.FRAMES_PER_SECOND} a second"),
        (OPERATE, f"however slowly they come | {TIMEOUTS.head:g}, then 408 |"),
        (OPERATE, f"| a request's body | {TIMEOUTS.body:g}, then 408 |"),
        (OPERATE, f"| the response | {TIMEOUTS.answer:g}, then 503 |"),
        (OPERATE, f"| the next request on a connection | {TIMEOUTS.idle:g} |"),
        (OPERATE, f"has acknowledged nothing for {TIMEOUTS.ping + TIMEOUTS.pong:g} seconds"),
        (OPERATE, f"not read while {inbox.MOST_EVENTS} of them"),
        (OPERATE, f"after {drain.DRAIN_SECONDS:g} seconds what is left is cut"),
        (OPERATE, f"after {supervisor.STOP_SECONDS:g} seconds the supervisor kills it"),
        (OPERATE, f"a worker keeps {worker.SPARE_FILES} (a quarter"),
        (OPERATE, f"--ping-interval {TIMEOUTS.ping:g} --ping-timeout {TIMEOUTS.pong:g}"),
        (ADDRESS, f"through the {TIMEOUTS.ping:g} s between pings"),
        (PROTOCOL, f"one in {ASK_SECONDS:g} s, has a ping"),
        (PROTOCOL, f"for every {budget.TOKEN_BYTES // 1_024} KB of its answer"),
        (PROTOCOL, f"nothing came for {TIMEOUTS.ping:g} s is sent one"),
        (PROTOCOL, f"nothing comes for {TIMEOUTS.pong:g} s"),
        (PROTOCOL, f"| `max_rate` | ticks a second at most, {MIN_RATE:g} to {MAX_RATE:g},"),
        (PROTOCOL, f"At most {publisher.WINDOW} messages are under way"),
        (PROTOCOL, f"an array of up to {MAX_BATCH:,}"),
        (API, f"The body has up to {MAX_BATCH:,} ticks, in UTF-8, and at most {MAX_BODY_BYTES // 2**20} MiB"),
        (API, f"A key has 1 to {MAX_KEY_LENGTH} visible ASCII characters"),
        (CLIENT, f"`Backoff(base={BACKOFF['base']:g}, cap={BACKOFF['cap']:g}, lasting={BACKOFF['lasting']:g})`"),
    ],
)  # fmt: skip
def test_figures_are_those_of_the_code(document: str, sentence: str) -> None:
    assert sentence in words(document)


@pytest.mark.parametrize("name", [name for name, option in OPTIONS.items() if isinstance(option.default, int | float)])
def test_defaults_are_those_of_the_settings(name: str) -> None:
    default = OPTIONS[name].default
    value = f"{default:g}" if isinstance(default, float) else str(int(default))
    assert f"| `{name}` | `{value}` |" in words("docs/reference/configuration.md")


def test_a_default_stands_in_one_place() -> None:
    assert not set(OPTIONS) & set(re.findall(r"^(\w+) =", SETTINGS, re.MULTILINE))


def anchors(document: Path) -> set[str]:
    """What a link into the document may name: its headings, as GitHub spells them."""
    headings = re.findall(
        r"^#+ (.+)$", re.sub(r"^```.*?^```", "", document.read_text(), flags=re.MULTILINE | re.DOTALL), re.MULTILINE
    )
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_leads_somewhere(document: Path) -> None:
    for target, anchor in re.findall(r"\]\((?![a-z]+:)([^)#\s]*)#?([^)\s]*)\)", document.read_text()):
        found = (document.parent / target) if target else document
        assert found.exists(), f"{document.name} links to {target}"
        assert not anchor or anchor in anchors(found), f"{document.name} links to {target}#{anchor}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_no_paragraph_is_longer_than_90_words(document: Path) -> None:
    text = re.sub(r"^```.*?^```", "", document.read_text(), flags=re.MULTILINE | re.DOTALL)
    paragraphs = re.split(r"\n\s*\n|\n(?=\s*(?:[-*+]|\d+\.) )", re.sub(r"^[|#].*", "", text, flags=re.MULTILINE))
    assert [paragraph[:60] for paragraph in paragraphs if len(paragraph.split()) > 90] == []
