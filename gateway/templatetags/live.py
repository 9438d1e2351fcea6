"""The live picture in the admin's front page."""

from __future__ import annotations

from typing import Any

from django import template
from django.template.context import RequestContext

from gateway.edge import live

register = template.Library()


@register.inclusion_tag("gateway/live.html", takes_context=True)
def live_picture(context: RequestContext) -> dict[str, Any]:
    """As ``live`` in gateway/edge/live.py answers it."""
    return live.context(context["request"])
