"""From stack files to one stack: paths, env files, warnings, versions, several files."""

import pytest

from tests.stack.builders import Files, service, stack
from vault.stack import services
from vault.stack.errors import NotLoaded, StackError
from vault.stack.load import Source, check_images, load


def test_env_files_come_first_and_later_ones_win() -> None:
    text = service("env_file: [one.env, sub/two.env]\nenvironment: {C: own}")
    contents = {
        "/stack/one.env": b"\xef\xbb\xbfA=1\nB=1\r\n# no\n\n  C=file\nCALLER\nABSENT\nSPACE= x \n",
        "/stack/sub/two.env": b"B=2\n",
    }
    loaded = stack(text, env={"CALLER": "me"}, contents=contents)
    assert loaded.document.services["web"].environment == {
        "A": "1",
        "B": "2",
        "C": "own",
        "CALLER": "me",
        "SPACE": " x ",
    }


def test_a_variable_without_a_value_comes_from_the_caller_or_stays_without() -> None:
    loaded = stack(service("environment: [A, B, C=]"), env={"A": "1", "C": "2"})
    assert loaded.document.services["web"].environment == {"A": "1", "B": None, "C": "2"}


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"=x\n", "invalid env file (/stack/e): no variable name on line 1"),
        (b"\nA B=x\n", "invalid env file (/stack/e): the variable name on line 2 contains whitespaces"),
        (b"A=\xff\n", "invalid env file (/stack/e): invalid utf8 bytes at line 1"),
        (b"#" * (4 << 20) + b"\nA=1", "invalid env file (/stack/e): it has more than 4194304 bytes"),
    ],
)
def test_a_wrong_env_file_is_named_with_the_line_and_without_its_content(content: bytes, error: str) -> None:
    with pytest.raises(NotLoaded) as raised:
        stack(service("env_file: e"), contents={"/stack/e": content})
    assert str(raised.value) == error


def test_a_missing_env_file_is_an_error() -> None:
    with pytest.raises(StackError, match=r"open /stack/no\.env: no such file or directory"):
        stack(service("env_file: no.env"))


def test_paths_start_at_the_directory_of_the_first_file() -> None:
    text = service("volumes: [./a:/a, ~/b:/b, /c:/c, ../d:/d]", rest="secrets: {s: {file: x/../s.txt}, t: {file: /t}}")
    document = stack(text, env={"HOME": "/home/me"}).document
    sources = [volume.source for volume in document.services["web"].volumes]
    assert sources == ["/stack/a", "/home/me/b", "/c", "/d"]
    assert [secret.file for secret in document.secrets.values()] == ["/stack/s.txt", "/t"]


def test_the_last_of_ro_and_rw_counts() -> None:
    volumes = stack(service("volumes: ['/a:/a:ro,rw', '/b:/b:rw,ro', '/c:/c']")).document.services["web"].volumes
    assert [volume.read_only for volume in volumes] == [False, True, False]


def test_a_variable_that_is_no_text_is_replaced_as_docker_replaces_it() -> None:
    document = stack(service("environment: [A]\nuser: $A"), env={"A": "x\udcff"}).document
    assert document.services["web"].environment == {"A": "x\ufffd"}
    assert document.services["web"].user == "x\ufffd"


def test_loading_reads_no_file_of_a_secret() -> None:
    read = Files({})
    text = b"services: {}\nsecrets: {s: {file: s.txt}}\n"
    load([Source(name="-", text=text, directory="/")], {}, read)
    assert read.read == []


def test_ignored_keys_are_named_once_in_dockers_words() -> None:
    keys = """
        build: .
        links: [a]
        restart: always
        container_name: c
        networks: {default: {ipv4_address: 1.2.3.4}}
    """
    assert stack(service(keys)).warnings == (
        "Ignoring unsupported options: build, ipv4_address, links, restart\n",
        "Ignoring deprecated options:\n\ncontainer_name: Setting the container name is not supported.\n",
    )


def test_a_deprecated_external_name_and_a_bound_address_are_noticed() -> None:
    text = service('ports: ["127.0.0.1:80:80", "0.0.0.0:81:81"]', rest="secrets: {s: {external: {name: t}}}")
    loaded = stack(text)
    assert loaded.warnings == (
        "ignoring IP-address (127.0.0.1:80:80/tcp) service will listen on '0.0.0.0'",
        "secret s: secret.external.name is deprecated in favor of secret.name",
    )
    assert loaded.document.secrets["s"].name == "t"


@pytest.mark.parametrize("key", ["extends", "volumes_from", "mem_limit", "cpuset"])
def test_keys_that_cannot_be_honoured_end_the_load(key: str) -> None:
    with pytest.raises(StackError, match=rf"^Compose file contains unsupported options:\n\n{key}: "):
        stack(service(f"{key}: x"))


