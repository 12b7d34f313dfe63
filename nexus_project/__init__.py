"""Configuration of the host: settings, Celery, ASGI, URLs."""
