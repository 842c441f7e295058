"""`flowengine.toml`: what an operator may say, read into values with all its problems at once."""

from flowengine.services.config.limits import Limits
from flowengine.services.config.listeners import (
    SASL,
    Flows,
    Listener,
    ListenerTLS,
    Phase,
    RouteRow,
    Timeouts,
    Transport,
    TransportTLS,
)
from flowengine.services.config.loading import DEFAULT_NAME, EMBEDDED_NAME, default, load, parse
from flowengine.services.config.model import (
    API,
    DMARC,
    DNS,
    DSN,
    PKI,
    Compatibility,
    Config,
    LogRules,
    MetricsRules,
    NetworkRules,
    QuarantineStore,
    Scripts,
)
from flowengine.services.config.pages import reference, sample, schema
from flowengine.services.config.problems import ConfigError
from flowengine.services.config.settings import settings
from flowengine.services.config.values import Address, NameServer, Network, NextHop, Storage

__all__ = [
    "API",
    "DEFAULT_NAME",
    "DMARC",
    "DNS",
    "DSN",
    "EMBEDDED_NAME",
    "PKI",
    "SASL",
    "Address",
    "Compatibility",
    "Config",
    "ConfigError",
    "Flows",
    "Limits",
    "Listener",
    "ListenerTLS",
    "LogRules",
    "MetricsRules",
    "NameServer",
    "Network",
    "NetworkRules",
    "NextHop",
    "Phase",
    "QuarantineStore",
    "RouteRow",
    "Scripts",
    "Storage",
    "Timeouts",
    "Transport",
    "TransportTLS",
    "default",
    "load",
    "parse",
    "reference",
    "sample",
    "schema",
    "settings",
]
