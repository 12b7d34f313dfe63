"""All settings of the host, read once from the environment; docs/settings.md describes each."""

import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

from nexus_project import env

BASE_DIR = Path(__file__).resolve().parent.parent
_env = env.read()

# Secrets and doors

SECRET_KEY = _env.secret("NEXUS_SECRET_KEY")
NEXUS_FIELD_KEY = _env.secret("NEXUS_FIELD_KEY")
NEXUS_ADMIN_TOKEN = _env.secret("NEXUS_ADMIN_TOKEN")
NEXUS_WEBHOOK_TOKEN = _env.secret("NEXUS_WEBHOOK_TOKEN", default="")
NEXUS_MEM0_KEY = _env.secret("NEXUS_MEM0_KEY")
NEXUS_METRICS_TOKEN = _env.secret("NEXUS_METRICS_TOKEN", default="")
NEXUS_BACKUP_KEY = _env.secret("NEXUS_BACKUP_KEY", default="")
DEBUG = _env.flag("NEXUS_DEBUG", default=False)
ALLOWED_HOSTS = _env.words(
    "NEXUS_ALLOWED_HOSTS",
    default=("127.0.0.1", "localhost", "[::1]"),
    pattern=r"\*|\.?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*|\[[0-9A-Fa-f:.]+\]",
    what="host names without scheme and port",
)
NEXUS_TRUSTED_PROXIES = _env.networks("NEXUS_TRUSTED_PROXIES")
NEXUS_PUBLIC_URL = _env.origin("NEXUS_PUBLIC_URL", default="http://127.0.0.1:4000")
NEXUS_PRIVATE_NETWORK = _env.flag("NEXUS_PRIVATE_NETWORK", default=False)
NEXUS_STATE_DIR = Path(_env.text("NEXUS_STATE_DIR", default=str(BASE_DIR / ".nexus")))
NEXUS_ASGI_SERVER = _env.choice("NEXUS_ASGI_SERVER", options=("daphne", "uvicorn"), default="daphne")

# Neighbours

_database_url = _env.database("NEXUS_DATABASE_URL")
NEXUS_REDIS_URL = _env.redis("NEXUS_REDIS_URL")
NEXUS_ROCKETCHAT_URL = _env.url("NEXUS_ROCKETCHAT_URL", schemes=("https", "http"), default="http://127.0.0.1:3000")
NEXUS_CHAT_URL = _env.url("NEXUS_CHAT_URL", schemes=("https", "http"), default="")
NEXUS_ROCKETCHAT_CA = _env.file("NEXUS_ROCKETCHAT_CA")
NEXUS_ROCKETCHAT_ADMIN = _env.text("NEXUS_ROCKETCHAT_ADMIN", default="admin")
NEXUS_ROCKETCHAT_ADMIN_PASSWORD = _env.text("NEXUS_ROCKETCHAT_ADMIN_PASSWORD", default="")
NEXUS_ROOMS = _env.words("NEXUS_ROOMS", default=("general",))
NEXUS_WEBHOOK_URL = _env.url("NEXUS_WEBHOOK_URL", schemes=("https", "http"), default=f"{NEXUS_PUBLIC_URL}/rc/webhook")
NEXUS_MEM0_URL = _env.url("NEXUS_MEM0_URL", schemes=("http", "https"), default="http://127.0.0.1:4100")
NEXUS_MEM0_LLM_URL = _env.url("NEXUS_MEM0_LLM_URL", schemes=("https", "http"), default="")
NEXUS_MEM0_LLM_MODEL = _env.text("NEXUS_MEM0_LLM_MODEL", default="")
NEXUS_MEM0_LLM_KEY = _env.text("NEXUS_MEM0_LLM_KEY", default="")
NEXUS_EMBEDDER_URL = _env.url("NEXUS_EMBEDDER_URL", schemes=("https", "http"), default="")
NEXUS_EMBEDDER_MODEL = _env.text("NEXUS_EMBEDDER_MODEL", default="")
NEXUS_EMBEDDER_KEY = _env.text("NEXUS_EMBEDDER_KEY", default="")
NEXUS_SUMMARIZER_AGENT = _env.text("NEXUS_SUMMARIZER_AGENT", default="")
NEXUS_SUMMARIZER_URL = _env.url("NEXUS_SUMMARIZER_URL", schemes=("https", "http"), default="")
NEXUS_SUMMARIZER_MODEL = _env.text("NEXUS_SUMMARIZER_MODEL", default="")
NEXUS_SUMMARIZER_KEY = _env.text("NEXUS_SUMMARIZER_KEY", default="")

