"""flowengine: scriptable mail-flow policy, one flow for every SMTP transaction."""

__version__ = "0.1.0"
