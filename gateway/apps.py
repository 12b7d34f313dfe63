"""Django's record of the gateway app."""

from django.apps import AppConfig


class GatewayConfig(AppConfig):
    name = "gateway"