# Behaviour

NEXUS_PROMPT_BUDGET = _env.whole("NEXUS_PROMPT_BUDGET", default=4_000, at_least=500, at_most=500_000)
NEXUS_WORKING_MEMORY = _env.whole("NEXUS_WORKING_MEMORY", default=200, at_least=5, at_most=5_000)
NEXUS_RECALL_TIMEOUT_S = _env.number("NEXUS_RECALL_TIMEOUT_S", default=0.3, at_least=0.01, at_most=30)
NEXUS_SEARCHED_MESSAGES = _env.whole("NEXUS_SEARCHED_MESSAGES", default=200_000, at_least=1_000, at_most=2_000_000)
NEXUS_WAIT_S = _env.number("NEXUS_WAIT_S", default=8 * 3600, at_least=1, at_most=14 * 86_400)
NEXUS_RUN_WALL_S = _env.number("NEXUS_RUN_WALL_S", default=3600, at_least=5, at_most=86_400)
NEXUS_RUN_IDLE_S = _env.number("NEXUS_RUN_IDLE_S", default=600, at_least=5, at_most=86_400)
NEXUS_COMPOSE_LEASE_S = _env.number("NEXUS_COMPOSE_LEASE_S", default=30, at_least=2, at_most=600)
NEXUS_BRIDGE_LEASE_S = _env.number("NEXUS_BRIDGE_LEASE_S", default=20, at_least=5, at_most=300)
NEXUS_MAX_HOPS = _env.whole("NEXUS_MAX_HOPS", default=3, at_least=0, at_most=20)
NEXUS_SWEEP_S = _env.number("NEXUS_SWEEP_S", default=5, at_least=0.2, at_most=60)
NEXUS_MENTION_MAX_AGE_S = _env.number("NEXUS_MENTION_MAX_AGE_S", default=900, at_least=10, at_most=7 * 86_400)
NEXUS_MCP_COMMANDS = _env.words("NEXUS_MCP_COMMANDS", default=(), pattern=r"/.+", what="absolute paths of programs")
NEXUS_MCP_SECRETS = _env.matching("NEXUS_MCP_SECRETS", pattern=r"/.+", what="an absolute path")
NEXUS_HOST_HUB = _env.url("NEXUS_HOST_HUB", schemes=("https", "http"), default=NEXUS_PUBLIC_URL)
NEXUS_HOST_USER = _env.matching("NEXUS_HOST_USER", pattern=r"[a-z_][a-z0-9_-]{0,31}", what="a user's name")
NEXUS_HOST_DIR = _env.text("NEXUS_HOST_DIR", default="/var/lib/nexus-host")
NEXUS_HOST_CLIS = _env.flag("NEXUS_HOST_CLIS", default=False)
NEXUS_KEEP_CHUNKS_DAYS = _env.number("NEXUS_KEEP_CHUNKS_DAYS", default=30, at_least=1, at_most=3650)
NEXUS_CHAIN_MAX_USD = _env.number("NEXUS_CHAIN_MAX_USD", default=5.0, at_least=0.01, at_most=10_000)
NEXUS_KEEP_FILES_DAYS = _env.number("NEXUS_KEEP_FILES_DAYS", default=30, at_least=1, at_most=3650)
NEXUS_FILE_MAX_MIB = _env.whole("NEXUS_FILE_MAX_MIB", default=25, at_least=1, at_most=50)
NEXUS_FILE_TYPES = _env.words(
    "NEXUS_FILE_TYPES",
    default=(
        *(
            "text/*",
            "image/*",
            "audio/*",
            "application/pdf",
            "application/json",
            "application/xml",
            "application/*yaml",
        ),
        *("application/toml", "application/javascript", "application/x-sh", "application/sql", "application/csv"),
        *("application/zip", "application/gzip", "application/x-tar", "application/octet-stream"),
    ),
    pattern=r"[a-z*]+/[A-Za-z0-9.+*_-]+",
    what="content types like text/*",
)
NEXUS_KEEP_NOTICES_DAYS = _env.number("NEXUS_KEEP_NOTICES_DAYS", default=30, at_least=1, at_most=3650)
NEXUS_KEEP_SET_ASIDE_DAYS = _env.number("NEXUS_KEEP_SET_ASIDE_DAYS", default=90, at_least=1, at_most=3650)
NEXUS_KEEP_REACTIONS_DAYS = _env.number("NEXUS_KEEP_REACTIONS_DAYS", default=90, at_least=1, at_most=3650)
NEXUS_KEEP_JOIN_CODES_DAYS = _env.number("NEXUS_KEEP_JOIN_CODES_DAYS", default=30, at_least=1, at_most=3650)
NEXUS_KEEP_MESSAGES_DAYS = _env.number("NEXUS_KEEP_MESSAGES_DAYS", default=0, at_least=0, at_most=36_500)
NEXUS_KEEP_PROMPTS_DAYS = _env.number("NEXUS_KEEP_PROMPTS_DAYS", default=90, at_least=1, at_most=3650)
NEXUS_LOG_FORMAT = _env.choice("NEXUS_LOG_FORMAT", options=("text", "json"), default="text")
NEXUS_WATCH_PORT = _env.whole("NEXUS_WATCH_PORT", default=0, at_least=0, at_most=65_535)
NEXUS_WATCH_HOST = _env.text("NEXUS_WATCH_HOST", default="127.0.0.1")
NEXUS_TRACES_URL = _env.url("NEXUS_TRACES_URL", schemes=("http", "https"), default="")
NEXUS_TRACES_RATIO = _env.number("NEXUS_TRACES_RATIO", default=1.0, at_least=0, at_most=1)
NEXUS_LOG_LEVEL = _env.choice("NEXUS_LOG_LEVEL", options=("DEBUG", "INFO", "WARNING", "ERROR"), default="INFO")

