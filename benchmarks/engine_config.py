"""The configuration under which the engine is measured: ordinary flows, ordinary limits."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Scenario = Literal["sign", "verify", "queue"]
"""queue: as sign, but the 250 comes when the message is on disk, and the next hop gets it afterwards."""

_CONFIG = """\
hostname = "{authserv_id}"
storage = "sqlite:{folder}/state.db"
[dns]
servers = ["{dns}"]
[log]
level = "warning"
[pki.bench]
file = "{folder}/key.pem"
[listeners.bench]
address = "{listen}"
{guard}
flows = {{ data = "{folder}/flow.hsl" }}
transport = "next"
delivery = "{delivery}"
[transports.next]
host = "{next_hop}"
"""
_SIGN = """\
import {{ sign_or_defer }} from "stdlib/dkim-delivery";

sign_or_defer("{selector}", "{domain}", "pki:bench");
Deliver();
"""
_VERIFY = """\
import { verify_sender } from "stdlib/verify-sender";

verify_sender();
Deliver();
"""


@dataclass(frozen=True, slots=True)
class Setting:
    """What is measured where. Addresses are host:port; key is the file of the signing key."""

    scenario: Scenario
    listen: str
    next_hop: str
    dns: str
    key: Path
    domain: str
    selector: str
    authserv_id: str = "mx.example.net"
    recipient_domain: str = "dest.example.net"


def write(setting: Setting, folder: Path) -> Path:
    """Configuration, flow and a copy of the key that only we can read, in a folder; the configuration's path."""
    key = folder / "key.pem"
    os.close(os.open(key, os.O_CREAT | os.O_EXCL, 0o600))
    shutil.copyfile(setting.key, key)
    if setting.scenario != "verify":
        flow = _SIGN.format(selector=setting.selector, domain=setting.domain)
        guard = 'relay_from = ["127.0.0.0/8"]'
    else:
        flow, guard = _VERIFY, f'recipient_domains = ["{setting.recipient_domain}"]'
    (folder / "flow.hsl").write_text(flow)
    config = folder / "flowengine.toml"
    config.write_text(
        _CONFIG.format(
            authserv_id=setting.authserv_id,
            folder=folder,
            dns=setting.dns,
            listen=setting.listen,
            guard=guard,
            next_hop=setting.next_hop,
            delivery="queue" if setting.scenario == "queue" else "inline",
        )
    )
    return config
