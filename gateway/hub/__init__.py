"""The gateway's end of bridge connections: handshake, frame loop, group commit, sending."""

from gateway.hub.consumer import BridgeConsumer

__all__ = ["BridgeConsumer"]
