"""`cache [...] f(args)`: the process-wide store behind it (HSL reference §1.13)."""


class Caches:
    """All the caches of a process: one bucket for each namespace and function."""
