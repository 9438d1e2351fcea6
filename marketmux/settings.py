"""Settings of the MarketMux project, from the environment (docs/reference/configuration.md has the table)."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from csp.constants import NONE, SELF
from django.conf.global_settings import PASSWORD_HASHERS
from django.core.management.utils import get_random_secret_key

from marketmux.env import Environment
from marketmux.formats import FORMATS, LEVELS, levels
from ticks.origins import parse as parse_origin
from ticks.probes import PROBES

PACKAGE = Path(__file__).resolve().parent
# A clone keeps its files beside manage.py; an installed package keeps none, and takes the directory it is started in.
BASE_DIR = PACKAGE.parent if (PACKAGE.parent / "manage.py").exists() else Path.cwd()

env = Environment(BASE_DIR / ".env")
# The apps' own settings, MARKETMUX_...: their defaults are in ticks/conf.py.
conf = env.options()
globals().update(conf)

DEBUG = env.flag("DEBUG")
# Without a key of its own a process makes one up: what it signs is worthless to others and after a restart.
SECRET_KEY = env.text("SECRET_KEY") or get_random_secret_key()
SECRET_KEY_IS_EPHEMERAL = not env.text("SECRET_KEY")

# Where the world finds the gateway. From it follow the host and the origin that the gateway answers to, and, if it is
# https, what keeps browsers to that.
_PUBLIC = parse_origin(conf["MARKETMUX_PUBLIC_URL"])
_IS_HTTPS = _PUBLIC is not None and _PUBLIC.scheme == "https"
ALLOWED_HOSTS = env.words("ALLOWED_HOSTS", [] if _PUBLIC else ["localhost", "127.0.0.1", "[::1]"])
CSRF_TRUSTED_ORIGINS = env.words("CSRF_TRUSTED_ORIGINS", [])
if _PUBLIC:
    ALLOWED_HOSTS.append(_PUBLIC.host)
    CSRF_TRUSTED_ORIGINS.append(conf["MARKETMUX_PUBLIC_URL"])
SECURE_SSL_REDIRECT = SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = _IS_HTTPS
SECURE_SSL_HOST = _PUBLIC.netloc if _PUBLIC else None
SECURE_REDIRECT_EXEMPT = [f"^{path.lstrip('/')}$" for path in PROBES]
SECURE_HSTS_SECONDS = 31_536_000 if _IS_HTTPS else 0
# The gateway speaks for its own host: not for subdomains, of which others may be, and not for browsers' built-in lists.
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]

# Whose X-Forwarded- headers are believed (ticks/address.py); those of others are dropped (gateway/edge/forwarded.py).
_BEHIND_PROXY = env.flag("MARKETMUX_BEHIND_PROXY")
if conf["MARKETMUX_TRUSTED_PROXIES"] or _BEHIND_PROXY or _IS_HTTPS:
    # Where no proxies are named anybody may send it. That wins its sender no more than an answer over plain HTTP.
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
USE_X_FORWARDED_HOST = _BEHIND_PROXY

# Pages of MARKETMUX_ALLOWED_ORIGINS may read the API too, with a key or a token of their own; ticks/middleware.py says
# why not with cookies.
CORS_URLS_REGEX = r"^/api/v1/"
CORS_ALLOW_METHODS = ["GET", "HEAD", "OPTIONS", "POST"]
CORS_ALLOW_HEADERS = ["accept", "authorization", "content-type", "idempotency-key"]
CORS_EXPOSE_HEADERS = ["idempotency-replayed", "ratelimit", "ratelimit-policy", "retry-after", "www-authenticate"]

# The bus

REDIS_URL = env.text("REDIS_URL")
# Two gateways on one Redis share what they publish if they share this; empty is made of the number of the database.
MARKETMUX_NAMESPACE = env.name("MARKETMUX_NAMESPACE")
_HISTORY = {
    "history_ticks": conf["MARKETMUX_HISTORY_TICKS"],
    "history_seconds": conf["MARKETMUX_HISTORY_SECONDS"],
    "limits": {
        "streams": conf["MARKETMUX_MAX_STREAMS"],
        "keys": conf["MARKETMUX_MAX_KEYS"],
        "seconds": conf["MARKETMUX_RETAIN_DAYS"] * 86_400,
    },
}
CHANNEL_LAYERS = {
    "default": (
        {
            "BACKEND": "bus.layers.RedisLayer",
            "CONFIG": {"hosts": [REDIS_URL], "prefix": MARKETMUX_NAMESPACE, **_HISTORY},
        }
        if REDIS_URL
        else {"BACKEND": "bus.layers.MemoryLayer", "CONFIG": _HISTORY}
    )
}

# Django

INSTALLED_APPS = [
    "gateway",  # before daphne: it brings the event loop (gateway/server/reactor.py)
    "daphne",
    "ticks.apps.TicksAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "channels",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "axes",
    "ticks",
    "marketmux",  # manage.py watch
]

MIDDLEWARE = [
    "ticks.middleware.keep_method",
    "django.middleware.security.SecurityMiddleware",
    "ticks.middleware.Cors",
    "ticks.middleware.Policy",
    "ticks.logins.turns",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "ticks.middleware.Hosts",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "axes.middleware.AxesMiddleware",  # after all that may log in
]

# Of every page: nothing but the gateway's own files, and nothing written into the page. templates/ has what of Django's
# and DRF's pages would otherwise need more.
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],
        "font-src": [SELF],
        "connect-src": [SELF],
        "form-action": [SELF],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
    }
}

ROOT_URLCONF = "marketmux.urls"
ASGI_APPLICATION = "marketmux.asgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [PACKAGE.parent / "templates", PACKAGE / "templates"],  # in a clone, and installed
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

DATABASES = {"default": env.database("DATABASE_URL", f"sqlite:///{BASE_DIR / 'db.sqlite3'}")}
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    DATABASES["default"]["ENGINE"] = "marketmux.sqlite"  # makes files that nobody else can read
    # Readers and the recorder's bulk writes do not block each other in WAL mode.
    DATABASES["default"]["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
    }
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
PASSWORD_HASHERS = ["ticks.passwords.BesidePBKDF2PasswordHasher", *PASSWORD_HASHERS[1:]]
LOGIN_URL = "admin:login"

# Guesses of passwords (ticks/logins.py)

AUTHENTICATION_BACKENDS = ["ticks.guard.Guard", "django.contrib.auth.backends.ModelBackend"]
AXES_FAILURE_LIMIT = 5
AXES_COOLOFF_TIME = timedelta(minutes=5)
AXES_LOCKOUT_PARAMETERS = ["ip_address"]  # of a name alone, anybody could lock out the administrator
AXES_RESET_ON_SUCCESS = True
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False  # when to come back was said, and holds
AXES_DISABLE_ACCESS_LOG = True  # a row for every login, kept for ever
AXES_VERBOSE = False
AXES_CLIENT_IP_CALLABLE = "ticks.logins.address_for_axes"
AXES_CLIENT_STR_CALLABLE = "ticks.logins.client_for_axes"
AXES_LOCKOUT_CALLABLE = "ticks.logins.locked_out"

LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_I18N = False
USE_TZ = True

STATIC_URL = "static/"
WHITENOISE_USE_FINDERS = True  # static files come from the apps: nothing to collect first

SPECTACULAR_SETTINGS = {"ENABLE_DJANGO_DEPLOY_CHECK": False}  # the document is held to the gateway by tests

MARKETMUX_LOG_FORMAT = env.choice("MARKETMUX_LOG_FORMAT", FORMATS)
MARKETMUX_LOG_LEVEL = env.choice("MARKETMUX_LOG_LEVEL", LEVELS)
MARKETMUX_LOG_LEVELS = env.words("MARKETMUX_LOG_LEVELS", [], rule=levels)
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"text": {"()": "marketmux.formats.text"}, "json": {"()": "marketmux.formats.json_lines"}},
    "handlers": {"console": {"class": "marketmux.log.BackgroundHandler", "formatter": MARKETMUX_LOG_FORMAT}},
    "root": {"handlers": ["console"], "level": "WARNING"},
    "loggers": {
        **{name: {"level": MARKETMUX_LOG_LEVEL} for name in ("bus", "ticks", "gateway")},
        "gateway.access": {"level": "INFO"},
        # A refused request is the client's mistake: the access log has it, the error log need not.
        "django.request": {"level": "ERROR"},
        "django.security.csrf": {"level": "ERROR"},
        "django.security.DisallowedHost": {"level": "CRITICAL"},
        **{name: {"level": level} for name, level in levels(MARKETMUX_LOG_LEVELS).items()},
    },
}

ENVIRONMENT_PROBLEMS = env.problems
"""What of the environment could not be read, by variable; system checks report it."""
