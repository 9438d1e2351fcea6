"""A load generator for the gateway: many subscribers, one publisher, one process, one thread.

Theory of operation. The generator often shares its machine with the gateway, so the processor time it uses is time
that the gateway lacks. Every subscriber is therefore a non-blocking socket in one epoll loop (loop.py) with just
enough of a WebSocket client on top to be served by this gateway (websocket.py, socket.py). A tick is not decoded: its
timestamp is cut out of the frame and looked up (messages.py).

The publisher (publisher.py) sends ticks whose timestamps are unique nanoseconds. The ledger (ledger.py) remembers each
of them with its place in the symbol's sequence and the time just before its POST was written; what comes back is
checked against that, so a tick of another publisher is never mistaken for one of ours. Without a publisher of its own
(rate 0) a listener counts what others publish, and latency is then measured from the tick's own timestamp.

A run that verifies takes symbol and seq out of the frame as well, and every client keeps a book (proof.py): only what
the gateway announced as left out may be missing from the sequence. Such clients may ask for fewer ticks, and may lose
their connection and resume (crowd.py). Snapshots and replayed ticks do not count as deliveries and have no latency.

Latency ends when the generator has read the tick. It includes the time a tick waits while the generator reads others,
which is why a report says how busy the generator was.
"""

from gateway.loadtest.options import LoadTestError, Options
from gateway.loadtest.report import Report
from gateway.loadtest.runner import LoadTest

__all__ = ["LoadTest", "LoadTestError", "Options", "Report"]
