"""`vault swarm` and the members of a swarm: Docker's words for tokens, keys, roles and the root CA; backups."""

import base64
import io
import json
import stat
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import FakeDaemon, Request, Vault
from vault.cli import overtaken
from vault.cli.commands import swarm_ca
from vault.cli.commands.system import info_text

ME = "hnli2tw5v5k3ngekr5hxjipfc"
TLS = {"TrustRoot": "-----BEGIN CERTIFICATE-----\nroot\n", "CertIssuerSubject": "s", "CertIssuerPublicKey": "k"}
KEY = "SWMKEY-1-5cOvfmA3xCqRNYxMIY6ckzDYNRCLcn3YjrxMGAZhuUY"
UNLOCK = (
    "To unlock a swarm manager after it restarts, run the `vault swarm unlock`\n"
    f"command and provide the following key:\n\n    {KEY}\n\n"
    "Remember to store this key in a password manager, since without it you\n"
    "will not be able to restart the manager.\n"
)


def cluster(**changes: Any) -> dict[str, Any]:
    return {
        "ID": "c" * 25,
        "Version": {"Index": 11},
        "Spec": {"Name": "default", "Labels": {}, "EncryptionConfig": {"AutoLockManagers": False}},
        "TLSInfo": TLS,
        "RootRotationInProgress": False,
        "JoinTokens": {"Worker": "SWMTKN-1-w", "Manager": "SWMTKN-1-m"},
        **changes,
    }


def locked() -> dict[str, Any]:
    return cluster(Spec={"Name": "default", "Labels": {}, "EncryptionConfig": {"AutoLockManagers": True}})


def member(role: str = "worker", tls: dict[str, str] = TLS, identifier: str = ME) -> dict[str, Any]:
    found: dict[str, Any] = {
        "ID": identifier,
        "Version": {"Index": 9},
        "Spec": {"Labels": {}, "Role": role, "Availability": "active"},
        "Description": {"Hostname": "vm", "TLSInfo": tls},
        "Status": {"State": "ready"},
    }
    if role == "manager":
        found["ManagerStatus"] = {"Leader": True, "Reachability": "reachable", "Addr": "127.0.0.1:2377"}
    return found


@pytest.fixture
def manager(daemon: FakeDaemon) -> FakeDaemon:
    """A daemon that leads a swarm."""
    daemon.on("GET", "/swarm", cluster())
    daemon.on("POST", "/swarm/update", None)
    daemon.on("GET", "/swarm/unlockkey", {"UnlockKey": KEY})
    daemon.on("GET", "/info", {"Swarm": {"NodeID": ME, "ControlAvailable": True, "LocalNodeState": "active"}})
    daemon.on("GET", f"/nodes/{ME}", member("manager"))
    return daemon


def typed(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))


def test_init_posts_every_setting_and_prints_the_unlock_key(manager: FakeDaemon, vault: Vault) -> None:
    manager.on("POST", "/swarm/init", ME)
    result = vault(
        *("swarm", "init", "--autolock", "--force-new-cluster", "--dispatcher-heartbeat", "1s"),
        *("--data-path-addr", "10.0.0.1", "--data-path-port", "4790", "--snapshot-interval", "500"),
        *("--max-snapshots", "2", "--cert-expiry", "48h", "--availability", "drain"),
    )
    assert result.out == (
        f"Swarm initialized: current node ({ME}) is now a manager.\n\n"
        "To add a worker to this swarm, run the following command:\n\n"
        "    vault swarm join --token SWMTKN-1-w 127.0.0.1:2377\n\n"
        "To add a manager to this swarm, run 'vault swarm join-token manager' and follow the instructions.\n\n" + UNLOCK
    )
    body = manager.asked("POST", "/swarm/init")[0].body
    assert (body["AutoLockManagers"], body["ForceNewCluster"], body["Availability"]) == (True, True, "drain")
    assert (body["DataPathAddr"], body["DataPathPort"]) == ("10.0.0.1", 4790)
    assert body["Spec"]["Dispatcher"] == {"HeartbeatPeriod": 1_000_000_000}
    assert body["Spec"]["Raft"] == {"KeepOldSnapshots": 2, "SnapshotInterval": 500}
    assert body["Spec"]["CAConfig"] == {"NodeCertExpiry": 48 * 3600 * 1_000_000_000}


