"""Writes to many sockets in one system call, by Linux' io_uring.

To a thousand subscribers of one symbol a pass makes a thousand calls of ``send``. What the kernel does in each is the
larger part of the cost, but a fifth to a quarter of it is getting there: the step into the kernel and back, and the
steps of Python around it. A ``Ring`` tells the kernel of all of them in memory that both see, and steps in once for
every few hundred.

Nothing is asynchronous about it. A send that would wait fails, as on any socket that does not block, so when the call
returns every one has been tried, in order, and the kernel keeps neither the bytes nor the sockets. Those that went
through without remainder are not even reported.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import itertools
import mmap
import os
import socket
import struct
import sys
import weakref
from array import array
from collections.abc import Iterator, Sequence
from typing import Final

__all__ = ["ROOM", "Ring"]

ROOM: Final = 262_144
"""Most bytes that can be sent at once."""

_ENTRIES: Final = 512
"""Sends a system call: more are no cheaper."""

# From the kernel's interface, linux/io_uring.h: the same on all architectures.
_SETUP, _ENTER = 425, 426
_SETUP_FLAGS: Final = 1 << 7 | 1 << 12 | 1 << 13
"""Go on behind a send that fails; one thread, which does the kernel's work itself (Linux 6.1)."""
_FEAT_SINGLE_MMAP: Final = 1 << 0
_GET_EVENTS: Final = 1
_ENTRIES_OFFSET: Final = 0x10000000
_PARAMS: Final = struct.Struct("=2I 12x I 16x 7I 12x 6I 16x")
"""Of io_uring_params: the entries of both queues; features; head, tail, ring_mask, ring_entries, flags, dropped and
array of the queue of submissions, and head, tail, ring_mask, ring_entries, overflow and cqes of that of completions."""
_SUBMISSION: Final = struct.Struct("=BBHiQQIIQ24x")
"""Opcode, flags, priority, descriptor, offset, address, length, the flags of ``send``, what the completion carries."""
_COMPLETION: Final = struct.Struct("=QiI")
"""What the submission carried, the result or an errno below 0, flags."""
_OP_SEND: Final = 26
_SKIP_SUCCESS: Final = 1 << 6
# With MSG_WAITALL a send that takes only a part has failed, so that it is reported.
_WHOLE: Final = (
    socket.MSG_DONTWAIT | socket.MSG_WAITALL | getattr(socket, "MSG_NOSIGNAL", 0) if os.name == "posix" else 0
)

_FULL: Final = frozenset({errno.EAGAIN, errno.EINTR, errno.ENOBUFS, errno.ENOMEM, errno.ECANCELED})
"""Nothing was taken, and the connection is as it was."""


