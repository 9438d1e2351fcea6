"""What is relied on in other packages beyond their documented API: every seam, what it is for, and that it holds.

An upgrade that takes one of these away, or gives it another meaning, is to fail here and not in a running gateway.
"""

from __future__ import annotations

import ast
import asyncio
import functools
import importlib.util
import inspect
import pkgutil
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple
from unittest import mock

import daphne.server
import pytest
import redis.asyncio
from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from autobahn.websocket.protocol import WebSocketProtocol
from channels_redis.pubsub import RedisPubSubChannelLayer, RedisPubSubLoopLayer
from channels_redis.utils import _wrap_close, create_pool, decode_hosts
from twisted.internet import tcp
from twisted.internet.asyncioreactor import AsyncioSelectorReactor
from twisted.internet.testing import StringTransport

ROOT: Final = Path(__file__).resolve().parent.parent
ZONES: Final = ("bus", "ticks", "gateway", "marketmux")
DOCUMENTED: Final = {
    "_asdict",
    "_fields",
    "_replace",
    "_meta",
    "_base_manager",
    "_state",
    "_db",
    "_value_",
    "_current_frames",
}
"""Names of named tuples, of Django and of ``sys`` that look private and are documented."""


class Seam(NamedTuple):
    holder: str
    """A module, or a class in it: ``module:Class``."""

    name: str
    reason: str

    @property
    def package(self) -> str:
        return self.holder.partition(".")[0]


PORT, CONNECTION = "twisted.internet.tcp:Port", "twisted.internet.tcp:Connection"
REACTOR = "twisted.internet.asyncioreactor:AsyncioSelectorReactor"
CHANNEL, REQUEST = "twisted.web.http:HTTPChannel", "daphne.http_protocol:WebRequest"
AUTOBAHN = "autobahn.websocket.protocol:WebSocketProtocol"
AUTOBAHN_SERVER = "autobahn.twisted.websocket:WebSocketServerProtocol"
SERVER, DAPHNE_WEBSOCKET = "daphne.server:Server", "daphne.ws_protocol:WebSocketProtocol"
LAYER, LOOP_LAYER = "channels_redis.pubsub:RedisPubSubChannelLayer", "channels_redis.pubsub:RedisPubSubLoopLayer"
REDIS = "redis.asyncio:Connection"

