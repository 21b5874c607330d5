"""What each image is made of: packages, files, and how it starts.

The three images carry the names that the tutorial uses; their labels say what they really are.  Called by `build`.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from archive import Image
from debian import Archive, Package, architecture
from layer import MERGED, Layer

HERE = Path(__file__).resolve().parent
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
TITLE = "org.opencontainers.image.title"
VERSION = "org.opencontainers.image.version"
BASE = (
    "base-files", "base-passwd", "bash", "coreutils", "dash", "debianutils", "findutils", "grep", "gzip", "hostname",
    "libc-bin", "mawk", "sed", "tar", "tzdata",
)  # fmt: skip
MYSQL_UID = 999  # As in the official image, so that volumes fit both.


@dataclass(slots=True)
class Workshop:
    """Where layers are made: downloads, finished layers, and the base that several images share."""

    archive: Archive
    layers: Path
    _base: tuple[Path, int] | None = None
    _base_names: frozenset[str] = field(default_factory=frozenset)

    def finish(self, layer: Layer) -> Path:
        """Write a layer; return its file, which is called by its SHA-256."""
        scratch = self.layers / "unfinished"
        digest = layer.write(scratch)
        return scratch.rename(self.layers / digest)

    def base(self) -> tuple[Path, int]:
        """Return the layer with a shell and the usual commands, and when it counts as made; built once."""
        if self._base is None:
            packages = self.archive.closure(BASE)
            self._base_names = frozenset(package.name for package in packages)
            layer = _base_layer(packages)
            self._base = self.finish(layer), layer.newest_s
        return self._base

    def beyond_base(self, names: Sequence[str], *, alone: Sequence[str] = ()) -> list[Package]:
        """Return the packages that `names` and `alone` need and the base lacks."""
        self.base()
        return [p for p in self.archive.closure(names, alone=alone) if p.name not in self._base_names]


def _base_layer(packages: Sequence[Package]) -> Layer:
    """Unpack the base, and do the little of its maintainer scripts that a container needs."""
    layer = Layer()
    layer.add_packages(packages)
    for name in MERGED:
        if any(path.startswith(f"usr/{name}/") for path in layer.paths()):
            layer.symlink(name, f"usr/{name}")
    for name in ("passwd", "group"):
        layer.file(f"etc/{name}", layer.read(f"usr/share/base-passwd/{name}.master"))
    users = layer.read("etc/passwd").decode().splitlines()
    shadow = "".join(f"{user.split(':')[0]}:*:19000:0:99999:7:::\n" for user in users)
    layer.file("etc/shadow", shadow.encode(), 0o640, gid=42)  # 42 is Debian's group `shadow`.
    layer.file("etc/nsswitch.conf", b"passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n")
    layer.file("etc/profile", b"export PATH\n")
    layer.symlink("var/run", "/run")
    layer.symlink("var/lock", "/run/lock")
    layer.directory("run/lock", 0o1777)
    layer.symlink("usr/bin/awk", "mawk")
    layer.symlink("usr/bin/which", "which.debianutils")
    layer.symlink("etc/localtime", "/usr/share/zoneinfo/Etc/UTC")
    return layer


def busybox(workshop: Workshop) -> Image:
    """BusyBox, one static binary under the names of all its applets."""
    (package,) = workshop.archive.closure(["busybox-static"])
    binary = Layer()
    binary.add_packages([package])
    program = binary.read("usr/bin/busybox")
    layer = Layer()
    layer.file("bin/busybox", program, 0o755)
    for path in _applets(program):
        if path not in ("bin/busybox", "linuxrc"):
            layer.hard_link(path, "bin/busybox")
    layer.file("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/false\n")
    layer.file("etc/group", b"root:x:0:\nnogroup:x:65534:\n")
    layer.file("etc/shadow", b"root:*:19000:0:99999:7:::\nnobody:*:19000:0:99999:7:::\n", 0o640)
    for directory in ("dev", "home", "proc", "run", "sys", "var/log", "var/spool"):
        layer.directory(directory)
    layer.directory("root", 0o700)
    layer.directory("tmp", 0o1777)
    layer.directory("var/tmp", 0o1777)
    return Image(
        name="busybox:latest",
        layers=[workshop.finish(layer)],
        config={"Env": [PATH], "Cmd": ["sh"]},
        created_s=binary.newest_s,
        comment=f"BusyBox {package.upstream} from Debian",
        architecture=architecture(),
        labels={TITLE: "BusyBox from Debian", VERSION: package.upstream},
    )


def _applets(program: bytes) -> list[str]:
    """Ask the binary for the paths of its applets, without a leading slash."""
    with tempfile.TemporaryDirectory(prefix="images-busybox-") as scratch:
        path = Path(scratch, "busybox")
        path.write_bytes(program)
        path.chmod(0o700)
        return subprocess.run([path, "--list-full"], capture_output=True, text=True, check=True).stdout.split()


def mysql_older(workshop: Workshop) -> Image:
    """The older MariaDB on offer, under the name that the tutorial starts with."""
    return _mariadb(workshop, "mysql:5.7", _mariadb_versions(workshop)[0])


def mysql_newer(workshop: Workshop) -> Image:
    """The newer MariaDB on offer, under the name that the tutorial updates to."""
    versions = _mariadb_versions(workshop)
    if len(versions) > 1:
        return _mariadb(workshop, "mysql:5.7.27", versions[-1])
    print(
        f"images: Debian offers one MariaDB only ({versions[0]}): both mysql images hold it, and in mysql:5.7.27 "
        "`mysql --version` says so",
        file=sys.stderr,
    )
    return _mariadb(workshop, "mysql:5.7.27", versions[0], told_apart=True)


def _mariadb_versions(workshop: Workshop) -> list[str]:
    return workshop.archive.versions("mariadb-server-core", wanted=2)


def _mariadb(workshop: Workshop, name: str, version: str, *, told_apart: bool = False) -> Image:
    """MariaDB of one version; `told_apart` makes `mysql --version` name the image, where another has the same one."""
    cores = ("mariadb-server-core", "mariadb-client-core")
    packages = workshop.beyond_base([f"{core}={version}" for core in cores])
    base, created_s = workshop.base()
    libraries, server, ours = Layer(), Layer(), Layer()
    libraries.add_packages(package for package in packages if package.name not in cores)
    server.add_packages(package for package in packages if package.name in cores)
    user, group = f"mysql:x:{MYSQL_UID}:{MYSQL_UID}::/var/lib/mysql:/bin/false\n", f"mysql:x:{MYSQL_UID}:\n"
    ours.file("etc/passwd", _read(base, "etc/passwd") + user.encode())
    ours.file("etc/group", _read(base, "etc/group") + group.encode())
    for directory in ("var/lib/mysql", "run/mysqld"):
        ours.directory(directory, 0o755, uid=MYSQL_UID, gid=MYSQL_UID)
    ours.directory("docker-entrypoint-initdb.d")
    ours.symlink("usr/sbin/mysqld", "mariadbd")
    ours.symlink("usr/bin/mysql_upgrade", "mariadb-upgrade")
    if told_apart:
        ours.file("usr/bin/mysql", (HERE / "mysql/mysql").read_bytes().replace(b"IMAGE", name.encode()), 0o755)
    ours.file("etc/mysql/my.cnf", (HERE / "mysql/my.cnf").read_bytes())
    ours.file("usr/local/bin/docker-entrypoint.sh", (HERE / "mysql/docker-entrypoint.sh").read_bytes(), 0o755)
    upstream = next(package.upstream for package in packages if package.name == cores[0])
    return Image(
        name=name,
        layers=[base, *map(workshop.finish, (libraries, server, ours))],
        config={
            "Env": [PATH, f"MARIADB_VERSION={version}"],
            "Entrypoint": ["docker-entrypoint.sh"],
            "Cmd": ["mysqld"],
            "ExposedPorts": {"3306/tcp": {}},
            "Volumes": {"/var/lib/mysql": {}},
        },
        created_s=max(created_s, libraries.newest_s, server.newest_s),
        comment=f"MariaDB {version} from Debian",
        architecture=architecture(),
        labels={TITLE: "MariaDB from Debian", VERSION: upstream, "vault.image.note": f"not MySQL: MariaDB {version}"},
    )


def wordpress(workshop: Workshop) -> Image:
    """WordPress on PHP's built-in server; Debian's package without the web server it depends on."""
    packages = workshop.beyond_base(
        ["php-cli", "php-mysql", "php-getid3", "libjs-cropper", "libjs-underscore"],
        alone=["wordpress", "wordpress-theme-twentytwentythree"],
    )
    base, created_s = workshop.base()
    php, site, ours = Layer(), Layer(), Layer()
    php.add_packages(package for package in packages if not package.name.startswith("wordpress"))
    site.add_packages(package for package in packages if package.name.startswith("wordpress"))
    _enable_php(php)
    ours.file("etc/wordpress/config-default.php", (HERE / "wordpress/config-default.php").read_bytes())
    ours.file("usr/local/bin/docker-entrypoint.sh", (HERE / "wordpress/docker-entrypoint.sh").read_bytes(), 0o755)
    version = next(package.upstream for package in packages if package.name == "wordpress")
    return Image(
        name="wordpress:latest",
        layers=[base, *map(workshop.finish, (php, site, ours))],
        config={
            "Env": [PATH, "PHP_CLI_SERVER_WORKERS=3"],
            "Entrypoint": ["docker-entrypoint.sh"],
            "Cmd": ["php-server"],
            "ExposedPorts": {"80/tcp": {}},
            "WorkingDir": "/usr/share/wordpress",
        },
        created_s=max(created_s, php.newest_s, site.newest_s),
        comment=f"WordPress {version} from Debian, on PHP's built-in server",
        architecture=architecture(),
        labels={TITLE: "WordPress from Debian", VERSION: version},
    )


def _enable_php(layer: Layer) -> None:
    """Do what PHP's maintainer scripts do: `php` as a command, and each extension's file in its order."""
    for path in layer.paths():
        if match := re.fullmatch(r"usr/bin/(php\d+\.\d+)", path):
            layer.symlink("usr/bin/php", match[1])
        elif match := re.fullmatch(r"usr/share/php(\d+\.\d+)-\w+/\w+/(\w+)\.ini", path):
            text = layer.read(path)
            priority = re.search(rb"priority=(\d+)", text)
            number = priority[1].decode() if priority else "20"
            layer.file(f"etc/php/{match[1]}/cli/conf.d/{number}-{match[2]}.ini", text)


def _read(layer: Path, path: str) -> bytes:
    """Return what a file of a finished layer holds."""
    with tarfile.open(layer) as tar:
        source = tar.extractfile(path)
        assert source is not None
        return source.read()


RECIPES: dict[str, Callable[[Workshop], Image]] = {
    "busybox.tar": busybox,
    "mysql-5.7.tar": mysql_older,
    "mysql-5.7.27.tar": mysql_newer,
    "wordpress.tar": wordpress,
}
