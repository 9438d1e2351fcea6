"""The tests' settings with an SQLite that waits two seconds for a lock, where the project's waits twenty seconds."""

from tests.gateway_settings import *  # noqa: F403

DATABASES["default"]["OPTIONS"]["timeout"] = 2  # noqa: F405
