"""The settings of the process that runs the tests: the defaults, whatever the developer's environment says.

pytest-django loads the settings before any conftest.py: nowhere else could the environment be cleaned in time.
"""

import os
import tempfile

from tests.environment import clean_environment

for _name in set(os.environ) - set(clean_environment()) - {"DJANGO_SETTINGS_MODULE"}:
    del os.environ[_name]

# A PostgreSQL that is there for the tests (tests/postgresql.py), of which each process makes a database of its own.
_POSTGRESQL = os.environ.get("TEST_DATABASE_URL")
if _POSTGRESQL:
    os.environ["DATABASE_URL"] = _POSTGRESQL

from tests.gateway_settings import *  # noqa: E402, F403 - it reads the environment while it is imported

# Where pytest captures it, and not from a thread.
LOGGING |= {"handlers": {"console": {"class": "logging.StreamHandler", "formatter": "text"}}}  # noqa: F405

# A thread would write to the database of whichever test is running by then. Tests of it turn it on.
MARKETMUX_JOURNAL = False

if _POSTGRESQL:
    DATABASES["default"]["TEST"] = {"TEMPLATE": DATABASES["default"]["NAME"]}  # noqa: F405
else:
    # A file, as a gateway has: connections of one in memory share a cache, where a writer is refused at once, not in
    # its turn.
    _directory = tempfile.TemporaryDirectory(prefix="marketmux-tests-", ignore_cleanup_errors=True)
    DATABASES["default"]["TEST"] = {"NAME": f"{_directory.name}/tests.sqlite3"}  # noqa: F405
    DATABASES["default"]["OPTIONS"]["init_command"] += " PRAGMA synchronous=OFF;"  # noqa: F405
