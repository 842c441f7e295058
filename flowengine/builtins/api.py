"""What `stdlib/api.hsl` needs to know of the configuration's [api]."""

from flowengine.language.functions import builtin
from flowengine.language.values import Array, Secret, from_text
from flowengine.runtime.run import Run


@builtin
def api_settings(run: Run) -> Array:
    """The address, header fields and time-out of [api], for `api_call`. The header fields are secrets.

    Returns ["url" => text or none, "headers" => ["Name: value", …], "timeout" => seconds].

        api_settings()["timeout"];  // 5
    """
    api = run.settings.api
    headers = Array.of(Secret(from_text(f"{name}: {value}")) for name, value in api.headers.items())
    return Array({"url": None if api.url is None else from_text(api.url), "headers": headers, "timeout": api.timeout})
