"""What the parts of a session want sent and done, in order, until the shell takes it."""

from nexus_bridge.orders import Order, Tell
from nexus_bridge.protocol import Frame


class Post:
    """Frames that belong to no run's output, and orders. Bounded by what the hub sends: each frame adds a few."""

    def __init__(self) -> None:
        self._frames: list[Frame] = []
        self._orders: list[Order] = []

    def send(self, frame: Frame) -> None:
        self._frames.append(frame)

    def order(self, order: Order) -> None:
        self._orders.append(order)

    def tell(self, text: str) -> None:
        self._orders.append(Tell(text=text))

    def take_frames(self) -> list[Frame]:
        out, self._frames = self._frames, []
        return out

    def take_orders(self) -> list[Order]:
        out, self._orders = self._orders, []
        return out

    def unsend(self) -> None:
        """The connection these frames were for is gone."""
        self._frames.clear()
