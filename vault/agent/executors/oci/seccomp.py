"""The seccomp profile: the containers project's allow list, turned into the runtime's form and Docker's strictness.

`convert` is pure; `load` reads the file.  Called by `prepare` through `Profile`, which keeps one result
for each set of capabilities.
"""

import base64
import platform
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import msgspec

from vault.agent.executors.oci.withheld import withhold
from vault.agent.executors.port import TaskRejected
from vault.model.container import SeccompOpts
from vault.model.errors import VaultError

SEARCHED: Final = (
    Path("/etc/containers/seccomp.json"),
    Path("/usr/share/containers/seccomp.json"),
    Path("/usr/local/lib/vault/seccomp.json"),  # Where `make setup` puts Debian's.
)
_MAX_BYTES: Final = 1 << 20
_FILTER: Final = "run.oci.seccomp_bpf_data"  # Source: crun(1), annotations.
_DENY_ALL: Final = msgspec.Raw(b'{"defaultAction":"SCMP_ACT_ERRNO"}')
# Machine names of uname, as the profile (Go's names) and libseccomp write them.
_ARCHITECTURES: Final = {
    "x86_64": ("amd64", "SCMP_ARCH_X86_64"),
    "aarch64": ("arm64", "SCMP_ARCH_AARCH64"),
    "armv7l": ("arm", "SCMP_ARCH_ARM"),
    "i686": ("386", "SCMP_ARCH_X86"),
    "ppc64le": ("ppc64le", "SCMP_ARCH_PPC64LE"),
    "riscv64": ("riscv64", "SCMP_ARCH_RISCV64"),
    "s390x": ("s390x", "SCMP_ARCH_S390X"),
}


class FilterNotLoaded(VaultError):
    """The runtime ignored a compiled filter."""

    def __init__(self) -> None:
        super().__init__("the container runtime did not load the seccomp filter it was given: start the task again")