def test_external_cas_are_refused_before_anything_is_sent(manager: FakeDaemon, vault: Vault) -> None:
    for words in (("init",), ("update",), ("ca", "--rotate")):
        result = vault("swarm", *words, "--external-ca", "protocol=cfssl,url=https://ca.example")
        assert result.code == 125
        assert "external CAs are not supported" in result.err
    assert manager.requests == []


@pytest.mark.parametrize("role", ["manager", "worker"])
def test_join_says_as_what_this_node_joined(daemon: FakeDaemon, vault: Vault, role: str) -> None:
    daemon.on("POST", "/swarm/join", None)
    warnings = ["WARNING: two"] if role == "manager" else None
    daemon.on("GET", "/info", {"Swarm": {"ControlAvailable": role == "manager", "Warnings": warnings}})
    words = ("--token", "SWMTKN-1-x", "--advertise-addr", "127.0.0.2", "--listen-addr", "127.0.0.2:2377")
    result = vault("swarm", "join", *words, "--availability", "pause", "127.0.0.1:2377")
    assert result.out == f"This node joined a swarm as a {role}.\n"
    assert result.err == ("WARNING: two\n" if role == "manager" else "")
    assert daemon.asked("POST", "/swarm/join")[0].body == {
        "ListenAddr": "127.0.0.2:2377",
        "AdvertiseAddr": "127.0.0.2",
        "DataPathAddr": "",
        "RemoteAddrs": ["127.0.0.1:2377"],
        "JoinToken": "SWMTKN-1-x",
        "Availability": "pause",
    }


def test_a_join_that_is_refused_says_why_and_how_docker_commands_are_called_here(
    daemon: FakeDaemon, vault: Vault
) -> None:
    text = 'This node is already part of a swarm. Use "docker swarm leave" to leave this swarm and join another one.'
    daemon.refuse("POST", "/swarm/join", 503, text)
    result = vault("swarm", "join", "--token", "x", "127.0.0.1:2377")
    assert (result.code, result.err) == (1, f"Error response from daemon: {text.replace('docker', 'vault')}\n")


def test_join_tokens_are_shown_and_rotated(manager: FakeDaemon, vault: Vault) -> None:
    shown = (
        "To add a manager to this swarm, run the following command:\n\n"
        "    vault swarm join --token SWMTKN-1-m 127.0.0.1:2377\n\n"
    )
    assert vault("swarm", "join-token", "manager").out == shown
    assert vault("swarm", "join-token", "-q", "worker").out == "SWMTKN-1-w\n"
    assert manager.asked("POST", "/swarm/update") == []
    result = vault("swarm", "join-token", "--rotate", "manager")
    assert result.out == "Successfully rotated manager join token.\n\n" + shown
    (request,) = manager.asked("POST", "/swarm/update")
    assert request.query == {"version": "11", "rotateManagerToken": "true"}
    assert vault("swarm", "join-token", "-q", "--rotate", "worker").out == "SWMTKN-1-w\n"
    result = vault("swarm", "join-token", "boss")
    assert (result.code, result.err) == (1, "unknown role boss\n")


def test_the_unlock_key_is_shown_and_rotated_only_while_autolock_is_on(manager: FakeDaemon, vault: Vault) -> None:
    assert vault("swarm", "unlock-key").out == UNLOCK
    assert vault("swarm", "unlock-key", "-q").out == KEY + "\n"
    result = vault("swarm", "unlock-key", "--rotate")
    assert (result.code, result.err) == (1, "cannot rotate because autolock is not turned on\n")
    manager.on("GET", "/swarm", locked())
    assert vault("swarm", "unlock-key", "--rotate").out == "Successfully rotated manager unlock key.\n\n" + UNLOCK
    (request,) = manager.asked("POST", "/swarm/update")
    assert request.query == {"version": "11", "rotateManagerUnlockKey": "true"}
    manager.on("GET", "/swarm/unlockkey", {"UnlockKey": ""})
    result = vault("swarm", "unlock-key")
    assert (result.code, result.err) == (1, "no unlock key is set\n")


