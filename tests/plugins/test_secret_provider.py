"""Plugins that give secrets, asked as Docker asks them."""

import asyncio
import json
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cli.certificates import authority, signed
from tests.plugins.plugin import plugin, value
from vault.crypto import Plaintext
from vault.model.errors import VaultError
from vault.plugins import exchange, secret_provider
from vault.plugins.secret_provider import SecretPlugins, SecretRequest

REQUEST = SecretRequest(secret_name="db", task_id="t1", service_labels={"a": "b"})


def plugins(sockets: Path) -> SecretPlugins:
    return SecretPlugins(sockets=sockets, specs=(sockets,))


def got(sockets: Path, name: str = "safe") -> bytes:
    return asyncio.run(plugins(sockets).get(name, REQUEST)).reveal()


def refusal(sockets: Path, name: str = "safe") -> str:
    with pytest.raises(VaultError) as raised:
        got(sockets, name)
    return raised.value.message


def test_a_plugin_is_activated_once_and_asked_for_each_value(tmp_path: Path) -> None:
    async def twice() -> list[Plaintext]:
        asked = plugins(tmp_path)
        await asked.check("safe")
        return [await asked.get("safe", REQUEST) for _ in range(2)]

    with plugin(lambda question: value(question["TaskID"].encode()), socket=tmp_path / "safe.sock") as safe:
        assert [one.reveal() for one in asyncio.run(twice())] == [b"t1", b"t1"]
    question = {"SecretName": "db", "TaskID": "t1", "ServiceLabels": {"a": "b"}}
    ask = ("/SecretProvider.GetSecret", question)
    assert safe.asked == [("/Plugin.Activate", {}), ask, ask]
    assert safe.headers["Accept"] == "application/vnd.docker.plugins.v1.2+json"


def test_whether_a_value_may_be_reused_changes_nothing(tmp_path: Path) -> None:
    for said in (True, False):
        with plugin(lambda _, s=said: value(b"x") | {"DoNotReuse": s, "Err": None}, socket=tmp_path / "safe.sock"):
            assert got(tmp_path) == b"x"


@pytest.mark.parametrize("verified", [True, False])
def test_a_plugin_may_be_elsewhere_behind_tls(tmp_path: Path, *, verified: bool) -> None:
    files = signed(tmp_path, authority(tmp_path, "ca"), "server", alternative="IP:127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    with plugin(lambda _: value(b"x"), tls=context) as safe:
        tls = {"CAFile": str(files.ca)} if verified else {"InsecureSkipVerify": True}
        said = {"Addr": f"tcp://127.0.0.1:{safe.address[1]}", "TLSConfig": tls}
        (tmp_path / "safe.json").write_text(json.dumps(said))
        assert got(tmp_path) == b"x"


def test_a_plugin_that_nobody_vouches_for_is_not_asked(tmp_path: Path) -> None:
    files = signed(tmp_path, authority(tmp_path, "ca"), "server", alternative="IP:127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    with plugin(lambda _: value(b"x"), tls=context) as safe:
        said = {"Addr": f"tcp://127.0.0.1:{safe.address[1]}", "TLSConfig": {}}
        (tmp_path / "safe.json").write_text(json.dumps(said))
        assert "certificate" in refusal(tmp_path)
    assert safe.asked == []


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ({"Err": "permission\ndenied\x07"}, "permission denied?"),
        ({}, "it gave 0 bytes, and a secret has more than 0 and less than 512000"),
        (value(b"x" * 512_000), "it gave 512000 bytes, and a secret has more than 0 and less than 512000"),
        ((500, b'{"Err": "sealed"}'), "sealed"),
        ((404, b"404 page not found\n"), "404 page not found"),
        ({"Value": "not base64!"}, "the plugin's answer is not what its protocol says"),
        ((200, b"hello"), "the plugin's answer is not what its protocol says"),
        (value(b"x" * 2_000_000), f"answers with more than {exchange.ANSWER_BYTES} bytes"),
    ],
)
def test_what_a_plugin_says_instead_of_a_value_is_told(tmp_path: Path, answer: object, why: str) -> None:
    with plugin(lambda _: answer, socket=tmp_path / "safe.sock"):
        told = refusal(tmp_path)
    assert told.endswith(why)


@pytest.mark.parametrize("implements", [[], ["volumedriver"], "null"])
def test_a_plugin_of_another_kind_is_not_asked_for_secrets(tmp_path: Path, implements: object) -> None:
    with plugin(lambda _: value(b"x"), socket=tmp_path / "safe.sock", implements=json.loads(json.dumps(implements))):
        told = refusal(tmp_path)
    assert told.startswith(('plugin "safe" does not implement the requested driver', "the plugin's answer is not"))


def test_a_plugin_that_is_slow_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secret_provider, "ANSWER_S", 0.05)

    async def silent() -> str:
        server = await asyncio.start_unix_server(lambda *_: asyncio.sleep(60), tmp_path / "safe.sock")
        async with server:
            with pytest.raises(VaultError) as raised:
                await plugins(tmp_path).get("safe", REQUEST)
        return raised.value.message

    assert asyncio.run(silent()) == 'plugin "safe" did not answer in time'


def test_a_plugin_that_is_started_again_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "safe.spec").write_text(f"unix://{tmp_path}/late.sock")

    async def pause(_: float) -> None:
        (tmp_path / "late.sock").symlink_to(tmp_path / "other.sock")

    with plugin(lambda _: value(b"x"), socket=tmp_path / "other.sock"):
        monkeypatch.setattr(exchange.asyncio, "sleep", pause)
        assert got(tmp_path) == b"x"


def test_where_nobody_listens_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "RETRY_S", ())
    (tmp_path / "safe.spec").write_text(f"unix://{tmp_path}/none.sock")
    assert refusal(tmp_path) == f"cannot connect to the plugin at {tmp_path}/none.sock: no such file or directory"


def raw(directory: Path, answer: Callable[[], bytes]) -> str:
    """Return what becomes of these bytes as an answer to each question."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer())
        writer.close()

    async def asked() -> str:
        async with await asyncio.start_unix_server(serve, directory / "safe.sock"):
            try:
                value = await plugins(directory).get("safe", REQUEST)
            except VaultError as error:
                return error.message
            return repr(value)

    return asyncio.run(asked())


OK = b"HTTP/1.1 200 OK\r\n"
SAID = b'{"Implements": ["secretprovider"], "Value": "eA=="}'


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (OK + b"\r\n" + SAID, "Plaintext(1 bytes)"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n33\r\n" + SAID + b"\r\n0\r\n\r\n", "Plaintext(1 bytes)"),
        (OK + b"Content-Length: 51\r\n\r\n" + SAID[:20], "broke off in the middle of its answer"),
        (b"", "broke off in the middle of its answer"),
        (b"SSH-2.0-x\r\n", "does not speak HTTP"),
        (b"HTTP/1.1 101 Up\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nzz", "does not speak HTTP"),
    ],
)
def test_http_is_read_in_all_its_forms(tmp_path: Path, answer: bytes, outcome: str) -> None:
    assert len(SAID) == 0x33
    assert raw(tmp_path, lambda: answer).endswith(outcome)


@settings(max_examples=60, deadline=None)
@given(
    st.binary(max_size=200)
    | st.binary(max_size=200).map(lambda junk: OK + junk)
    | st.binary().map(lambda junk: OK + b"\r\n" + junk)
)
def test_no_bytes_of_a_plugin_do_more_than_fail(tmp_path_factory: pytest.TempPathFactory, junk: bytes) -> None:
    assert raw(tmp_path_factory.mktemp("p"), lambda: junk)
