"""Real peers against us: other people's clients, servers, signers and verifiers, on loopback.

`make interop` runs it. A peer that cannot be had is named with the reason; a peer that disagrees is a failure.
"""