def test_turning_autolock_on_prints_the_key_once(manager: FakeDaemon, vault: Vault) -> None:
    assert vault("swarm", "update", "--autolock").out == "Swarm updated.\n" + UNLOCK
    assert manager.asked("POST", "/swarm/update")[0].body["EncryptionConfig"] == {"AutoLockManagers": True}
    manager.on("GET", "/swarm", locked())
    assert vault("swarm", "update", "--autolock=true").out == "Swarm updated.\n"
    assert vault("swarm", "update", "--autolock=false").out == "Swarm updated.\n"
    assert manager.asked("POST", "/swarm/update")[2].body["EncryptionConfig"] == {"AutoLockManagers": False}
    assert vault("swarm", "update", "--dispatcher-heartbeat", "1s", "--snapshot-interval", "9").code == 0
    body = manager.asked("POST", "/swarm/update")[3].body
    assert (body["Dispatcher"], body["Raft"]) == ({"HeartbeatPeriod": 1_000_000_000}, {"SnapshotInterval": 9})
    assert body["EncryptionConfig"] == {"AutoLockManagers": True}


def test_unlock_reads_the_key_from_standard_input(
    daemon: FakeDaemon, vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon.on("GET", "/info", {"Swarm": {"LocalNodeState": "locked"}})
    daemon.on("POST", "/swarm/unlock", None)
    typed(monkeypatch, KEY + "\n")
    result = vault("swarm", "unlock")
    assert (result.code, result.out, result.err) == (0, "", "")
    assert daemon.asked("POST", "/swarm/unlock")[0].body == {"UnlockKey": KEY}
    daemon.refuse("POST", "/swarm/unlock", 401, "swarm could not be unlocked: invalid key provided")
    typed(monkeypatch, KEY)
    result = vault("swarm", "unlock")
    assert result.err == "Error response from daemon: swarm could not be unlocked: invalid key provided\n"


@pytest.mark.parametrize(
    ("state", "message"),
    [("inactive", "Error: This node is not part of a swarm\n"), ("active", "Error: swarm is not locked\n")],
)
def test_unlock_asks_for_no_key_that_nobody_needs(daemon: FakeDaemon, vault: Vault, state: str, message: str) -> None:
    daemon.on("GET", "/info", {"Swarm": {"LocalNodeState": state}})
    result = vault("swarm", "unlock")
    assert (result.code, result.err) == (1, message)


def test_ca_prints_the_root_and_refuses_flags_that_need_a_rotation(manager: FakeDaemon, vault: Vault) -> None:
    assert vault("swarm", "ca").out == TLS["TrustRoot"]
    result = vault("swarm", "ca", "--cert-expiry", "2h")
    assert result.err == "`--cert-expiry` flag requires the `--rotate` flag to update the CA\n"
    result = vault("swarm", "ca", "--rotate", "--ca-cert", "x.pem")
    assert result.err == (
        "the --ca-cert flag requires that a --ca-key flag and/or --external-ca flag be provided as well\n"
    )
    manager.on("GET", "/swarm", cluster(TLSInfo={}))
    assert vault("swarm", "ca").err == "No CA information available\n"


def test_a_rotation_is_watched_until_every_node_has_the_new_root(
    manager: FakeDaemon, vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(swarm_ca, "POLL_S", 0)
    new = {"TrustRoot": "new\n", "CertIssuerSubject": "s", "CertIssuerPublicKey": "n"}
    cross = {**TLS, "CertIssuerPublicKey": "n"}
    turning = cluster(TLSInfo={**TLS, "CertIssuerPublicKey": "n"}, RootRotationInProgress=True)
    done = cluster(TLSInfo=new)
    manager.on("GET", "/swarm", cluster(), turning, turning, done, done, done)
    nodes = [[member(tls=TLS), member(tls=TLS)], [member(tls=cross), member(tls=TLS)], [member(tls=new), member()]]
    manager.on("GET", "/nodes", *nodes, [member(tls=new), member(tls=new)])
    result = vault("swarm", "ca", "--rotate")
    assert result.code == 0
    lines = result.out.splitlines()
    assert lines[0].startswith("desired root digest: sha256:")
    assert [line for line in lines if "TLS" in line] == [
        f"  rotated TLS certificates: {text} nodes" for text in ("0/2", "1/2", "2/2")
    ]
    assert "  rotated CA certificates:  2/2 nodes" in lines
    assert lines[-1] == "new"
    request = manager.asked("POST", "/swarm/update")[0]
    assert request.body["CAConfig"] == {"SigningCACert": "", "SigningCAKey": "", "ForceRotate": 1}


def test_a_given_root_is_read_from_files_and_detach_does_not_wait(
    manager: FakeDaemon, vault: Vault, tmp_path: Path
) -> None:
    (tmp_path / "c").write_text("cert")
    (tmp_path / "k").write_text("key")
    words = ("--ca-cert", str(tmp_path / "c"), "--ca-key", str(tmp_path / "k"))
    result = vault("swarm", "ca", "--rotate", "--detach", *words)
    assert (result.code, result.out) == (0, "")
    (request,) = manager.asked("POST", "/swarm/update")
    assert request.body["CAConfig"] == {"SigningCACert": "cert", "SigningCAKey": "key"}
    missing = vault("swarm", "ca", "--rotate", "--ca-cert", str(tmp_path / "none"), "--ca-key", str(tmp_path / "k"))
    assert missing.err == f"open {tmp_path / 'none'}: no such file or directory\n"


# Members.


def test_promote_and_demote_tell_each_node_and_stop_at_the_first_that_is_refused(
    manager: FakeDaemon, vault: Vault
) -> None:
    manager.on("GET", "/nodes/a", member("worker", identifier="a1"))
    manager.on("GET", "/nodes/b", member("manager", identifier="b1"))
    manager.on("POST", "/nodes/a1/update", None)
    manager.refuse("GET", "/nodes/none", 404, "node none not found")
    result = vault("node", "promote", "b", "a", "none", "a")
    assert result.code == 1
    assert result.out == "Node b1 is already a manager.\nNode a promoted to a manager in the swarm.\n"
    assert result.err == "Error response from daemon: node none not found\n"
    (request,) = manager.asked("POST", "/nodes/a1/update")
    assert (request.query, request.body["Role"]) == ({"version": "9"}, "manager")
    text = "rpc error: code = FailedPrecondition desc = attempting to demote the last manager of the swarm"
    manager.refuse("POST", "/nodes/b1/update", 400, text)
    result = vault("node", "demote", "a", "b")
    assert (result.code, result.out) == (1, "Node a1 is already a worker.\n")
    assert result.err == f"Error response from daemon: {text}\n"
    manager.on("POST", "/nodes/b1/update", None)
    manager.on("GET", "/info", {"Swarm": {"Warnings": ["WARNING: two"]}})
    result = vault("node", "demote", "b")
    assert (result.out, result.err) == ("Manager b demoted in the swarm.\n", "WARNING: two\n")


def test_node_rm_tries_each(manager: FakeDaemon, vault: Vault) -> None:
    manager.on("DELETE", "/nodes/a", None)
    manager.on("DELETE", "/nodes/c", None)
    text = "rpc error: code = FailedPrecondition desc = node b is not down and can't be removed"
    manager.refuse("DELETE", "/nodes/b", 400, text)
    result = vault("node", "rm", "a", "b", "c")
    assert (result.code, result.out) == (1, "a\nc\n")
    assert result.err == f"Error response from daemon: {text}\n"
    assert vault("node", "remove", "--force", "a").code == 0
    assert manager.asked("DELETE", "/nodes/a")[1].query == {"force": "1"}


def test_node_update_takes_a_role(manager: FakeDaemon, vault: Vault) -> None:
    manager.on("POST", f"/nodes/{ME}/update", None)
    assert vault("node", "update", "--role", "worker", ME).out == f"{ME}\n"
    assert manager.asked("POST", f"/nodes/{ME}/update")[0].body["Role"] == "worker"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("node", "update", "--role", "boss", ME), 'invalid role "boss", only worker and manager are supported'),
        (
            ("node", "update", "--availability", "off", ME),
            'invalid availability "off", only active, pause and drain are supported',
        ),
        (
            ("swarm", "init", "--availability", "off"),
            'invalid availability "off", only active, pause and drain are supported',
        ),
        (
            ("swarm", "join", "--availability", "off", "--token", "x", "a:1"),
            'invalid availability "off", only active, pause and drain are supported',
        ),
        (("node", "update", "nosuch"), "Error response from daemon: node nosuch not found"),
    ],
)
def test_what_no_node_can_be_ends_with_1_and_changes_nothing(
    manager: FakeDaemon, vault: Vault, words: tuple[str, ...], told: str
) -> None:
    manager.refuse("GET", "/nodes/nosuch", 404, "node nosuch not found")
    result = vault(*words)
    assert (result.code, result.err) == (1, f"{told}\n")
    assert [request for request in manager.requests if request.method == "POST"] == []


