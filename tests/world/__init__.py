"""A world around the engine, on loopback, for what plays against a whole server: interop and benchmarks."""