SEAMS: Final = [
    Seam(PORT, "_fromListeningDescriptor", "listen on the supervisor's socket with ports of our own class"),
    Seam(REACTOR, "_readOrWrite", "write at the end of a turn of the loop, with the reactor's handling of errors"),
    Seam(REACTOR, "_asyncioEventloop", "schedule that on asyncio's loop"),
    Seam(REACTOR, "_readers", "have our connections read without the context of Twisted's log"),
    Seam(CONNECTION, "_tempDataBuffer", "know whether Twisted holds bytes that must go first"),
    Seam(CONNECTION, "dataBuffer", "the same, for what was tried already"),
    Seam(CONNECTION, "_aborting", "not ask the selector about a connection that is being cut"),
    Seam(CONNECTION, "doWrite", "send the answer to a handshake before the first frames"),
    Seam(CHANNEL, "allHeadersReceived", "time a request's head"),
    Seam(CHANNEL, "allContentReceived", "time a request's body"),
    Seam(CHANNEL, "requestDone", "time the silence between requests"),
    Seam(CHANNEL, "_dataBuffer", "see whether more requests came with one, which take turns"),
    Seam(CHANNEL, "_waitingForTransport", "not read on while the client does not take its answers"),
    Seam(CHANNEL, "timeOut", "replace Twisted's timers by the housekeeping"),
    Seam(CHANNEL, "_respondToBadRequestAndDisconnect", "say in the answer that the request was malformed"),
    Seam(REQUEST, "basic_error", "answer with a problem what Daphne answers with a page"),
    Seam(CHANNEL, "checkPersistence", "make a request the last one on its connection"),
    Seam(AUTOBAHN, "_connectionMade", "start a connection without formatting it for the log"),
    Seam(AUTOBAHN, "_dataReceived", "read without formatting it for the log"),
    Seam(AUTOBAHN, "processData", "stop between two messages when the inbox is full"),
    Seam(AUTOBAHN, "consumeData", "go on with what was read already"),
    Seam(AUTOBAHN, "inside_message", "time a message"),
    Seam(AUTOBAHN, "current_frame", "read the rest of a long frame at once"),
    Seam(AUTOBAHN, "current_frame_masker", "the same"),
    Seam(AUTOBAHN, "sendData", "send control frames the way ticks go"),
    Seam(AUTOBAHN, "sendCloseFrame", "close with codes that an application may not send"),
    Seam(AUTOBAHN, "onAutoPingTimeout", "drop a silent client"),
    Seam(AUTOBAHN, "is_closed", "undo a reference cycle"),
    Seam(AUTOBAHN, "_transport_details", "have one for all connections"),
    Seam(AUTOBAHN, "utf8validator", "make one when it is needed"),
    Seam(AUTOBAHN_SERVER, "CONFIG_ATTRS", "keep the options in the class and not in each connection"),
    Seam(SERVER, "handle_reply", "find the connection behind an application's send: partial(handle_reply, protocol)"),
    Seam(SERVER, "create_application", "put a bounded inbox between a connection and its application"),
    Seam(SERVER, "application_checker", "start the housekeeping"),
    Seam(SERVER, "timeout_checker", "start nothing beside it"),
    Seam(SERVER, "kill_all_applications", "forget connections whose application has ended"),
    Seam(SERVER, "listen_success", "hand the port a factory of our own"),
    Seam(SERVER, "protocol_connected", "schedule a connection's first check"),
    Seam(SERVER, "protocol_disconnected", "give its application some time to end"),
    Seam(REQUEST, "_response_started", "cut a response that has begun when its application fails"),
    Seam(DAPHNE_WEBSOCKET, "handshake_deferred", "answer a handshake that the server has read itself"),
    Seam(DAPHNE_WEBSOCKET, "serverReject", "end a handshake that takes too long"),
    Seam("channels_redis.utils", "_wrap_close", "close a layer's connections with its loop"),
    Seam("channels_redis.utils", "decode_hosts", "take the same `hosts` as channels_redis"),
    Seam("channels_redis.utils", "_consistent_hash", "use the one of several hosts that channels_redis would choose"),
    Seam("channels_redis.utils", "create_pool", "connect to them as channels_redis does"),
    Seam(LAYER, "_get_layer", "make loop layers of our own class"),
    Seam(LAYER, "_layers", "keep them, one a loop"),
    Seam(LAYER, "_args", "make them with the options of the settings"),
    Seam(LAYER, "_kwargs", "the same"),
    Seam(LAYER, "_serializer", "read messages without a call in between"),
    Seam(LOOP_LAYER, "_get_group_channel_name", "publish to the names that channels_redis uses"),
    Seam(LOOP_LAYER, "_get_shard", "use the Redis that channels_redis would choose"),
    Seam(LOOP_LAYER, "_shards", "have shards of our own class chosen from"),
    Seam(LOOP_LAYER, "_subscribe_to_channel", "bound a channel's queue"),
    Seam(REDIS, "_reader", "read all that has arrived at once"),
    Seam(REDIS, "_writer", "write commands without waiting for the answers"),
]


@pytest.mark.parametrize("seam", SEAMS, ids=lambda seam: f"{seam.package}.{seam.name}")
def test_what_is_relied_on_exists(seam: Seam) -> None:
    holder = _resolved(seam.holder)
    set_by_methods = {name for base in getattr(holder, "__mro__", ()) for name in _own_names(base)}
    assert hasattr(holder, seam.name) or seam.name in set_by_methods, f"{seam.holder} is used to {seam.reason}"


def test_every_private_name_of_another_package_is_in_the_table() -> None:
    listed = {(seam.package, seam.name) for seam in SEAMS}
    names = {seam.name for seam in SEAMS}
    found = [use for use in _uses() if (use[:2] not in listed if use.package else use.name not in names)]
    assert not found, "each needs a row in SEAMS"


def test_no_private_name_is_in_the_table_that_is_not_used() -> None:
    used = {use.name for use in _uses()}
    assert not [seam for seam in SEAMS if _is_private(seam.name) and seam.name not in used]


# The private names that the project's source uses


class Use(NamedTuple):
    package: str
    """Empty if only running the code could tell."""

    name: str
    where: str


