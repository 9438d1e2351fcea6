"""The project's settings out of the environment alone: the developer's ``.env`` file is not read."""

from unittest import mock

import environs

with mock.patch.object(environs.Env, "read_env"):
    from marketmux.settings import *  # noqa: F403