CONFLICT = "rpc error: code = Unknown desc = update out of sequence"


@pytest.mark.parametrize(
    ("words", "path"),
    [
        (("node", "update", "--label-add", "a=b", ME), f"/nodes/{ME}/update"),
        (("node", "promote", "w"), "/nodes/w1/update"),
        (("swarm", "update", "--task-history-limit", "3"), "/swarm/update"),
    ],
)
def test_what_another_overtook_is_asked_again(
    manager: FakeDaemon, vault: Vault, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], path: str
) -> None:
    monkeypatch.setattr(overtaken, "PAUSE_S", 0.0)
    manager.on("GET", "/nodes/w", member("worker", identifier="w1"))
    replies = iter([(500, {"message": CONFLICT}), (200, None)])
    manager.on("POST", path, lambda request: next(replies))
    assert vault(*words).code == 0
    assert len(manager.asked("POST", path)) == 2


def test_node_ls_shows_who_leads_who_is_to_be_reached_and_whose_certificate_is_old(
    manager: FakeDaemon, vault: Vault
) -> None:
    manager.on("GET", "/info", {"Swarm": {"NodeID": "x", "Cluster": {"TLSInfo": TLS}}})
    nodes = [member("manager", identifier=name) for name in ("l", "r", "u")] + [member(identifier="w", tls={"a": "b"})]
    for one, hostname in zip(nodes, ("m1", "m2", "m3", "w1"), strict=True):
        one["Description"]["Hostname"] = hostname
    nodes[1]["ManagerStatus"] = {"Reachability": "reachable"}
    nodes[2]["ManagerStatus"] = {"Reachability": "unreachable"}
    nodes.append({"ID": "new", "Spec": {"Role": "worker"}, "Status": {"State": "unknown"}})
    manager.on("GET", "/nodes", nodes)
    shown = vault("node", "ls", "--format", "{{.Hostname}}/{{.ManagerStatus}}/{{.TLSStatus}}").out
    assert shown.splitlines() == [
        "//Unknown",
        "m1/Leader/Ready",
        "m2/Reachable/Ready",
        "m3/Unreachable/Ready",
        "w1//Needs Rotation",
    ]


