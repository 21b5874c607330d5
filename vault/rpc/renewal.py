"""Keeping a node's certificate in time, in its role, and by the CA that signs; and whom it trusts as it is told.

Not pure; `plan` is.  Run by the daemon on every node, managers too.  A certificate is renewed at a random point between
50 and 80 % of its life, and at once when the session tells of another role or CA.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, Protocol

from vault.crypto.certificates import (
    Role,
    identity_of,
    issuer_of,
    key_for,
    new_tls_key,
    renewal_time,
    request_certificate,
)
from vault.crypto.errors import InvalidCertificate
from vault.crypto.node_seal import NodeKey
from vault.crypto.plaintext import Plaintext
from vault.model.errors import VaultError
from vault.rpc.messages_ca import Issued, IssueRequest, TrustIs

logger = logging.getLogger(__name__)
LOOK_AGAIN_S: Final = 60.0  # The clock may have been set, or the machine have slept.
RETRY_S: Final = (1.0, 60.0)  # First pause after a failure, doubled each time, and the longest.
ROLES: Final = {"manager": Role.MANAGER, "worker": Role.WORKER}


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What a node has to show and whom it trusts; taken over together."""

    tls_key: Plaintext
    node_key: NodeKey
    certificate: bytes  # Chain, PEM.
    trust: bytes  # Bundle, PEM.


class Keeper(Protocol):
    """Keeps a node's keys and certificates: on disk first, in use then."""

    async def prepare(self, tls_key: Plaintext, /) -> None:
        """Keep the key of a certificate that is about to be asked for, beside the one in use."""
        ...

    async def adopt(self, held: Held, /) -> None:
        """Keep and use this from now on, and tell the managers of it (the node's description has the issuer)."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be done about what a node has."""

    renew_at: datetime
    trust: bytes | None = None  # To be taken over without a new certificate.


def plan(held: Held, told: TrustIs | None, *, told_at: datetime, share: float) -> Plan:
    """Return when to renew, and whether there are other roots to trust before that.

    told: the newest word of the session, heard at told_at.  share: drawn from [0, 1), once for each certificate.
    Roots that would leave the node's own certificate without one are not taken over before it has another.
    """
    identity = identity_of(held.certificate, authority_pem=held.trust)
    due = renewal_time(identity, share=share)
    if told is None:
        return Plan(renew_at=due)
    issuer = issuer_of(held.certificate, authority_pem=held.trust).public_key
    if ROLES.get(told.role) is not identity.role or told.issuer != issuer:
        due = min(due, told_at + timedelta(seconds=told.within_s * share))
    if told.trust == held.trust:
        return Plan(renew_at=due)
    try:
        identity_of(held.certificate, authority_pem=told.trust)
    except InvalidCertificate:
        return Plan(renew_at=min(due, told_at + timedelta(seconds=told.within_s * share)))
    return Plan(renew_at=due, trust=told.trust)


class Renewal:
    """Renews one node's certificate for as long as it runs."""

    def __init__(
        self,
        held: Held,
        *,
        ask: Callable[[IssueRequest], Awaitable[Issued]],
        keeper: Keeper,
        now: Callable[[], datetime],
        chance: Callable[[], float],
    ) -> None:
        """`ask`: brings a request to the leader.  `chance`: draws evenly from [0, 1)."""
        self.held = held
        self._ask = ask
        self._keeper = keeper
        self._now = now
        self._chance = chance
        self._share = chance()
        self._told: TrustIs | None = None
        self._told_at = now()
        self._wake = asyncio.Event()

    def tell(self, told: TrustIs) -> None:
        """Take in what the session said."""
        if told != self._told:
            self._told, self._told_at = told, self._now()
            self._wake.set()

    async def run(self) -> None:
        """Renew when it is time, until cancelled; what fails is tried again, ever more slowly."""
        failures = 0
        while True:
            try:
                wait_s = await self._step()
                failures = 0
            except VaultError as error:
                first, longest = RETRY_S
                wait_s = min(first * 2**failures, longest)
                failures = min(failures + 1, 10)
                logger.warning("certificate_not_renewed", extra={"reason": error.message, "again_s": wait_s})
            await self._pause(wait_s)

    async def _step(self) -> float:
        """Do what is due; return how long nothing is, in seconds."""
        wanted = plan(self.held, self._told, told_at=self._told_at, share=self._share)
        if wanted.trust is not None:
            await self._adopt(replace(self.held, trust=wanted.trust))
        left_s = (wanted.renew_at - self._now()).total_seconds()
        if left_s <= 0:
            await self._renew()
            again = plan(self.held, self._told, told_at=self._told_at, share=self._share)
            # A manager that has not heard of the change yet gives what it gave before: not too often.
            left_s = max((again.renew_at - self._now()).total_seconds(), RETRY_S[0])
        return min(left_s, LOOK_AGAIN_S)

    async def _renew(self) -> None:
        tls_key, node_key = new_tls_key(), self.held.node_key
        await self._keeper.prepare(tls_key)
        request = request_certificate(tls_key, node_key=node_key.public())
        issued = await self._ask(IssueRequest(request=request))
        identity = identity_of(issued.certificate, authority_pem=issued.trust, now=self._now())
        before = identity_of(self.held.certificate, authority_pem=self.held.trust)
        if (identity.cluster_id, identity.node_id) != (before.cluster_id, before.node_id):
            raise InvalidCertificate("it names another node")
        key_for(issued.certificate, (tls_key,))
        await self._adopt(Held(tls_key=tls_key, node_key=node_key, certificate=issued.certificate, trust=issued.trust))
        self._share = self._chance()
        logger.info("certificate_renewed", extra={"role": identity.role.value, "not_after": str(identity.not_after)})

    async def _adopt(self, held: Held) -> None:
        await self._keeper.adopt(held)
        self.held = held

    async def _pause(self, seconds: float) -> None:
        """Wait, but not beyond something new that is told."""
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            return
        self._wake.clear()
