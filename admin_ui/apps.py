"""Django's record of the admin_ui app."""

from django.apps import AppConfig


class AdminUiConfig(AppConfig):
    name = "admin_ui"