class NoSeccompProfile(VaultError):
    """The profile is missing or cannot be read, and a task never runs without one by accident."""

    def __init__(self, why: str) -> None:
        super().__init__(
            f"no seccomp profile for containers ({why}): install golang-github-containers-common, which brings it"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Confinement:
    """What a container's configuration says of seccomp."""

    seccomp: msgspec.Raw | None  # `linux.seccomp` as JSON; None = unconfined, on the service's wish.
    annotations: Mapping[str, str] = field(default_factory=dict)
    key: str = ""  # Names the filter that is, or will be, compiled; empty = it is not kept.
    digest: str = ""  # SHA-256 of the compiled filter that the configuration carries; empty = it carries none.


class Profile:
    """The profile of this node, converted once for every set of capabilities.

    reuse: the runtime takes a compiled filter.  Compiling takes crun some 20 ms a container, so the filter it made for
    the first one is handed to the next ones.
    """

    def __init__(self, path: Path | None = None, *, reuse: bool = False) -> None:
        self._path = path
        self._reuse = reuse
        self._source: Mapping[str, Any] | None = None
        self._converted: dict[frozenset[str], tuple[str, msgspec.Raw]] = {}
        self._compiled: dict[str, bytes] = {}

    def wanted(self, asked: SeccompOpts | None, capabilities: Collection[str]) -> Confinement:
        """Return what a service asks for: the default, none, or a profile of its own."""
        asked = asked or SeccompOpts()
        match asked.mode or "default":
            case "default":
                return self._default(capabilities)
            case "unconfined":
                return Confinement(seccomp=None)
            case "custom":
                own = _own_profile(asked.profile)
                return Confinement(seccomp=msgspec.Raw(msgspec.json.encode(_for_here(own, capabilities))))
            case other:
                raise TaskRejected(f"invalid seccomp mode {other!r}: use default, unconfined or custom")

    def for_capabilities(self, capabilities: Collection[str]) -> msgspec.Raw:
        """Return `linux.seccomp` as JSON.  Raises `NoSeccompProfile`."""
        return self._convert(capabilities)[1]

    def created(self, key: str, *, digest: str, filter_file: Path) -> None:
        """Look at the filter of a container that is created and not yet started; keep it, or compare it.

        Raises `FilterNotLoaded` when the runtime did not take the filter it was handed; it is not handed on again.
        """
        if not key or not self._reuse:
            return
        found = _read_filter(filter_file)
        if digest and sha256(found).hexdigest() != digest:
            self._reuse = False
            raise FilterNotLoaded
        if found:
            self._compiled[key] = found

    def _default(self, capabilities: Collection[str]) -> Confinement:
        key, converted = self._convert(capabilities)
        made = self._compiled.get(key) if self._reuse else None
        if made is None:
            return Confinement(seccomp=converted, key=key)
        # A runtime that does not know the annotation denies everything, and `created` sees that before the start.
        handed = {_FILTER: base64.b64encode(made).decode()}
        return Confinement(seccomp=_DENY_ALL, annotations=handed, key=key, digest=sha256(made).hexdigest())

    def _convert(self, capabilities: Collection[str]) -> tuple[str, msgspec.Raw]:
        held = frozenset(capabilities)
        if held not in self._converted:
            if self._source is None:
                self._source = load(self._path)
            made = _for_here(self._source, held)
            made["syscalls"] = withhold(made["syscalls"], held, machine=platform.machine())
            text = msgspec.json.encode(made)
            self._converted[held] = sha256(text).hexdigest(), msgspec.Raw(text)
        return self._converted[held]


def _read_filter(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_MAX_BYTES)
    except OSError:
        return b""


def _for_here(profile: Mapping[str, Any], capabilities: Collection[str]) -> dict[str, Any]:
    return convert(profile, capabilities, machine=platform.machine(), kernel=kernel_version(platform.release()))


def _own_profile(encoded: str) -> dict[str, Any]:
    """Read a profile that came with a service: base64 of JSON."""
    try:
        profile = msgspec.json.decode(base64.b64decode(encoded, validate=True), type=dict[str, Any])
    except (ValueError, msgspec.MsgspecError) as error:
        raise TaskRejected("the service's seccomp profile is not base64 of a JSON object") from error
    if not isinstance(profile.get("defaultAction"), str):
        raise TaskRejected("the service's seccomp profile has no defaultAction")
    return profile


def load(path: Path | None) -> Mapping[str, Any]:
    """Read a profile; None looks in the usual places."""
    places = SEARCHED if path is None else (path,)
    for place in places:
        try:
            with place.open("rb") as file:
                return msgspec.json.decode(file.read(_MAX_BYTES), type=dict[str, Any])
        except FileNotFoundError:
            continue
        except (OSError, msgspec.DecodeError) as error:
            raise NoSeccompProfile(f"{place}: {error}") from error
    raise NoSeccompProfile(f"looked for {' and '.join(map(str, places))}")


def convert(
    profile: Mapping[str, Any], capabilities: Collection[str], *, machine: str, kernel: tuple[int, int]
) -> dict[str, Any]:
    """Return the runtime's form of a profile, with only the rules that hold for these capabilities here."""
    go_name, native = _ARCHITECTURES.get(machine, (machine, ""))
    rules = [_rule(entry) for entry in profile.get("syscalls", ()) if _applies(entry, capabilities, go_name, kernel)]
    answer = {"defaultErrnoRet": profile["defaultErrnoRet"]} if "defaultErrnoRet" in profile else {}
    return {
        "defaultAction": profile["defaultAction"],
        **answer,
        "architectures": _architectures(profile, native),
        "syscalls": rules,
    }


def kernel_version(release: str) -> tuple[int, int]:
    """Return (6, 1) of `6.1.0-13-amd64`; (0, 0) when it has another form."""
    major, _, rest = release.partition(".")
    minor = "".join(digit for digit in rest.partition(".")[0].partition("-")[0] if digit.isdigit())
    return (int(major), int(minor or 0)) if major.isdigit() else (0, 0)


def _architectures(profile: Mapping[str, Any], native: str) -> list[str]:
    for entry in profile.get("archMap", ()):
        if entry.get("architecture") == native:
            return [native, *(entry.get("subArchitectures") or ())]
    return [native] if native else []


def _applies(entry: Mapping[str, Any], capabilities: Collection[str], go_name: str, kernel: tuple[int, int]) -> bool:
    includes, excludes = entry.get("includes") or {}, entry.get("excludes") or {}
    if _listed(includes, "arches") and go_name not in includes["arches"]:
        return False
    if go_name in _listed(excludes, "arches"):
        return False
    if not set(_listed(includes, "caps")) <= set(capabilities):
        return False
    if set(_listed(excludes, "caps")) & set(capabilities):
        return False
    least = includes.get("minKernel")
    return not least or kernel >= kernel_version(least)


def _listed(conditions: Mapping[str, Any], key: str) -> Sequence[str]:
    return conditions.get(key) or ()


def _rule(entry: Mapping[str, Any]) -> dict[str, Any]:
    names = entry.get("names") or [entry["name"]]
    rule = {"names": names, "action": entry["action"], "args": entry.get("args"), "errnoRet": entry.get("errnoRet")}
    return {key: value for key, value in rule.items() if value not in (None, [])}
