"""The Autobahn TestSuite against the server: ``make autobahn``, or ``python -m tests.autobahn [CASE ...]``.

The suite needs echoes, so the server is given an application that echoes: once as an ordinary Channels consumer, and
once through the outbox and the wire that ticks go through, with control frames among them.
"""