for _model in ("EMBEDDER", "SUMMARIZER", "MEM0_LLM"):
    _env.together(f"NEXUS_{_model}_URL", needs=f"NEXUS_{_model}_MODEL")
_env.finish()

# Django

INSTALLED_APPS = [
    "admin_ui",
    # Plain ones: the site and its tables are imported by the gateway's URLs, not by every process.
    "unfold.apps.BasicAppConfig",
    "django.contrib.admin.apps.SimpleAdminConfig",
    "drf_spectacular_sidecar",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.postgres",
    "channels",
    "gateway",
    "composer",
    "runtime",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "admin_ui.headers.security_headers",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

# Each process has a few threads that mostly wait. The default of 5 ms is how long one of them may have to wait for
# another that computes, and a turn crosses such threads a dozen times.
sys.setswitchinterval(0.0005)

ROOT_URLCONF = "nexus_project.urls"
ASGI_APPLICATION = "nexus_project.asgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [],
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

_database = urlsplit(_database_url)
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": unquote(_database.path.lstrip("/")) or "nexus",
        "USER": unquote(_database.username or ""),
        "PASSWORD": unquote(_database.password or ""),
        "HOST": _database.hostname or "",
        "PORT": str(_database.port or 5432),
        "CONN_MAX_AGE": None,
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {
            "connect_timeout": 5,
            "options": (
                "-c statement_timeout=15000 -c lock_timeout=3000"
                " -c idle_in_transaction_session_timeout=30000 -c TimeZone=UTC"
                # What is prepared (gateway/sql.py) is planned once and not again with each turn's values; the ORM prepares nothing.
                " -c plan_cache_mode=force_generic_plan"
            ),
        },
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": f"{NEXUS_REDIS_URL}/2",
        "OPTIONS": {"socket_timeout": 1.0, "socket_connect_timeout": 1.0},
    }
}

# Nudges only: what a channel layer loses is found again in Postgres.
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": [{"address": f"{NEXUS_REDIS_URL}/0"}], "prefix": "nexus"},
    }
}

# Celery: ids only, at least once, nothing kept. The rows own retries, so no task retries by itself.
CELERY_BROKER_URL = f"{NEXUS_REDIS_URL}/1"
CELERY_BROKER_TRANSPORT = "nexus_project.broker:Transport"
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_TASK_TIME_LIMIT = 60
CELERY_TASK_SOFT_TIME_LIMIT = 45
CELERY_BROKER_TRANSPORT_OPTIONS = {
    # What a killed worker held is found in the rows, sooner than Redis would give it out again: docs/decisions/0260-*.md.
    "ack_emulation": False,
    # For who switches that on: above the hard limit, so that no message is given out again while its first run goes on.
    "visibility_timeout": 300,
    "global_keyprefix": "nexus:",
    "socket_connect_timeout": 1.0,
    "socket_timeout": 10.0,
    "health_check_interval": 10,
}
CELERY_VISIBILITY_TIMEOUT = 300
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
CELERY_TASK_DEFAULT_QUEUE = "compose"
CELERY_TASK_ROUTES = {
    "composer.compose": {"queue": "compose"},
    "composer.remember": {"queue": "memory"},
    "runtime.run": {"queue": "run"},
}
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = True
CELERY_WORKER_SEND_TASK_EVENTS = False
CELERY_WORKER_ENABLE_REMOTE_CONTROL = False

