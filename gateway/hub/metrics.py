"""What the hub counts of itself; /metrics shows it."""

from prometheus_client import Counter, Gauge

CONNECTIONS = Gauge("nexus_hub_connections", "Bridge connections of this process")
REFUSED = Counter("nexus_hub_refused_total", "Connection attempts that were refused", ["status"])
CHUNKS = Counter("nexus_hub_chunks_total", "Chunks stored")
BATCHES = Counter("nexus_hub_batches_total", "Transactions that stored frames")
FRAMES = Counter("nexus_hub_frames_total", "Frames sent to bridges", ["type"])