def test_files_of_different_versions_do_not_mix() -> None:
    with pytest.raises(StackError, match=r"version mismatched between two composefiles : 3\.8 and 3\.7"):
        stack('version: "3.8"\nservices: {}', 'version: "3.7"\nservices: {}')


def test_no_files_is_an_error() -> None:
    with pytest.raises(StackError, match="specify a Compose file"):
        load([], {}, Files({}))


def test_variables_can_be_left_alone() -> None:
    source = Source(name="-", text=b"services: {a: {image: $IMAGE}}", directory="/")
    assert load([source], {}, Files({}), interpolated=False).document.services["a"].image == "$IMAGE"


@pytest.mark.parametrize(
    ("image", "error"),
    [
        ("", "no image specified"),
        ("a b", "invalid reference format"),
        ("Team/A:1", r"repository name \(Team/A\) must be lowercase"),
    ],
)
def test_a_service_needs_an_image_to_be_deployed(image: str, error: str) -> None:
    loaded = stack(f"services: {{web: {{image: '{image}'}}}}")
    with pytest.raises(NotLoaded, match=f"^invalid image reference for service web: .*{error}$"):
        check_images(loaded)


@pytest.mark.parametrize(
    ("keys", "error"),
    [
        ("ports: [80.5]", "services.web.ports.0: 80.5 is not a port: put it in quotes"),
        ("deploy: {replicas: -1}", "services.web.deploy.replicas: -1 must not be negative"),
        (
            "deploy: {replicas: 99999999999999999999}",
            "services.web.deploy.replicas: 100000000000000000000 is too large",
        ),
        ("secrets: [{source: s, mode: -1}]", "services.web.secrets.0.mode: -1 must not be negative"),
        ("ulimits: {nofile: 1.0e+19}", "services.web.ulimits.nofile: 10000000000000000000 is too large"),
        (
            "ulimits: {nofile: {soft: 1.0e+19, hard: 1}}",
            "services.web.ulimits.nofile.soft: 10000000000000000000 is too large",
        ),
        ("command: 'a'' b'", "services.web.command: EOF found when expecting closing quote"),
        (
            "deploy: {resources: {limits: {memory: 5x}}}",
            "services.web.deploy.resources.limits.memory: invalid suffix: 'x'",
        ),
        ("volumes: ['a:b:c:d']", "services.web.volumes.0: invalid spec: a:b:c:d: too many colons"),
        ("volumes: ['a::b']", "services.web.volumes.0: invalid spec: a::b: empty section between colons"),
        ("volumes: [{type: bind, target: /x}]", 'invalid mount config for type "bind": field Source must not be empty'),
        ("volumes: ['~/a:/b']", "services.web.volumes: cannot expand ~/a: HOME is not set"),
    ],
)
def test_a_value_that_cannot_be_read_is_named_with_its_place(keys: str, error: str) -> None:
    with pytest.raises(NotLoaded) as raised:
        stack(service(keys))
    assert str(raised.value) == error


@pytest.mark.parametrize(
    ("section", "error"),
    [
        (
            "secrets: {s: {}}",
            "secret s: neither secret.file nor secret.external is given: name a file, or say external",
        ),
        (
            "configs: {c: {external: false}}",
            "config c: neither config.file nor config.external is given: name a file, or say external",
        ),
        (
            "secrets: {s: {external: true, file: x}}",
            "secret s: secret.external and secret.file conflict; only use one of them",
        ),
        (
            "secrets: {s: {driver: x, file: y}}",
            "secret s: secret.driver and secret.file conflict; only use secret.driver",
        ),
    ],
)
def test_a_secret_comes_from_one_place(section: str, error: str) -> None:
    with pytest.raises(NotLoaded) as raised:
        stack(f"services: {{}}\n{section}")
    assert str(raised.value) == error


def test_ranges_of_ports_unfold_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "MAX_PORTS", 10)
    assert len(stack(service("ports: ['1-10:80']")).document.services["web"].ports) == 10
    with pytest.raises(NotLoaded, match=r"^services\.web\.ports: more than 10 ports$"):
        stack(service("ports: ['1-10:80', '11:11']"))


def test_an_unquoted_yes_is_a_boolean_where_one_is_asked_for() -> None:
    document = stack(service("tty: yes\nread_only: off\nhostname: on", rest="secrets: {s: {external: yes}}")).document
    assert document.services["web"].tty is True
    assert document.services["web"].read_only is False
    assert document.services["web"].hostname == "on"
    assert document.secrets["s"].external