@functools.cache
def _uses() -> list[Use]:
    modules = [
        info.name
        for zone in ZONES
        for info in pkgutil.walk_packages([str(ROOT / zone)], f"{zone}.")
        if ".migrations" not in info.name
    ]
    return [use for module in modules for use in (*_outside_classes(module), *_in_classes(module))]


def _outside_classes(module: str) -> Iterator[Use]:
    """Imports, and attributes of other objects than ``self`` that this module does not define itself."""
    tree = _tree(module)
    own = {name for node in ast.walk(tree) for name in _defined(node)}
    for node in ast.walk(tree):
        where = f"{module}:{getattr(node, 'lineno', 0)}"
        match node:
            case ast.ImportFrom(module=str(origin), level=0) if not _is_ours(origin):
                yield from (Use(origin.partition(".")[0], a.name, where) for a in node.names if _is_private(a.name))
            case (
                ast.Attribute(value=object_, attr=name)
                | ast.Call(func=ast.Name(id="getattr"), args=[object_, ast.Constant(value=str(name)), *_])
            ) if _is_private(name) and name not in own and not _is_self(object_):
                yield Use("", name, where)


def _in_classes(module: str) -> Iterator[Use]:
    """What classes use of their base classes in other packages, or replace, knowingly or not."""
    if not any(isinstance(node, ast.ClassDef) for node in _tree(module).body):
        return  # without importing it: marketmux/asgi.py freezes what is alive
    for name, cls in vars(importlib.import_module(module)).items():
        if not inspect.isclass(cls) or cls.__module__ != module:
            continue
        source = _class_tree(cls)
        mentioned = {name for node in ast.walk(source) for name in (*_defined(node), *_of_self(node))}
        foreign = [base for base in cls.__mro__ if not _is_ours(base.__module__)]
        ours = {own for base in cls.__mro__[1:] if _is_ours(base.__module__) for own in _own_names(base)}
        for private in filter(_is_private, mentioned):
            owner = next((base for base in foreign if private in _own_names(base)), None)
            if owner is not None and private not in ours:
                yield Use(owner.__module__.partition(".")[0], private, f"{module}:{name}")


@functools.cache
def _tree(module: str) -> ast.Module:
    origin = spec.origin if (spec := importlib.util.find_spec(module)) else None
    return ast.parse(Path(origin).read_bytes() if origin is not None and origin.endswith(".py") else "")


def _class_tree(cls: type) -> ast.AST:
    classes = (node for node in ast.walk(_tree(cls.__module__)) if isinstance(node, ast.ClassDef))
    return next((node for node in classes if node.name == cls.__name__), ast.Module([], []))


@functools.cache
def _own_names(cls: type) -> frozenset[str]:
    """What a class's own source defines or sets on ``self``."""
    return frozenset(name for node in ast.walk(_class_tree(cls)) for name in _defined(node))


