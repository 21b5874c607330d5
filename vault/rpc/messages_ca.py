"""What nodes and managers say about certificates: first contact, asking for one, and what a member is to have.

Frozen structs, bounded where the other end decides how much there is.  PEM text travels as bytes; a *chain* and a
*bundle* are as `vault.crypto.certificates` says.
"""

from datetime import datetime
from typing import Annotated, Final

import msgspec

from vault.crypto.certificates import MAX_PEM_BYTES

ROOT: Final = "ca.root"  # A manager's root CA and time; asked without a certificate.
ISSUE: Final = "ca.issue"  # A certificate: for a token without one, or a new one for a member.
MANAGERS_MAX: Final = 256

Text = Annotated[str, msgspec.Meta(max_length=256)]
Pem = Annotated[bytes, msgspec.Meta(max_length=MAX_PEM_BYTES)]
NodeAddress = tuple[Text, Text]  # Node id, and host:port of its control plane.
Addresses = Annotated[tuple[NodeAddress, ...], msgspec.Meta(max_length=MANAGERS_MAX)]


class CAMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A message about certificates."""


class AskRoot(CAMessage, frozen=True, kw_only=True):
    """Show the root CA."""


class RootCA(CAMessage, frozen=True, kw_only=True):
    """The root CA that join tokens name, to be pinned by one: nothing else in this message can be believed."""

    certificate: Pem
    now: datetime  # By the manager's clock.
    node_life_s: Annotated[float, msgspec.Meta(ge=0, le=1e10)]  # Life of node certificates.


class IssueRequest(CAMessage, frozen=True, kw_only=True):
    """A certificate is wanted: by a joiner with a token, by a member without."""

    request: Pem
    token: Text = msgspec.field(default="")
    hostname: Text = ""
    addr: Text = ""  # IP address the joiner advertises; "" = the one it connects from.
    availability: Text = ""  # "" | active | pause | drain

    def __repr__(self) -> str:
        return f"IssueRequest({self.hostname!r}, {'with' if self.token else 'without'} a token)"


class Issued(CAMessage, frozen=True, kw_only=True):
    """A certificate, and whom to trust beside it; to be taken over together."""

    cluster_id: Text
    node_id: Text
    certificate: Pem  # Chain.
    trust: Pem  # Bundle.
    managers: Addresses = ()


class TrustIs(CAMessage, frozen=True, kw_only=True):
    """What a member is to have; told in its session when it begins and whenever it changes.

    A node takes over `trust`, and renews its certificate when that is for another role or by another CA.
    """

    trust: Pem  # Bundle.
    role: Text  # worker | manager
    issuer: Text  # The CA that signs now, as `TLSInfo.cert_issuer_public_key` shows it.
    within_s: Annotated[float, msgspec.Meta(ge=0, le=86_400)] = 0.0  # Spread of renewals: pick a moment within.
