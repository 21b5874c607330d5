#!/bin/sh
# Unpack Debian's `docker` command into .cache/docker-client, for tests that point it at our socket.
#
# Run by tests/api/test_docker_client.py and tests/docker/conftest.py.  The package is not installed, so no Docker daemon
# runs; its programs are kept beside the command, for docker-engine.sh.
set -eu

cd "$(dirname "$0")/.."
readonly CLIENT=.cache/docker-client/docker

[ -x $CLIENT ] && [ -x "${CLIENT}d" ] && exit 0
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
(
    cd "$scratch"
    fetch="apt-get -qq -o APT::Sandbox::User=root download docker.io"
    $fetch >/dev/null 2>&1 || { apt-get -qq update >/dev/null && $fetch >/dev/null; }
    dpkg-deb --extract ./*.deb root
)
install -D -m 755 "$scratch/root/usr/bin/docker" "$CLIENT.new"
install -m 755 "$(find "$scratch/root/usr" -name docker-proxy -type f)" "$scratch/root/usr/sbin/dockerd" .cache/docker-client
mv "$CLIENT.new" $CLIENT
