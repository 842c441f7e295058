"""The MTA-STS policies of domains we send to, found and kept as RFC 8461 §3.3 and §5.1 say.

A policy that is known holds until its max_age, whatever DNS or its server say meanwhile: nobody can take it away by
silence. None that can be had is none: mail goes on as without.
"""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass

from flowengine.mail.dns import DNSUnavailable, Resolver
from flowengine.mail.errors import MailError
from flowengine.mail.mta_sts import LONGEST, Policy, parse_policy, record_id
from flowengine.runtime.services import HTTPClient, HTTPRequest, HTTPUnavailable, Log

CHECKED = 300.0
"""Seconds for which nobody asks again whether there is another policy."""
TIMEOUT = 10.0
ENTRIES = 10_000
"""Domains that are remembered."""


@dataclass(frozen=True, slots=True)
class _Known:
    policy: Policy | None
    id: str
    until: float
    checked: float


class Policies:
    """Finds policies. now: Unix time in seconds."""

    def __init__(self, resolver: Resolver, http: HTTPClient, log: Log) -> None:
        self._resolver, self._http, self._log = resolver, http, log
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._asking: dict[str, asyncio.Task[_Known]] = {}

    async def find(self, domain: str, now: float) -> Policy | None:
        """The policy of a domain (lower case, A-labels); None without."""
        known = self._known.get(domain)
        if known is None or now - known.checked >= CHECKED:
            task = self._asking.get(domain)
            if task is None:
                task = self._asking[domain] = asyncio.ensure_future(self._ask(domain, known, now))
                task.add_done_callback(lambda _: self._asking.pop(domain, None))
            known = await asyncio.shield(task)
        return known.policy

    async def _ask(self, domain: str, known: _Known | None, now: float) -> _Known:
        if known is not None and known.until <= now:
            known = None
        found = await self._look(domain, known, now)
        self._known[domain] = found
        self._known.move_to_end(domain)
        if len(self._known) > ENTRIES:
            self._known.popitem(last=False)
        return found

    async def _look(self, domain: str, known: _Known | None, now: float) -> _Known:
        old = _Known(known.policy, known.id, known.until, now) if known is not None else _Known(None, "", 0.0, now)
        try:
            id_ = record_id((await self._resolver.query(f"_mta-sts.{domain}", "txt")).txt)
        except DNSUnavailable:
            return old
        if id_ is None or (known is not None and id_ == known.id):
            return old
        try:
            policy = await self._fetch(domain)
        except (HTTPUnavailable, MailError) as error:
            self._log.event("notice", "mta-sts", domain=domain, error=str(error))
            return old
        return _Known(policy, id_, now + policy.max_age, now)

    async def _fetch(self, domain: str) -> Policy:
        url = f"https://mta-sts.{domain}/.well-known/mta-sts.txt"
        request = HTTPRequest("GET", url, timeout=TIMEOUT, connect_timeout=TIMEOUT, max_size=LONGEST)
        response = await self._http.request(request)
        if response.status != 200:
            raise HTTPUnavailable(f"{url} answers {response.status}")
        return parse_policy(response.body)
