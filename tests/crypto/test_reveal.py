"""Who may turn guarded bytes into plain ones: the list, and proof that nobody else does.

Add a line when a new function has to call `reveal()`, and say why it must.  Reviewers read this file.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import vault

ROOT = Path(vault.__file__).parent

ALLOWED = {
    # Keys and values on their way into a primitive.
    "crypto.authorities:cross_sign",
    "crypto.authorities:given_authority",
    "crypto.certificates:issue",
    "crypto.certificates:key_for",
    "crypto.certificates:request_certificate",
    "crypto.content_tag:content_tag",
    "crypto.integrity:integrity_key",
    "crypto.keyfile:open_key_file",
    "crypto.keyfile:seal_key_file",
    "crypto.keyring:unwrap_keyring",
    "crypto.keyring:wrap_keyring",
    "crypto.manager_seal:open_at_manager",
    "crypto.manager_seal:seal_to_manager",
    "crypto.node_seal:NodeKey.public",
    "crypto.node_seal:open_at_node",
    "crypto.node_seal:seal_to_node",
    "crypto.passphrase:_stretched",
    "crypto.passphrase:wrap_with_passphrase",
    "crypto.unlocking:unwrap_with_unlock_key",
    "crypto.unlocking:wrap_with_unlock_key",
    "crypto.wireguard_seal:WireGuardKey.public",
    "crypto.wireguard_seal:open_wireguard_key",
    "crypto.wireguard_seal:seal_wireguard_key",
    "crypto.peers:issue_peer",
    "crypto.peers:request_peer",
    "crypto.peers:revocation_list",
    # The type itself: length and comparison.
    "crypto.plaintext:Guarded.__eq__",
    "crypto.plaintext:Guarded.__len__",
    # Shown to the operator who asked for the unlock key.
    "crypto.keys:UnlockKey.text",
    # The unlock key that an operator types at a node that is to join, on its way to its form.
    "daemon.recovery:_unlock_key",
    # Into a task: the file on its tmpfs, and templates that quote a secret.
    "agent.logdrivers.attributes:tag_of",  # The tag of a log, which no secret can be quoted in.
    "store.expand:_filled",  # A part of a spec that a template made, never a secret.
    "store.template_functions:_quoted",
    "store.template:render",
    "tmpfs.kernel:_write",
    # A seccomp profile, a file that a stack names, into the spec that shows it.
    "stack.beyond:privileges",
    # Into the request that deploys a stack.
    "cli.stacks.request:_encoded",
    # Into the sealed records of the store.
    "daemon.founding:found",
    "raftstore.ledger:_bytes",
    "store.rules_swarm:_with_lock",
    "store.trust:begun",
    "store.trust:with_peer_authority",
    # A node's WireGuard key, on its way to the kernel, or to the process that is one.
    "network.wireguard.messages:set_device",
    "network.wireguard.uapi:set_device",
    # The key of an etcd peer, on its way to etcd: a file in memory.
    "raftstore.engines.etcd_process:_in_memory",
    # Credentials for a registry: taken apart on the node that pulls, and on their way to the process that does.
    "agent.images.credentials:credentials_for",
    "agent.images.store:_plain",
    # Into OpenSSL, through memory that has no name.
    "rpc.credentials:_load",
    # Configs are readable through the API, unlike secrets.
    "api.configs:_shown",
}


def test_only_functions_on_the_list_reveal() -> None:
    found = {site for path in ROOT.rglob("*.py") for site in reveals(path)}
    assert found - ALLOWED == set(), "these call reveal() and are not on the list"
    assert ALLOWED - found == set(), "these are on the list and do not call reveal()"


def test_nothing_reaches_around_reveal_by_name() -> None:
    """`getattr(x, "reveal")` and `getattr(x, "_value")` would not be mentions of an attribute."""
    for path in ROOT.rglob("*.py"):
        texts = {node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)}
        assert "reveal" not in texts, path
        assert "_value" not in texts or path.name == "plaintext.py", path


def test_a_planted_call_is_found(tmp_path: Path) -> None:
    planted = tmp_path / "planted.py"
    planted.write_text("class A:\n    async def leak(self, x):\n        return [y.reveal() for y in x]\nz = q.reveal\n")
    assert set(reveals(planted, root=tmp_path)) == {"planted:A.leak", "planted:<module>"}


def reveals(path: Path, root: Path = ROOT) -> Iterator[str]:
    """Yield `module:function` for every mention of an attribute named reveal."""
    module = ".".join(path.relative_to(root).with_suffix("").parts)
    yield from (f"{module}:{where}" for where in _walk(ast.parse(path.read_text()), ()))


def _walk(node: ast.AST, scope: tuple[str, ...]) -> Iterator[str]:
    if isinstance(node, ast.Attribute) and node.attr == "reveal":
        yield ".".join(scope) or "<module>"
    if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        scope = (*scope, node.name)
    for child in ast.iter_child_nodes(node):
        yield from _walk(child, scope)
