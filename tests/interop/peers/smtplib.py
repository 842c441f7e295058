"""wip"""

from tests.interop.checks import Peer

PEER = Peer("smtplib")
