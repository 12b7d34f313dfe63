"""Django's record of the runtime app."""

from django.apps import AppConfig


class RuntimeConfig(AppConfig):
    name = "runtime"
