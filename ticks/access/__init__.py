"""Who may do what, and with which symbols: found once at the door, and held as a :class:`~ticks.access.grant.Grant`."""
