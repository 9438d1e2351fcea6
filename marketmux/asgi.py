"""The project's ASGI application: Django's, with the gateway's paths (gateway/asgi.py)."""

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "marketmux.settings")
django = get_asgi_application()

# Only now: it needs the apps to be loaded.
from gateway.asgi import with_gateway  # noqa: E402

application = with_gateway(django)