def test_info_of_a_worker_names_its_managers() -> None:
    managers = [{"NodeID": "b", "Addr": "10.0.0.2:2377"}, {"NodeID": "a", "Addr": "10.0.0.1:2377"}]
    swarm = {"NodeID": ME, "NodeAddr": "10.0.0.9", "LocalNodeState": "active", "RemoteManagers": managers}
    text = info_text({"Swarm": {**swarm, "ControlAvailable": False, "Nodes": 0}})
    expected = (
        f" Swarm: active\n  NodeID: {ME}\n  Is Manager: false\n  Node Address: 10.0.0.9\n"
        "  Manager Addresses:\n   10.0.0.1:2377\n   10.0.0.2:2377\n"
    )
    assert expected in text
    assert " Swarm: locked\n" in info_text({"Swarm": {"LocalNodeState": "locked"}})


# Backups.


def test_a_backup_is_whole_and_its_owners_alone(manager: FakeDaemon, vault: Vault, tmp_path: Path) -> None:
    (tmp_path / "pass").write_text("correct horse\nsecond line\n")
    manager.on("POST", "/vault/v1/swarm/backup", b"sealed bytes")
    target = tmp_path / "b.vault"
    words = ("swarm", "backup", "--passphrase-file", str(tmp_path / "pass"), str(target))
    result = vault(*words)
    assert result.out == f"Backup written to {target} (12B); the passphrase opens it.\n"
    assert (target.read_bytes(), stat.S_IMODE(target.stat().st_mode)) == (b"sealed bytes", 0o600)
    (request,) = manager.asked("POST", "/vault/v1/swarm/backup")
    assert base64.b64decode(request.body["Passphrase"]) == b"correct horse"
    again = vault(*words)
    assert again.err == f"{target} exists: choose another name, or replace it with --force\n"
    manager.on("POST", "/vault/v1/swarm/backup", b"newer")
    assert vault(*words, "--force").code == 0
    assert target.read_bytes() == b"newer"
    manager.refuse("POST", "/vault/v1/swarm/backup", 503, "no leader")
    assert vault(*words, "--force").err == "Error response from daemon: no leader\n"
    assert target.read_bytes() == b"newer"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.vault", "pass"]


