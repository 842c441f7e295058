"""The engine: one configuration's services, policies and outbox, ready for a door."""

from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING

from flowengine.language.caching import Caches
from flowengine.runtime.policy import Policy
from flowengine.runtime.runner import Runner
from flowengine.runtime.services import Level, Services
from flowengine.servers.compiling import Compiler
from flowengine.services.clock import SystemClock, SystemRandomness
from flowengine.services.config import settings
from flowengine.services.log import Silence, StructuredLog
from flowengine.services.metrics import Metrics
from flowengine.services.rates import MemoryRates

if TYPE_CHECKING:
    from flowengine.services.config import Config


def services_for(config: "Config", *, quiet: bool = False) -> Services:
    """The real outside world of a configuration. quiet: nothing is logged, for commands that print a result."""
    log = Silence() if quiet else StructuredLog(config.log.format, config.log.level)
    metrics = Metrics()
    ...
