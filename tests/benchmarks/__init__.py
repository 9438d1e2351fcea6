"""What the gateway costs: its parts one by one, and whole beside a plain Channels application (``make bench``).

``measure.py`` has the clocks and the bookkeeping; ``fanout.py``, ``codec.py`` and ``bus.py`` the parts; ``server.py``
runs whole servers, ``plain.py`` being the one to compare with. ``capacity.py`` computes from such figures what a larger
deployment needs, ``picture.py`` draws them.

A benchmark counts work that is finished: what it put in must have come out before the clock stops, or it fails.
"""
