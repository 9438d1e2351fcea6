"""The whole thing for a chosen time, as it would be used and abused, and what has grown or got lost by the end.

    python -m tests.soak [--minutes 5]

A real Redis and one worker of the gateway, publishers over HTTP and over a WebSocket, steady clients whose books prove
what they got (gateway/loadtest/proof.py), visitors who come, resume and leave without a word, clients who never read,
and now and then a Redis that stands still or garbage on the bus. It all runs in one thread around the load generator's
event loop; beside it one thread takes samples and one makes trouble. The exit code is 1 if something is not as it must
be, and the table says what.
"""
