#!/bin/sh
# Unpack Debian's Docker Engine into .cache/docker-client, beside the `docker` command, for tests that run one beside us.
#
# Run by tests/network/docker_engine.py.  No package is installed, so nothing is started by itself.
set -eu

cd "$(dirname "$0")/.."
readonly INTO=.cache/docker-client

[ -x $INTO/containerd ] && [ -x $INTO/dockerd ] && exit 0
deploy/docker-client.sh
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
(
    cd "$scratch"
    fetch="apt-get -qq -o APT::Sandbox::User=root download containerd runc"
    $fetch >/dev/null 2>&1 || { apt-get -qq update >/dev/null && $fetch >/dev/null; }
    for package in ./*.deb; do dpkg-deb --extract "$package" root; done
)
install -m 755 "$scratch/root/usr/sbin/runc" "$scratch/root/usr/bin/containerd-shim-runc-v2" $INTO
install -m 755 "$scratch/root/usr/bin/containerd" "$INTO/containerd.new"
mv "$INTO/containerd.new" "$INTO/containerd"