def test_with_autolock_the_unlock_key_seals_a_backup(
    manager: FakeDaemon, vault: Vault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager.on("POST", "/vault/v1/swarm/backup", b"sealed")
    typed(monkeypatch, "")
    result = vault("swarm", "backup", str(tmp_path / "b"))
    assert result.err == (
        "autolock is off, so nothing would seal the backup: give a passphrase with --passphrase-file\n"
    )
    manager.on("GET", "/swarm", locked())
    result = vault("swarm", "backup", str(tmp_path / "b"))
    assert result.out == f"Backup written to {tmp_path / 'b'} (6B); the unlock key of today opens it.\n"
    assert manager.asked("POST", "/vault/v1/swarm/backup")[0].body == {}


def test_a_backup_that_breaks_off_leaves_nothing(
    manager: FakeDaemon, vault: Vault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pass").write_text("p")
    manager.on("POST", "/vault/v1/swarm/backup", b"sealed")
    monkeypatch.setattr("vault.cli.wire._exactly", _breaks)
    result = vault("swarm", "backup", "--passphrase-file", str(tmp_path / "pass"), str(tmp_path / "b"))
    assert result.code == 1
    assert [path.name for path in tmp_path.iterdir()] == ["pass"]


def _breaks(reader: object, size: int) -> Any:
    yield b"sea"
    raise ValueError("the daemon closed the connection")


@pytest.mark.parametrize(
    ("name", "message"),
    [("", "{} is a directory: name a file"), ("none/b", "the directory {}/none does not exist: make it first")],
)
def test_a_backup_goes_only_where_a_file_can_be(
    manager: FakeDaemon, vault: Vault, tmp_path: Path, name: str, message: str
) -> None:
    result = vault("swarm", "backup", "--passphrase-file", "x", str(tmp_path / name))
    assert (result.code, result.err) == (1, message.format(tmp_path) + "\n")
    assert manager.requests == []


@pytest.mark.parametrize(("key", "part"), [("correct horse", "Passphrase"), (KEY, "UnlockKey")])
def test_a_restore_sends_the_archive_and_the_key_that_was_typed(
    manager: FakeDaemon, vault: Vault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, part: str
) -> None:
    (tmp_path / "b").write_bytes(b"sealed bytes")
    manager.on("POST", "/vault/v1/swarm/restore", ME)
    manager.on("GET", "/swarm/unlockkey", {"UnlockKey": ""})
    typed(monkeypatch, key + "\n")
    result = vault("swarm", "restore", "--advertise-addr", "127.0.0.1", str(tmp_path / "b"))
    assert result.code == 0
    assert result.out.startswith(f"Swarm restored: current node ({ME}) is now a manager.\n\nTo add a worker")
    request: Request = manager.asked("POST", "/vault/v1/swarm/restore")[0]
    assert request.body == b"sealed bytes"
    assert request.query == {"advertiseAddr": "127.0.0.1", "listenAddr": "0.0.0.0:2377"}
    opened = json.loads(base64.urlsafe_b64decode(request.headers["x-vault-key"]))
    assert {name: base64.b64decode(value).decode() for name, value in opened.items()} == {part: key}


def test_a_restore_without_a_key_or_a_file_sends_nothing(
    manager: FakeDaemon, vault: Vault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = vault("swarm", "restore", str(tmp_path / "none"))
    assert missing.err == f"open {tmp_path / 'none'}: no such file or directory\n"
    (tmp_path / "b").write_bytes(b"x")
    typed(monkeypatch, "\n")
    result = vault("swarm", "restore", str(tmp_path / "b"))
    assert result.err == "no passphrase or unlock key was given: nothing can open the backup\n"
    assert manager.requests == []


def test_pools_of_addresses_are_split_at_commas_and_must_be_pools(manager: FakeDaemon, vault: Vault) -> None:
    manager.on("POST", "/swarm/init", ME)
    manager.on("GET", "/swarm/unlockkey", {"UnlockKey": ""})
    words = ("--default-addr-pool", "10.20.0.0/16, 10.30.0.0/16", "--default-addr-pool", "10.40.0.0/16")
    assert vault("swarm", "init", *words).code == 0
    assert manager.asked("POST", "/swarm/init")[0].body["DefaultAddrPool"] == [
        "10.20.0.0/16",
        "10.30.0.0/16",
        "10.40.0.0/16",
    ]
    for wrong in ("x", "10.0.0.0", "10.0.0.0/8,y/8", ""):
        result = vault("swarm", "init", "--default-addr-pool", wrong)
        assert result.code == 125
        assert f"invalid string being converted to CIDR: {wrong}: use an address and a length" in result.err
