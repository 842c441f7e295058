"""Mail by its RFCs: bytes in, values out. Knows nothing of flows, sockets or configuration."""