def _defined(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            yield name
        case ast.Name(id=name, ctx=ast.Store()):
            yield name
        case ast.Attribute(attr=name, ctx=ast.Store(), value=value) if _is_self(value):
            yield name


def _of_self(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Attribute) and _is_self(node.value):
        yield node.attr


def _is_self(node: ast.AST) -> bool:
    match node:
        case ast.Name(id="self" | "cls") | ast.Call(func=ast.Name(id="super")):
            return True
    return False


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name not in {"_", *DOCUMENTED}


def _is_ours(module: str) -> bool:
    return module.partition(".")[0] in ZONES


def _resolved(holder: str) -> Any:
    module, _, name = holder.partition(":")
    found = importlib.import_module(module)
    return getattr(found, name) if name else found


# What they do


@pytest.fixture
async def reactor() -> AsyncioSelectorReactor:
    return AsyncioSelectorReactor(asyncio.get_running_loop())


async def test_the_reactor_writes_and_loses_the_connection_of_what_failed(reactor: AsyncioSelectorReactor) -> None:
    selectable = mock.Mock(**{"doWrite.return_value": None, "fileno.return_value": 3})
    reactor._readOrWrite(selectable, False)
    selectable.connectionLost.assert_not_called()
    selectable.doWrite.return_value = OSError()
    reactor._readOrWrite(selectable, False)
    selectable.connectionLost.assert_called_once()
    selectable.doRead.assert_not_called()


async def test_a_port_is_made_from_a_descriptor(reactor: AsyncioSelectorReactor) -> None:
    class OwnPort(tcp.Port):
        pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = OwnPort._fromListeningDescriptor(reactor, listener.fileno(), socket.AF_INET, mock.Mock())
        port.startListening()
        assert isinstance(port, OwnPort)
        assert port.getHost().port == listener.getsockname()[1]
        await port.stopListening().asFuture(asyncio.get_running_loop())


class TwistedConnection(NamedTuple):
    ours: tcp.Connection
    theirs: socket.socket

    @property
    def unsent(self) -> bytes:
        return self.ours.dataBuffer[self.ours.offset :] + b"".join(self.ours._tempDataBuffer)


@pytest.fixture
def connection() -> Iterator[TwistedConnection]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        made = tcp.Connection(ours, mock.Mock(), mock.Mock())
        made.connected = True
        yield TwistedConnection(made, theirs)


def test_what_is_written_waits_in_twisteds_two_buffers_until_it_is_sent(connection: TwistedConnection) -> None:
    connection.ours.write(b"handshake")
    assert connection.unsent == b"handshake"
    connection.ours.doWrite()
    assert connection.unsent == b""
    assert connection.theirs.recv(100) == b"handshake"


def test_what_the_socket_did_not_take_stays_in_them(connection: TwistedConnection) -> None:
    connection.ours.write(b"x" * 10_000_000)
    connection.ours.doWrite()
    assert connection.ours.dataBuffer
    assert connection.unsent


def test_a_connection_that_is_being_cut_says_so(connection: TwistedConnection) -> None:
    assert not connection.ours._aborting
    connection.ours.abortConnection()
    assert connection.ours._aborting


HANDSHAKE: Final = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def frame(opcode: int, payload: bytes = b"") -> bytes:
    """A client's frame, masked with zeros."""
    return bytes([0x80 | opcode, 0x80 | len(payload)]) + bytes(4) + payload


def websocket(kind: type[WebSocketServerProtocol] = WebSocketServerProtocol) -> Any:
    """Autobahn's side of a WebSocket in memory, after the handshake."""
    factory = WebSocketServerFactory(reactor=mock.Mock())
    factory.setProtocolOptions(openHandshakeTimeout=0, closeHandshakeTimeout=0)
    protocol: Any = kind()
    protocol.factory, protocol.transport = factory, StringTransport()
    WebSocketProtocol._connectionMade(protocol)
    assert protocol.state == protocol.STATE_CONNECTING
    protocol._dataReceived(HANDSHAKE)
    assert protocol.state == protocol.STATE_OPEN
    protocol.transport.clear()
    return protocol


async def test_autobahns_options_may_be_attributes_of_the_class() -> None:
    factory = WebSocketServerFactory()
    options = {name: getattr(factory, name) for name in WebSocketServerProtocol.CONFIG_ATTRS}
    methods = {name: staticmethod(option) if callable(option) else option for name, option in options.items()}
    protocol = websocket(type("Configured", (WebSocketServerProtocol,), {**methods, "CONFIG_ATTRS": ()}))
    assert options.keys().isdisjoint(vars(protocol))


async def test_autobahn_stops_between_messages_and_goes_on() -> None:
    class Held(WebSocketServerProtocol):
        is_held = False
        messages: list[bytes] = []

        def processData(self) -> bool:  # noqa: N802 - Autobahn's name
            return not self.is_held and bool(super().processData())

        def onMessage(self, payload: bytes, isBinary: bool) -> None:  # noqa: N802, N803 - Autobahn's names
            self.messages.append(payload)
            self.is_held = True

    protocol = websocket(Held)
    protocol._dataReceived(frame(1, b"one") + frame(1, b"two"))
    assert protocol.messages == [b"one"]
    protocol.is_held = False
    protocol.consumeData()
    assert protocol.messages == [b"one", b"two"]


async def test_autobahn_sends_control_frames_by_send_data() -> None:
    protocol = websocket()
    with mock.patch.object(protocol, "sendData") as sent:
        protocol._dataReceived(frame(9, b"?"))
        protocol.sendCloseFrame(code=1012, reasonUtf8=b"restart")
    frames = [call.args[0] for call in sent.call_args_list]
    assert frames == [b"\x8a\x01?", b"\x88\x09\x03\xf4restart"]
    assert protocol.state == protocol.STATE_CLOSING


async def test_autobahn_drops_a_silent_client() -> None:
    protocol = websocket()
    protocol.transport = mock.Mock()
    protocol.onAutoPingTimeout()
    protocol.transport.abortConnection.assert_called_once_with()


async def test_daphne_hands_an_application_a_partial_of_handle_reply() -> None:
    application = mock.AsyncMock()
    server = daphne.server.Server(application, endpoints=["unused"])
    server.connections = {"protocol": {}}
    server.create_application("protocol", {"type": "websocket"})
    send = application.call_args.kwargs["send"]
    assert isinstance(send, functools.partial)
    assert (send.func, send.args) == (server.handle_reply, ("protocol",))
    await server.connections["protocol"]["application_instance"]


def test_daphne_starts_two_chains_of_timers_and_ends_with_the_applications(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.new_event_loop()
    fake = mock.Mock(_asyncioEventloop=loop)
    for name in ("reactor", "serverFromString", "globalLogBeginner"):
        monkeypatch.setattr(daphne.server, name, fake)
    ready = mock.Mock()
    server = daphne.server.Server(None, endpoints=["unused"], ready_callable=ready)
    server.run()
    assert [call.args[1] for call in fake.callLater.call_args_list] == [
        server.application_checker,
        server.timeout_checker,
    ]
    fake.addSystemEventTrigger.assert_called_once_with("before", "shutdown", server.kill_all_applications)
    fake.return_value.listen.return_value.addCallback.assert_called_once_with(server.listen_success)
    ready.assert_called_once_with()
    loop.close()
    asyncio.set_event_loop(None)


def test_the_pool_of_a_host_is_redis_pys() -> None:
    [host] = decode_hosts(["redis://example.org:1234/5"])
    pool = create_pool(host)
    assert isinstance(pool, redis.asyncio.ConnectionPool)
    assert pool.connection_kwargs["host"] == "example.org"


def test_a_layer_is_flushed_and_forgotten_with_its_loop() -> None:
    loop = asyncio.new_event_loop()
    layer = mock.AsyncMock()
    proxy = mock.Mock(_layers={loop: layer})
    _wrap_close(proxy, loop)
    loop.close()
    layer.flush.assert_awaited_once_with()
    assert loop.is_closed()
    assert not proxy._layers


async def test_a_layer_hands_what_it_is_asked_to_its_loops_layer() -> None:
    of_loop = mock.AsyncMock()

    class Layer(RedisPubSubChannelLayer):  # type: ignore[misc] # channels_redis ships no types
        def _get_layer(self) -> Any:
            return of_loop

    layer = Layer(["a host"], prefix="p")
    await layer.group_send("group", {"type": "x"})
    of_loop.group_send.assert_awaited_once_with("group", {"type": "x"})
    assert (layer._args, layer._kwargs, layer._layers) == ((["a host"],), {"prefix": "p"}, {})
    assert layer._serializer.deserialize(layer.serialize({"type": "x"})) == {"type": "x"}


async def test_a_loops_layer_names_groups_and_chooses_one_of_its_shards() -> None:
    layer = RedisPubSubLoopLayer(["redis://one", "redis://two"], prefix="p")
    assert layer._get_group_channel_name("group") == "p__group__group"
    layer._shards = ["first", "second"]
    assert {layer._get_shard(f"channel{number}") for number in range(20)} == {"first", "second"}


@pytest.fixture
async def fake_redis() -> AsyncIterator[int]:
    """The port of a server that says OK to everything."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1_000):
            writer.write(b"+OK\r\n" * data.count(b"*"))
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1")
    async with server:
        yield server.sockets[0].getsockname()[1]


async def test_a_connection_to_redis_is_a_pair_of_asyncios_streams(fake_redis: int) -> None:
    connection = redis.asyncio.Connection(port=fake_redis, protocol=2)
    await connection.connect()
    assert isinstance(connection._reader, asyncio.StreamReader)
    assert isinstance(connection._writer, asyncio.StreamWriter)
    connection._writer.transport.abort()
    await connection.disconnect(nowait=True)
    assert connection._writer is None
