"""The peers, in the order in which they play: libraries and tools first, then clients, then whole servers."""

from tests.interop.checks import Peer
from tests.interop.peers import curl, dkimpy, msmtp, nodemailer, opendkim, openssl, postfix, postgresql, smtplib, swaks

PEERS: tuple[Peer, ...] = (
    openssl.PEER,
    dkimpy.PEER,
    opendkim.PEER,
    smtplib.PEER,
    swaks.PEER,
    curl.PEER,
    msmtp.PEER,
    nodemailer.PEER,
    postfix.PEER,
    postgresql.PEER,
)
