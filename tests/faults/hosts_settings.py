"""The settings of gateways in tests, with several Redis hosts: those of MARKETMUX_TEST_HOSTS, separated by blanks."""

import os

from tests.gateway_settings import *  # noqa: F403

CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "bus.layers.RedisLayer",
        "CONFIG": {"hosts": os.environ["MARKETMUX_TEST_HOSTS"].split()},
    }
}