AUTHENTICATION_BACKENDS = ["django.contrib.auth.backends.ModelBackend", "gateway.staff.TokenBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_I18N = False
USE_TZ = True

STATIC_URL = "/static/"
STATIC_ROOT = NEXUS_STATE_DIR / "static"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}

_secure = NEXUS_PUBLIC_URL.startswith("https://")
SESSION_COOKIE_SECURE = _secure
CSRF_COOKIE_SECURE = _secure
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_AGE = 12 * 3600
CSRF_COOKIE_SAMESITE = "Lax"
CSRF_TRUSTED_ORIGINS = [NEXUS_PUBLIC_URL]
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
DATA_UPLOAD_MAX_MEMORY_SIZE = 1024 * 1024

# The admin's looks, and its REST API. Both read these at use.
UNFOLD = {
    "SITE_TITLE": "Nexus",
    "SITE_HEADER": "Nexus",
    "SITE_SUBHEADER": "agents in your rooms",
    "SITE_SYMBOL": "hub",
    "SITE_URL": "",
    "SHOW_HISTORY": False,
    "SHOW_VIEW_ON_SITE": False,
    "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": "admin_ui.navigation.icon"}],
    "BORDER_RADIUS": "6px",
    # Each shade has the contrast that the site's texts in it need, on light and on dark ground.
    "COLORS": {
        "primary": {
            "50": "oklch(97% .014 254.604)",
            "100": "oklch(93.2% .032 255.585)",
            "200": "oklch(88.2% .059 254.128)",
            "300": "oklch(80.9% .105 251.813)",
            "400": "oklch(70.7% .165 254.624)",
            "500": "oklch(67% .18 257.8)",
            "600": "oklch(54.6% .245 262.881)",
            "700": "oklch(48.8% .243 264.376)",
            "800": "oklch(42.4% .199 265.638)",
            "900": "oklch(37.9% .146 265.522)",
            "950": "oklch(28.2% .091 267.935)",
        }
    },
    "STYLES": ["admin_ui.navigation.style"],
    "SCRIPTS": ["admin_ui.navigation.script"],
    "SIDEBAR": {"show_search": True, "navigation": "admin_ui.navigation.groups"},
}
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["gateway.api.doors.TokenDoor", "gateway.api.doors.SessionDoor"],
    "DEFAULT_PERMISSION_CLASSES": ["gateway.api.doors.StaffLooksOperatorsChange"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["gateway.api.reading.StrictJSONParser"],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "gateway.api.reading.AlwaysJSON",
    "DEFAULT_PAGINATION_CLASS": "gateway.api.lists.Pages",
    "DEFAULT_FILTER_BACKENDS": ["gateway.api.lists.Filters"],
    "DEFAULT_SCHEMA_CLASS": "gateway.api.schema.Operation",
    "EXCEPTION_HANDLER": "gateway.api.errors.answer",
    "UNAUTHENTICATED_USER": "django.contrib.auth.models.AnonymousUser",
    "COERCE_DECIMAL_TO_STRING": True,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Nexus Admin API",
    "VERSION": "1",
    "DESCRIPTION": "Everything the admin site does. Errors always look like the schema `Error`.",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["gateway.api.doors.StaffLooksOperatorsChange"],
    "COMPONENT_SPLIT_REQUEST": True,
    "ENUM_GENERATE_CHOICE_DESCRIPTION": False,
    "SCHEMA_PATH_PREFIX": "/api/v1",
}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "text": {"()": "nexus_project.logs.LineFormatter"},
        "json": {"()": "nexus_project.logs.JsonFormatter"},
    },
    "filters": {"about": {"()": "gateway.watch.about.AboutFilter"}},
    "handlers": {
        "stderr": {"class": "logging.StreamHandler", "formatter": NEXUS_LOG_FORMAT, "filters": ["about"]},
    },
    "root": {"handlers": ["stderr"], "level": NEXUS_LOG_LEVEL},
    "loggers": {
        "daphne": {"level": "WARNING"},
        "celery": {"level": "WARNING"},
        "httpx": {"level": "WARNING"},
        # Its tracebacks show what an MCP server wrote, secrets of its environment among it; our own lines say what failed.
        "mcp": {"level": "CRITICAL"},
        "django.request": {"level": "ERROR"},
    },
}
