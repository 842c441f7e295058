"""Who is told what about a delivery, by which way, and under whose name (RFC 3461 §4.1, §5.2; RFC 5321 §6.1).

Nothing is ever reported to the null sender or about a report: two hosts could otherwise write to each other forever.
"""

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from flowengine.mail import delivery_status, dkim
from flowengine.mail.errors import MailError
from flowengine.mail.message import Message
from flowengine.runtime.actions import Reply
from flowengine.runtime.policy import Route
from flowengine.runtime.services import Services
from flowengine.services.outbox.ways import Ways
from flowengine.services.queue.bodies import digest
from flowengine.services.queue.decisions import Decision, Schedule
from flowengine.services.queue.model import About, Entry, Job, Later, NewEntry, NewMessage
from flowengine.services.relay import ARRIVING, Stage
from flowengine.services.relay.stuffing import Buffer

if TYPE_CHECKING:
    from flowengine.services.config import Config

_PARAMETER = re.compile(r" ([A-Z]+)=([!-<>-~]+)").findall
_NOTIFY = {"failed": "FAILURE", "delayed": "DELAY", "relayed": "SUCCESS", "delivered": "SUCCESS"}
_UNASKED = frozenset({"FAILURE", "DELAY"})
"""What a sender hears about who did not say what it wants (RFC 3461 §4.1)."""
_HEADER = 64 << 10
"""Octets of a header that are returned at most."""
DEFAULT_RETRY = (60, 300, 900, 3600, 14400)


class Reporter:
    """Makes reports, signed by the key of [dsn]."""

    def __init__(self, config: "Config", services: Services, ways: Ways) -> None:
        self._services, self._ways, self._config = services, ways, config
        self._author = config.dsn.from_ if config.dsn is not None else f"mailer-daemon@{config.hostname}"

    def schedule(self, transport: str) -> Schedule:
        """The times of a transport; for one that is no more, the usual ones."""
        one = self._config.transports.get(transport)
        notice = self._config.queue.delay_notice
        if one is None:
            return Schedule(DEFAULT_RETRY, notice)
        return Schedule(one.retry, notice, final=one.sink is not None or one.protocol == "lmtp")

    def reports(self, job: Job, decisions: Sequence[Decision], chunks: Sequence[Buffer], host: str) -> list[NewMessage]:
        """What the sender is told about an attempt: one report for each thing that happened."""
        if all(not one.action for one in decisions):
            return []
        found: list[NewMessage] = []
        for action in ("failed", "delayed", "relayed", "delivered"):
            about = [one for one in decisions if one.action == action and self._wanted(job, one)]
            if about:
                found.append(self._report(job, about, chunks, host))
        return found

    def _wanted(self, job: Job, decision: Decision) -> bool:
        asked = parameters(decision.fate.entry).get("NOTIFY")
        wanted = _UNASKED if asked is None else frozenset(asked.upper().split(","))
        if _NOTIFY[decision.action] not in wanted:
            return False
        if job.sender and not job.about.report:
            self._count(decision.action)
            return True
        if decision.action == "failed":
            self._count("undeliverable" if job.about.report else "suppressed")
            told = "a report of ours cannot be delivered" if job.about.report else "there is no sender to tell"
            reply = str(decision.answer.reply)
            recipient = decision.fate.entry.recipient
            self._services.log.event(
                "notice", "dropped", id=job.transaction, recipient=recipient, text=told, reply=reply
            )
        return False

    def _count(self, action: str) -> None:
        self._services.counters.increment("reports", action=action)

    # -- one report ---------------------------------------------------------------------------------------------------

    def _report(self, job: Job, about: Sequence[Decision], chunks: Sequence[Buffer], host: str) -> NewMessage:
        services, now = self._services, self._services.clock.now()
        asked = _parameters(job.about.dsn)
        whole = asked.get("RET", "").upper() == "FULL" or (
            "RET" not in asked and job.size <= self._config.queue.report_size
        )
        whole = (
            whole
            and about[0].action in ("failed", "delayed")
            and not job.about.tls_required
            and job.size <= self._config.limits.message_size // 2
        )
        returned = b"".join(chunks) if whole else _header(chunks)
        if whole and not returned.isascii() and "RET" not in asked:  # 8 bits may stop it on its way
            whole, returned = False, _header(chunks)
        id_ = f"{int(now * 1000):012x}{services.random.octets(6).hex()}"
        report = delivery_status.Report(
            action=about[0].action or "failed",
            hostname=self._config.hostname,
            author=self._author,
            sender=job.sender,
            recipients=[_status(one, host) for one in about],
            arrived=job.queued,
            now=now,
            message_id=f"{id_}@{self._config.hostname}",
            boundary=f"report-{services.random.octets(12).hex()}",
            returned=returned,
            whole=whole,
            envid=asked.get("ENVID", ""),
        )
        content = self._signed(report.render(), now, job)
        transport = self._transport(job)
        one = self._config.transports.get(transport)
        services.log.event(
            "info",
            "report",
            id=id_,
            about=job.transaction,
            action=about[0].action,
            recipient=job.sender,
            transport=transport,
        )
        return NewMessage(
            transaction=id_,
            sender="",
            transport=transport,
            entries=(NewEntry(1, job.sender, self._ways.domain(transport, job.sender), " NOTIFY=NEVER"),),
            chunks=[content],
            size=len(content),
            digest=digest([content]),
            about=About(
                eight_bit=not content.isascii(),
                utf8_header=report.utf8,
                tls_required=job.about.tls_required,  # RFC 8689 §5
                listener=job.about.listener,
                report=True,
            ),
            queued=now,
            due=now,
            expires=now + (one.expire if one is not None else 432000),
        )

    def _signed(self, content: bytes, now: float, job: Job) -> bytes:
        """With the key of [dsn]. A report that cannot be signed leaves unsigned, and the log says so."""
        dsn = self._config.dsn
        if dsn is None or dsn.key is None:
            return content
        try:
            name = dsn.key.removeprefix("pki:")
            settings, key = self._config.pki[name], self._services.keys.find(name)
            if key is None or settings.selector is None or settings.domain is None:
                raise MailError(f"there is no key {dsn.key} with selector and domain")
            seal = dkim.Seal(selector=settings.selector, domain=settings.domain, key=key)
            return dkim.sealed(Message(content), seal, now).render()
        except (MailError, KeyError) as error:
            self._services.log.event("error", "report not signed", about=job.transaction, error=str(error))
            return content

    def _transport(self, job: Job) -> str:
        """The way back to the sender."""
        config = self._config
        if config.dsn is not None and config.dsn.transport is not None:
            return config.dsn.transport
        return self.way(job.sender.rpartition("@")[2].lower()) or job.place.transport

    def way(self, domain: str) -> str | None:
        """The transport for mail of ours to a domain (lower case): that of the listener or route which takes mail for
        it, else the first with `mx`, else the only one there is."""
        config = self._config
        for listener in config.listeners.values():
            for route in listener.routes:
                if route.transport is not None and Route(route.domains).holds(domain):
                    return route.transport
            if listener.transport is not None and Route(listener.recipient_domains).holds(domain):
                return listener.transport
        only = next(iter(config.transports)) if len(config.transports) == 1 else None
        return next((name for name, one in config.transports.items() if one.mx), only)


