#!/bin/sh
# Make this checkout runnable: Debian packages (and any named as arguments), the virtual environment, the seccomp profile.
#
# Run by `make setup`, as root, on Debian 12 with nothing but git, make and Python 3.11.  Does only what
# is missing, so a second run takes less than a second.  Starts no daemon and never installs Docker.
set -eu

cd "$(dirname "$0")/.."
readonly PROFILE=/usr/local/lib/vault/seccomp.json
readonly STAMP=.venv/.setup-stamp

# The container runtime and its supervisor, namespaces and links, packet rules and flows, PID 1 for `--init`, mount tools,
# the certificates that pip and registries need, what reads layers compressed with zstd, the engine of swarms of several
# managers, what tests need (the checker of unit files, and the other tool for packet rules, whose rules must not be
# touched), what labs need: disks of their own, clocks that are wrong; and WireGuard in user space, with the tool that checks
# our keys.
readonly PACKAGES="crun conmon iproute2 nftables conntrack tini util-linux mount procps ca-certificates zstd systemd iptables e2fsprogs faketime etcd-server wireguard-go wireguard-tools $*"

say() { printf 'setup: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

# Debian's way to install without starting anything: invoke-rc.d asks this file, and 101 means "do not".
forbid_daemons() {
    [ -e /usr/sbin/policy-rc.d ] && return
    printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
    chmod 755 /usr/sbin/policy-rc.d
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
    trap 'exit 130' INT TERM
}

apt() {
    DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 "$@"
}

# The package of etcd would run one at every boot, on ports that vault uses; one that was there before is left alone.
mask_etcd() {
    installed etcd-server || [ -e /etc/systemd/system/etcd.service ] || {
        mkdir -p /etc/systemd/system
        ln -s /dev/null /etc/systemd/system/etcd.service
        masked=yes
    }
}

# For another init than systemd, the mask says nothing.
disable_etcd() { [ -z "${masked:-}" ] || update-rc.d etcd disable >/dev/null 2>&1 || true; }

# Package lists are fetched only when apt does not know the package, or its file is no longer served.
apt_install() {
    [ "$(id -u)" = 0 ] || fail "these Debian packages are missing: $*; run 'make setup' as root"
    forbid_daemons
    mask_etcd
    say "installing $*"
    apt install --yes --no-install-recommends "$@" >/dev/null 2>&1 || {
        say "fetching package lists first"
        apt update >/dev/null
        apt install --yes --no-install-recommends "$@" >/dev/null
    }
    disable_etcd
}

debian_packages() {
    missing=
    for package in $PACKAGES; do
        installed "$package" || missing="$missing $package"
    done
    # shellcheck disable=SC2086  # A list of names, to be split.
    [ -z "$missing" ] || apt_install $missing
}

python_works() { "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

# The first Python that is new enough and can make a virtual environment; a bare Debian has one that cannot.
find_python() {
    for python in python3 python3.11 python3.12 python3.13 /usr/bin/python3; do
        if command -v "$python" >/dev/null && python_works "$python"; then
            return
        fi
    done
    apt_install python3 python3-venv
    python=/usr/bin/python3
    python_works "$python" || fail "Python 3.11 or newer is needed: install it, then run 'make setup' again"
}

# What the environment was made from; when any of it changes, packages are installed again.
fingerprint() { { cat pyproject.toml deploy/setup.sh; pwd; } | sha256sum | cut -d' ' -f1; }

virtual_environment() {
    [ -x .venv/bin/vaultd ] && [ "$(cat $STAMP 2>/dev/null)" = "$(fingerprint)" ] && return
    find_python
    say "installing Python packages into .venv"
    [ -x .venv/bin/python ] && .venv/bin/python -c 'import pip' 2>/dev/null || "$python" -m venv --clear .venv
    # compat: a path file instead of an import hook, which costs every start of `vault` 10 to 20 ms.
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --config-settings editable_mode=compat --editable '.[dev]'
    fingerprint >$STAMP
}

# The package that ships the profile depends on a whole network stack, so the one file is taken out of it.
seccomp_profile() {
    [ -s /usr/share/containers/seccomp.json ] && return
    [ -s $PROFILE ] && return
    [ "$(id -u)" = 0 ] || fail "the seccomp profile is missing: run 'make setup' as root"
    say "unpacking the seccomp profile"
    scratch=$(mktemp -d)
    (
        cd "$scratch"
        fetch="apt -o APT::Sandbox::User=root download golang-github-containers-common"
        $fetch >/dev/null 2>&1 || { apt update >/dev/null && $fetch >/dev/null; }
        dpkg-deb --extract ./*.deb root
        install -D -m 644 root/usr/share/containers/seccomp.json $PROFILE
    )
    rm -rf "$scratch"
}

# A second run at the same time waits, and then finds all done.
mkdir -p .cache
exec 9>.cache/setup.lock
flock 9
debian_packages
virtual_environment
seccomp_profile