class Ring:
    """Sends to many sockets at once. Only the thread that made it may use it."""

    worth = 32
    """Sockets from which on it costs less than to call each."""

    def __init__(self) -> None:
        """Raises OSError where the system has no io_uring, does not let us use it, or has one that does other things.

        Containers often forbid it: Docker's default profile does.
        """
        if sys.platform != "linux":
            raise OSError(errno.ENOSYS, "io_uring is Linux'")
        self._call = ctypes.CDLL(None, use_errno=True).syscall
        self._call.restype = ctypes.c_long
        params = ctypes.create_string_buffer(_PARAMS.size)
        struct.pack_into("=I", params, 8, _SETUP_FLAGS)
        self._fd = self._enter(_SETUP, _ENTRIES, params)
        weakref.finalize(self, os.close, self._fd)
        entries, completions, features, *offsets = _PARAMS.unpack(params)
        if not features & _FEAT_SINGLE_MMAP or entries != _ENTRIES:
            raise OSError(errno.ENOTSUP, "io_uring is too old")
        head, tail, _, _, _, _, indices, done_head, done_tail, _, _, _, self._done = offsets
        self._done_mask = completions - 1
        end = max(indices + 4 * entries, self._done + _COMPLETION.size * completions)
        self._queues = mmap.mmap(self._fd, end, offset=0)
        words = memoryview(self._queues)
        self._head, self._tail, self._done_head, self._done_tail = (
            words[place : place + 4].cast("I") for place in (head, tail, done_head, done_tail)
        )
        words[indices : indices + 4 * entries] = array("I", range(entries)).tobytes()
        self._buffer = ctypes.create_string_buffer(ROOM)
        self._bytes = memoryview(self._buffer).cast("B")
        self._address = ctypes.addressof(self._buffer)
        submissions = mmap.mmap(self._fd, _SUBMISSION.size * entries, offset=_ENTRIES_OFFSET)
        for index in range(entries):
            submission = (_OP_SEND, _SKIP_SUCCESS, 0, -1, 0, self._address, 0, _WHOLE, index)
            _SUBMISSION.pack_into(submissions, _SUBMISSION.size * index, *submission)
        # One field of all submissions each: what differs from one send to the next.
        self._descriptors = memoryview(submissions).cast("I")[1 :: _SUBMISSION.size // 4]
        self._addresses = memoryview(submissions).cast("Q")[2 :: _SUBMISSION.size // 8]
        self._sizes = memoryview(submissions).cast("I")[6 :: _SUBMISSION.size // 4]
        self._size = 0
        """What all the sizes are, if all the addresses are the buffer's beginning."""
        self._prove()

    def send(self, descriptors: array[int], data: bytes) -> list[tuple[int, int]]:
        """Sends ``data``, of at most ``ROOM`` bytes, to the sockets that have these descriptors, in this order.

        ``descriptors``: of open sockets that do not block, as an array of unsigned ints.

        Returns the index and how many bytes were taken for each socket that did not take all, as a call of ``send``
        on it would have, or 0 where that would have raised BlockingIOError. A connection that is gone is passed over.
        """
        size = len(data)
        self._bytes[:size] = data
        if size != self._size:
            self._addresses[:] = array("Q", [self._address]) * _ENTRIES
            self._sizes[:] = array("I", [size]) * _ENTRIES
            self._size = size
        return self._send(memoryview(descriptors))

    def send_each(self, descriptors: array[int], messages: Sequence[bytes]) -> list[tuple[int, int]]:
        """The same with a message for each socket, of at most ``ROOM`` bytes."""
        sizes = array("I", map(len, messages))
        data = b"".join(messages)
        if len(data) > ROOM:
            middle = len(messages) // 2
            short = self.send_each(descriptors[:middle], messages[:middle])
            rest = self.send_each(descriptors[middle:], messages[middle:])
            return short + [(middle + index, taken) for index, taken in rest]
        self._bytes[: len(data)] = data
        self._size = -1
        addresses = array("Q", itertools.accumulate(sizes[:-1], initial=self._address))
        return self._send(memoryview(descriptors), memoryview(addresses), memoryview(sizes))

    def _send(
        self,
        descriptors: memoryview[int],
        addresses: memoryview[int] | None = None,
        sizes: memoryview[int] | None = None,
    ) -> list[tuple[int, int]]:
        short: list[tuple[int, int]] = []
        start = 0
        while start < len(descriptors):
            tail = self._tail[0]
            place = tail % _ENTRIES
            count = min(_ENTRIES - place, len(descriptors) - start)
            ours, theirs = slice(place, place + count), slice(start, start + count)
            self._descriptors[ours] = descriptors[theirs]
            if addresses is not None and sizes is not None:
                self._addresses[ours] = addresses[theirs]
                self._sizes[ours] = sizes[theirs]
            self._tail[0] = (tail + count) & 0xFFFFFFFF
            submitted = self._submit(count)
            if self._done_head[0] != self._done_tail[0]:
                short += [(start + index - place, taken) for index, taken in self._completions()]
            if submitted < count:
                # The kernel has no memory for more. The rest is taken back, or it would go out with the next write.
                self._tail[0] = self._head[0]
                short += [(index, 0) for index in range(start + submitted, len(descriptors))]
                break
            start += count
        return short

    def _submit(self, count: int) -> int:
        """How many were tried."""
        try:
            return self._enter(_ENTER, self._fd, count, 0, _GET_EVENTS, None, 0)
        except OSError:
            return 0

    def _completions(self) -> Iterator[tuple[int, int]]:
        """The place in the ring, and what was taken, of each send that took less than all."""
        head, tail = self._done_head[0], self._done_tail[0]
        while head != tail:
            index, result, _ = _COMPLETION.unpack_from(
                self._queues, self._done + _COMPLETION.size * (head & self._done_mask)
            )
            if result >= 0 or -result in _FULL:
                yield index, max(result, 0)
            head = (head + 1) & 0xFFFFFFFF
        self._done_head[0] = head

    def _enter(self, *arguments: object) -> int:
        result: int = self._call(*arguments)
        if result < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return result

    def _prove(self) -> None:
        """Tries whether the kernel does what is relied on, and sends nothing after the call has returned."""
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            theirs.setblocking(False)
            descriptors = array("I", [ours.fileno()])
            proof = bytes(ROOM)
            is_proven = not self.send(descriptors, proof[:1]) and len(theirs.recv(2)) == 1
            taken = 0
            while is_proven and (short := self.send(descriptors, proof)) != [(0, 0)]:
                taken += short[0][1] if short else ROOM
            while is_proven and taken > 0:
                taken -= len(theirs.recv(ROOM))
            self._enter(_ENTER, self._fd, 0, 0, _GET_EVENTS, None, 0)
            with contextlib.suppress(BlockingIOError):
                is_proven = is_proven and not theirs.recv(1)
            if not is_proven or taken:
                raise OSError(errno.ENOTSUP, "io_uring does not do what it should")