def parameters(entry: Entry) -> Mapping[str, str]:
    """NOTIFY and ORCPT of an entry."""
    return _parameters(entry.dsn)


def _parameters(text: str) -> Mapping[str, str]:
    return dict(_PARAMETER(text))


def _header(chunks: Sequence[Buffer]) -> bytes:
    """The header of a message, with the empty line behind it."""
    found = b""
    for chunk in chunks:
        found += bytes(chunk[: _HEADER + 4 - len(found)])
        if b"\r\n\r\n" in found or len(found) > _HEADER:
            break
    head, end, _ = found[:_HEADER].partition(b"\r\n\r\n")
    return head + b"\r\n\r\n" if end else head[: head.rfind(b"\r\n") + 2] + b"\r\n"


def public_name(host: str) -> str:
    """What is told of a next hop, `NAME[ADDRESS]:PORT`: the name of a mail exchanger.

    Where the configuration sends mail is told to nobody.
    """
    name, bracket, _ = host.partition("[")
    return name if bracket else ""


def _status(decision: Decision, host: str) -> delivery_status.RecipientStatus:
    fate, reply = decision.fate, decision.answer.reply
    kind = {"failed": "5", "delayed": "4"}.get(decision.action, "2")
    status = reply.enhanced if reply.enhanced[:1] == kind else f"{kind}.0.0"
    if decision.action == "failed" and reply.code < 500:
        status = "5.4.7"  # RFC 3463 §3.5: delivery time expired
    answer = decision.answer
    between_us = answer.stage in ARRIVING or (not answer.heard and answer.stage not in (Stage.ROUTE, Stage.ENVELOPE))
    if between_us and not host:  # the reply names a host of ours
        reply = Reply(reply.code, reply.enhanced, "The next hop could not take it")
    return delivery_status.RecipientStatus(
        address=fate.entry.recipient,
        status=status,
        reply=str(reply),
        heard=answer.heard and not between_us,
        host=host if answer.heard else "",
        original=parameters(fate.entry).get("ORCPT", ""),
        until=fate.entry.expires if isinstance(fate, Later) else None,
    )
