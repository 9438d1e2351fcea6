"""The settings of the process that runs the tests: the defaults, whatever the developer's environment says.

pytest-django loads the settings before any conftest.py: nowhere else could the environment be cleaned in time.
"""

import os

from tests.environment import clean_environment

for _name in set(os.environ) - set(clean_environment()) - {"DJANGO_SETTINGS_MODULE"}:
    del os.environ[_name]

from tests.gateway_settings import *  # noqa: E402, F403 - it reads the environment while it is imported

# Where pytest captures it, and not from a thread.
LOGGING |= {"handlers": {"console": {"class": "logging.StreamHandler", "formatter": "plain"}}}  # noqa: F405

# A thread would write to the database of whichever test is running by then. Tests of it turn it on.
MARKETMUX_JOURNAL = False

# Of an engine that is not Django's own pytest-django would think that it needs a file.
DATABASES["default"]["TEST"] = {"NAME": ":memory:"}  # noqa: F405
# There connections share a cache, and a reader in another thread would be a reason to refuse a write at once.
DATABASES["default"]["OPTIONS"]["init_command"] += " PRAGMA read_uncommitted=1;"  # noqa: F405
