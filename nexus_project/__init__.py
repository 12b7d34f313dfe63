"""Configuration of the host: settings, Celery, ASGI, URLs."""

from nexus_project.celery import app as celery_app

__all__ = ["celery_app"]
