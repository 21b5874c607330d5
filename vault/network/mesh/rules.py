"""The routing mesh as nftables scripts.

Pure.  Used by `vault.network.mesh.node`.  There are two tables, one in the node's own namespace and one in that of the
ingress overlay, joined by a veth pair.  The node's chooses among all tasks of a service: one of this node is reached by
its own link, all others by the far end of the pair, where the second table chooses among those.  So no address of the
ingress network is routed in the node's own namespace, where it might be the address of a real machine.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Final

from vault.network.links.names import Names
from vault.network.mesh.plan import MeshPort, Plan, PortKey

INNER_TABLE: Final = "vault_mesh"
INNER_LINK: Final = "mesh0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wire:
    """The veth pair between the node's own namespace and that of the ingress overlay."""

    link: str  # The node's end.
    node: IPv4Address  # Address of that end.
    inner: IPv4Address  # Address of the other, which stands for every task that is reached through the overlay.


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """What changes in a table: published ports, and a chain for each that leads somewhere."""

    name: str
    published: frozenset[PortKey]
    chains: Mapping[PortKey, str]  # The one rule of each.


def node_table(names: Names, plan: Plan, wire: Wire) -> Table:
    """Return what the table in the node's own namespace says of published ports."""
    chains = {key: _rule(key, _everyone(key, port, wire)) for key, port in plan.items() if port.serves}
    return Table(name=names.mesh_table, published=frozenset(plan), chains=chains)


def inner_table(remote: Plan) -> Table:
    """Return what the table in the overlay's namespace says; remote: as `mesh_plan.remote_part` gives it."""
    chains = {
        key: _rule(key, [(1, f"{address} . {port.target}") for address in port.elsewhere])
        for key, port in remote.items()
    }
    return Table(name=INNER_TABLE, published=frozenset(remote), chains=chains)


def whole_node_table(table: Table, wire: Wire) -> str:
    """Return the nft script that replaces the table of the node's own namespace in one transaction.

    prerouting, output: a published port of any address of this node, 127.0.0.1 too, leads to a task.
    postrouting: what goes through the overlay comes back the same way, and never carries 127.0.0.1 or an address
    that the overlay has too.
    input: a published port that nobody serves is refused at once; what arrives here was led nowhere.
    forward, input: nothing new comes out of the overlay, and nothing new goes in but through a published port.
    """
    return f"""\
{no_table(table.name)}\
table ip {table.name} {{
{_contents(table)}\
  chain prerouting {{
    type nat hook prerouting priority dstnat; policy accept;
    fib daddr type local meta l4proto . th dport vmap @ports
  }}
  chain output {{
    type nat hook output priority -100; policy accept;
    fib daddr type local meta l4proto . th dport vmap @ports
  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    oifname "{wire.link}" masquerade
  }}
  chain input {{
    type filter hook input priority filter; policy accept;
    iifname "{wire.link}" ct state new drop
    fib daddr type local meta l4proto . th dport @published meta l4proto tcp reject with tcp reset
    fib daddr type local meta l4proto . th dport @published reject
  }}
  chain forward {{
    type filter hook forward priority filter; policy accept;
    iifname "{wire.link}" ct state new drop
    oifname "{wire.link}" ct state new ct status & dnat == 0 drop
  }}
  chain raw {{
    type filter hook prerouting priority raw; policy accept;
    iifname "{wire.link}" ip daddr 127.0.0.0/8 drop
  }}
}}
"""


def whole_inner_table(table: Table, wire: Wire, own: IPv4Address) -> str:
    """Return the nft script that replaces the table of the overlay's namespace; the node's says who may enter.

    own: this node's address on the ingress network, which tasks of other nodes answer to.
    """
    return f"""\
{no_table(table.name)}\
table ip {table.name} {{
{_contents(table)}\
  chain prerouting {{
    type nat hook prerouting priority dstnat; policy accept;
    iifname "{INNER_LINK}" meta l4proto . th dport vmap @ports
  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr {wire.node} snat to {own}
  }}
}}
"""


def no_table(name: str) -> str:
    """Return the nft script that removes a table, whether or not it is there."""
    return f"table ip {name} {{}}\ndelete table ip {name}\n"


def changed_table(before: Table, after: Table) -> str:
    """Return the nft script that leads from one state of a table to another; "" when they are the same.

    Chains that did not change are left alone: their turn among the tasks goes on.
    """
    name, lines = after.name, []
    for key, rule in sorted(after.chains.items()):
        if before.chains.get(key) != rule:
            chain = f"ip {name} {_chain(key)}"
            lines += [f"add chain {chain}", f"flush chain {chain}", f"add rule {chain} {rule}"]
    lines += _elements(
        "add", name, "ports", [_leads(key) for key in sorted(after.chains.keys() - before.chains.keys())]
    )
    gone = sorted(before.chains.keys() - after.chains.keys())
    lines += _elements("delete", name, "ports", [_leads(key) for key in gone])
    for key in gone:
        lines += [f"flush chain ip {name} {_chain(key)}", f"delete chain ip {name} {_chain(key)}"]
    lines += _elements("add", name, "published", map(_element, sorted(after.published - before.published)))
    lines += _elements("delete", name, "published", map(_element, sorted(before.published - after.published)))
    return "".join(f"{line}\n" for line in lines)


def _contents(table: Table) -> str:
    leads = ", ".join(_leads(key) for key in sorted(table.chains))
    published = ", ".join(map(_element, sorted(table.published)))
    chains = "".join(f"  chain {_chain(key)} {{\n    {rule}\n  }}\n" for key, rule in sorted(table.chains.items()))
    return f"""\
{chains}\
  map ports {{
    type inet_proto . inet_service : verdict
    {f"elements = {{ {leads} }}" if leads else ""}
  }}
  set published {{
    type inet_proto . inet_service
    {f"elements = {{ {published} }}" if published else ""}
  }}
"""


def _everyone(key: PortKey, port: MeshPort, wire: Wire) -> list[tuple[int, str]]:
    """Return the destinations of a port, each with its share: the wire's far end once for every task behind it."""
    shares = [(1, f"{address} . {port.target}") for address in port.here]
    return [*shares, (len(port.elsewhere), f"{wire.inner} . {key.published}")] if port.elsewhere else shares


def _rule(key: PortKey, shares: list[tuple[int, str]]) -> str:
    """Return the rule that leads connections to destinations in turn."""
    if len(shares) == 1:
        return f"meta l4proto {key.protocol} dnat ip to {shares[0][1].replace(' . ', ':')}"
    turns, at = [], 0
    for share, destination in shares:
        turns.append(f"{at if share == 1 else f'{at}-{at + share - 1}'} : {destination}")
        at += share
    return f"meta l4proto {key.protocol} dnat ip to numgen inc mod {at} map {{ {', '.join(turns)} }}"


def _elements(verb: str, table: str, set_: str, elements: Iterable[str]) -> list[str]:
    listed = ", ".join(elements)
    return [f"{verb} element ip {table} {set_} {{ {listed} }}"] if listed else []


def _leads(key: PortKey) -> str:
    return f"{_element(key)} : goto {_chain(key)}"


def _element(key: PortKey) -> str:
    return f"{key.protocol} . {key.published}"


def _chain(key: PortKey) -> str:
    return f"{key.protocol}-{key.published}"
