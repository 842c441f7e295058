"""The configuration as the runtime knows it: a `Settings`, without anything that only servers need."""

from dataclasses import fields

from flowengine.runtime.services import APISettings, RunLimits, Settings
from flowengine.services.config.model import Config


def settings(config: Config) -> Settings:
    """What the runtime and the builtins may know of the configuration."""
    return Settings(
        hostname=config.hostname,
        dmarc_standard=config.dmarc.standard,
        dns_timeout=config.dns.timeout,
        api=APISettings(config.api.url, config.api.headers, config.api.timeout, config.api.secret_fields),
        limits=RunLimits(**{one.name: getattr(config.limits, one.name) for one in fields(RunLimits)}),
        network_allow=config.network.allow,
        transports=config.transports,
        quarantines=frozenset(config.quarantine),
        shared_edits=config.compatibility.shared_edits,
        mixed_verdicts=config.compatibility.mixed_verdicts,
        script_root=config.scripts.root or config.directory,
    )
