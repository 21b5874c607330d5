"""A service's spec with everything in it, and what becomes of it when a few fields are wrong.

Bodies made of nothing but chance hardly get past the types; these do.
"""

import copy
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

SPEC: dict[str, Any] = {
    "Name": "full",
    "Labels": {"a": "b", "vault.stack.depends-on": "other=service_healthy"},
    "TaskTemplate": {
        "ContainerSpec": {
            "Image": "registry.example.com:5000/a/b:1@sha256:" + "0" * 64,
            "Labels": {"c": "d"},
            "Command": ["sh"],
            "Args": ["-c", "echo {{.Task.Slot}}"],
            "Hostname": "{{.Service.Name}}-{{.Task.Slot}}",
            "Env": ["A=1", "B={{.Node.Hostname}}"],
            "Dir": "/srv",
            "User": "1:1",
            "Groups": ["audio"],
            "Privileges": {
                "SELinuxContext": {"Level": "s0"},
                "Seccomp": {"Mode": "custom", "Profile": "eyJkZWZhdWx0QWN0aW9uIjogIlNDTVBfQUNUX0FMTE9XIn0="},
                "AppArmor": {"Mode": "disabled"},
                "NoNewPrivileges": True,
            },
            "StopSignal": "SIGINT",
            "StopGracePeriod": 5_000_000_000,
            "Healthcheck": {"Test": ["CMD", "true"], "Interval": 1_000_000_000, "Retries": 3},
            "Hosts": ["10.0.0.1 db"],
            "DNSConfig": {"Nameservers": ["1.1.1.1"], "Search": ["a.b"], "Options": ["ndots:2"]},
            "Sysctls": {"net.core.somaxconn": "9"},
            "CapabilityAdd": ["CAP_NET_ADMIN"],
            "CapabilityDrop": ["ALL"],
            "Ulimits": [{"Name": "nofile", "Soft": 1, "Hard": 2}],
            "Mounts": [
                {"Type": "bind", "Source": "/a", "Target": "/b", "BindOptions": {"Propagation": "rslave"}},
                {
                    "Type": "volume",
                    "Source": "v",
                    "Target": "/v",
                    "VolumeOptions": {
                        "Subpath": "x",
                        "DriverConfig": {
                            "Name": "local",
                            "Options": {"type": "nfs", "o": "addr=1.2.3.4", "device": ":/"},
                        },
                    },
                },
                {"Type": "tmpfs", "Target": "/t", "TmpfsOptions": {"SizeBytes": 4096, "Mode": 448}},
                {"Type": "image", "Source": "busybox", "Target": "/i", "ImageOptions": {"Subpath": "bin"}},
            ],
            "OomScoreAdj": 5,
        },
        "Resources": {
            "Limits": {"NanoCPUs": 2_000_000_000, "MemoryBytes": 1 << 30, "Pids": 5},
            "Reservations": {
                "NanoCPUs": 1_000_000_000,
                "MemoryBytes": 1 << 20 << 3,
                "GenericResources": [{"DiscreteResourceSpec": {"Kind": "gpu", "Value": 1}}],
            },
            "SwapBytes": 0,
            "MemorySwappiness": 50,
        },
        "RestartPolicy": {"Condition": "any", "Delay": 1, "MaxAttempts": 3, "Window": 5},
        "Placement": {
            "Constraints": ["node.role == worker"],
            "Preferences": [{"Spread": {"SpreadDescriptor": "node.labels.zone"}}],
            "MaxReplicas": 2,
            "Platforms": [{"Architecture": "x86_64", "OS": "linux"}],
        },
        "Networks": [{"Target": "back", "Aliases": ["x"], "DriverOpts": {"com.docker.network.endpoint.ifname": "e0"}}],
        "LogDriver": {"Name": "syslog", "Options": {"syslog-address": "udp://1.2.3.4:514", "tag": "{{.Name}}"}},
        "ForceUpdate": 1,
        "Runtime": "container",
    },
    "Mode": {"Replicated": {"Replicas": 0}},
    "UpdateConfig": {"Parallelism": 2, "Delay": 1, "FailureAction": "rollback", "Monitor": 5, "MaxFailureRatio": 0.5},
    "RollbackConfig": {"Order": "stop-first"},
    "EndpointSpec": {"Mode": "vip", "Ports": [{"Protocol": "tcp", "TargetPort": 80, "PublishMode": "ingress"}]},
}
Path = tuple[str | int, ...]


def paths(value: Any, at: Path = ()) -> Iterator[Path]:
    """Yield the path of everything in a document, the document aside."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in inside:
        yield (*at, key)
        yield from paths(inner, (*at, key))


TEXTS = st.sampled_from(
    [
        "",
        " ",
        "\0",
        "/",
        "//",
        "..",
        "a/../b",
        ":",
        "=",
        "{{",
        "{{.X}}",
        "-1",
        "9" * 40,
        "ä",
        "\n",
        "a" * 5000,
        "*",
        "\ud800",
    ]
) | st.text(max_size=6)
NUMBERS = st.sampled_from([-1, 0, 1, 2**31, 2**63 - 1, -(2**63), 2**63, 2**64, 10**30]) | st.integers()
ODD = st.none() | st.booleans() | NUMBERS | st.floats() | TEXTS | st.lists(TEXTS, max_size=2) | st.just({})
LIKE: dict[type, st.SearchStrategy[Any]] = {str: TEXTS, int: NUMBERS, float: NUMBERS | st.floats(), bool: ODD}
PATHS = list(paths(SPEC))


def at(document: Any, path: Path) -> Any:
    for key in path:
        document = document[key]
    return document


@st.composite
def mutated(draw: st.DrawFn) -> dict[str, Any]:
    """A document of which up to three parts are something else, mostly of the same type, or given twice, or gone."""
    spec = copy.deepcopy(SPEC)
    for path in draw(st.lists(st.sampled_from(PATHS), min_size=1, max_size=3)):
        try:
            parent, key = at(spec, path[:-1]), path[-1]
            old = parent[key]
        except (LookupError, TypeError):
            continue  # Another part of this example took it away.
        if not isinstance(parent, dict | list):
            continue  # It is a text by now, of which letters cannot be changed.
        match draw(st.sampled_from(["like", "like", "like", "odd", "gone", "twice", "key"])):
            case "gone":
                del parent[key]
            case "twice" if isinstance(parent, list):
                parent.append(copy.deepcopy(old))
            case "key" if isinstance(parent, dict):
                parent[draw(TEXTS)] = old
            case "odd":
                parent[key] = draw(ODD)
            case _:
                parent[key] = draw(LIKE.get(type(old), ODD))
    return spec
