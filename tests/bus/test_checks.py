"""The system check of the channel layer."""

from __future__ import annotations

import pytest
from django.core.checks import run_checks
from pytest_django.fixtures import Settings


@pytest.mark.parametrize(
    "layer",
    [
        {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}},
        {"default": {"BACKEND": "nowhere.NoLayer"}},
        {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer", "CONFIG": {"nonsense": 1}}},
        {},
    ],
)
def test_a_channel_layer_without_a_bus_is_an_error(layer: dict[str, object], settings: Settings) -> None:
    settings.CHANNEL_LAYERS = layer
    [message] = [message for message in run_checks() if message.id == "ticks.E002"]
    assert message.hint
