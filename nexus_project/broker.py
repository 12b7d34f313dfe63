"""Celery's Redis transport, with one Redis client for each channel: kombu makes one for each command, which costs as much again."""

from typing import Any

from kombu.transport import redis


class Channel(redis.Channel):
    """Its commands share a client as long as they share a pool of connections."""

    _client: Any = None

    def _create_client(self, asynchronous: bool = False) -> Any:
        if asynchronous:
            return super()._create_client(asynchronous=True)  # type: ignore[misc]  # its types know only what is public
        if self._client is None or self._client.connection_pool is not self.pool:
            self._client = super()._create_client()  # type: ignore[misc]
        return self._client


class Transport(redis.Transport):
    """For `broker_transport`, and for whoever opens a kombu connection of his own."""

    Channel = Channel
