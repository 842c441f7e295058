"""The real world: configuration, DNS, HTTP, keys, users, delivery, clock, log.

Each is handed in, none is imported by a run.
"""
