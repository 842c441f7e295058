"""[limits]: everything that one client, one message or one run of a flow may take. Each has a name and a default."""

from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

_GB = 1 << 30


@dataclass(frozen=True, slots=True)
class Limits:
    """[limits]. Sizes are octets, times are seconds."""

    # -- connections and sessions
    connections: Annotated[int, Meta(description="Connections to one worker.", ge=1, le=1_000_000)] = 1000
    connections_per_client: Annotated[
        int, Meta(description="Connections of one client to one worker (see client_prefix_v4).", ge=1, le=1_000_000)
    ] = 500
    client_commands: Annotated[
        int, Meta(description="Commands of one client to one worker within a minute, then 421.", ge=10, le=10**9)
    ] = 5_000_000
    client_prefix_v4: Annotated[
        int, Meta(description="Bits of an IPv4 network whose addresses count as one client.", ge=8, le=32)
    ] = 32
    client_prefix_v6: Annotated[
        int, Meta(description="Bits of an IPv6 network whose addresses count as one client.", ge=16, le=128)
    ] = 64
    session_commands: Annotated[int, Meta(description="Commands in one session, then 421.", ge=10, le=10_000_000)] = (
        1_000_000
    )
    session_errors: Annotated[
        int, Meta(description="Commands answered with an error in one session, then 421.", ge=1, le=100_000)
    ] = 20
    session_messages: Annotated[int, Meta(description="Messages in one session, then 421.", ge=1, le=10_000_000)] = (
        100_000
    )
    session_auth_failures: Annotated[
        int, Meta(description="Failed AUTH commands in one session, then 421.", ge=1, le=1000)
    ] = 3
    command_line: Annotated[
        int, Meta(description="Octets of a command line (RFC 5321 §4.5.3.1.4 with ESMTP growth).", ge=512, le=1 << 20)
    ] = 4096
    auth_line: Annotated[int, Meta(description="Octets of a line within AUTH (RFC 4954 §4).", ge=512, le=1 << 20)] = (
        12288
    )
    command_time: Annotated[
        float, Meta(description="Wait for the next command (RFC 5321 §4.5.3.2.7).", ge=1, le=86400)
    ] = 300.0
    data_time: Annotated[float, Meta(description="Wait for the next octets of a message.", ge=1, le=86400)] = 180.0
    message_time: Annotated[
        float, Meta(description="For one whole message to come in, however slowly it drips.", ge=1, le=86400)
    ] = 1800.0
    idle_commands: Annotated[
        int,
        Meta(description="Commands in a row that bring no message nearer (NOOP, RSET), then 421.", ge=10, le=100_000),
    ] = 100
    handshake_time: Annotated[float, Meta(description="For a client's TLS handshake.", ge=1, le=3600)] = 30.0
    transaction_time: Annotated[
        float, Meta(description="From the dot to the reply; what is not done by then is deferred.", ge=1, le=3600)
    ] = 240.0
    greeting_delay: Annotated[
        float, Meta(description="Wait before the greeting; who talks first is refused. 0: none.", ge=0, le=60)
    ] = 0.0
    proxy_time: Annotated[
        float, Meta(description="For the header of a connection through a PROXY protocol balancer.", ge=0.1, le=60)
    ] = 10.0
    tarpit: Annotated[
        float, Meta(description="Wait before a reply that is an error, for each error. 0: none.", ge=0, le=60)
    ] = 0.0
    drain_time: Annotated[
        float, Meta(description="Time that running transactions get at the end or at a reload.", ge=0, le=3600)
    ] = 260.0

    # -- messages
    message_size: Annotated[int, Meta(description="One message, offered as SIZE.", ge=1024, le=8 * _GB)] = 50 << 20
    line_length: Annotated[
        int,
        Meta(
            description="One line of a message with its CRLF. RFC 5321 §4.5.3.1.6 allows 1000; real mail has longer "
            "ones and signatures cover them, so the default only keeps the absurd away.",
            ge=1000,
            le=_GB,
        ),
    ] = 1 << 20
    header_size: Annotated[int, Meta(description="The header of a message.", ge=1024, le=1 << 26)] = 1 << 20
    header_count: Annotated[int, Meta(description="Header fields of a message.", ge=10, le=1_000_000)] = 10_000
    recipients: Annotated[
        int, Meta(description="Recipients of one message (RFC 5321 §4.5.3.1.8: at least 100).", ge=1, le=100_000)
    ] = 1000
    destinations: Annotated[
        int,
        Meta(
            description="Next hops of one message at a time; those beyond are asked in their turn.",
            ge=1,
            le=10_000,
        ),
    ] = 20
    hops: Annotated[
        int, Meta(description="Received fields, then the message loops (RFC 5321 §6.3).", ge=1, le=1000)
    ] = 100
    signatures: Annotated[int, Meta(description="DKIM signatures of a message that are verified.", ge=1, le=100)] = 5
    in_flight_bytes: Annotated[
        int, Meta(description="Messages in memory of one worker; then clients wait.", ge=1 << 20, le=1 << 40)
    ] = 256 << 20
    spool_above: Annotated[int, Meta(description="A larger message is read into a file.", ge=65536, le=8 * _GB)] = (
        8 << 20
    )

    # -- runs of flows
    script_steps: Annotated[int, Meta(description="Steps of one run.", ge=1000, le=10**12)] = 5_000_000
    script_depth: Annotated[int, Meta(description="Calls within calls.", ge=10, le=500)] = 200
    script_time: Annotated[float, Meta(description="One run, waiting included.", ge=0.1, le=3600)] = 60.0
    script_value_size: Annotated[int, Meta(description="One string or array.", ge=65536, le=8 * _GB)] = 64 << 20
    script_facts: Annotated[
        int, Meta(description="Recorded answers of the outside world, each run.", ge=0, le=1_000_000)
    ] = 1000
    script_output: Annotated[int, Meta(description="Output of `echo`, each run.", ge=0, le=_GB)] = 1 << 20
    script_memory: Annotated[int, Meta(description="What `memory_*` keeps in one worker.", ge=0, le=64 * _GB)] = (
        64 << 20
    )
    reply_lines: Annotated[int, Meta(description="Lines of one reply.", ge=1, le=1000)] = 50
    reply_line_length: Annotated[
        int, Meta(description="One line of a reply (RFC 5321 §4.5.3.1.5: 512).", ge=64, le=4096)
    ] = 500

    # -- the outside world
    dns_time: Annotated[
        float,
        Meta(description="Waiting for DNS, each message; what is asked later is `temperror`.", ge=0.1, le=3600),
    ] = 30.0
    dns_in_flight: Annotated[int, Meta(description="Questions to DNS at a time in one worker.", ge=1, le=100_000)] = 500
    http_in_flight: Annotated[int, Meta(description="HTTP calls at a time in one worker.", ge=1, le=100_000)] = 100
    http_body: Annotated[int, Meta(description="Answer of one HTTP call.", ge=1024, le=_GB)] = 16 << 20
    rate_entries: Annotated[
        int, Meta(description="Times that `rate` remembers in one worker; a window counts as 15.", ge=1000, le=10**9)
    ] = 2_000_000
    password_checks: Annotated[
        int, Meta(description="Password checks at a time in one worker (16 MiB each).", ge=1, le=256)
    ] = 4
