"""Django's record of the composer app."""

from django.apps import AppConfig


class ComposerConfig(AppConfig):
    name = "composer"
