"""`vault stack config` beside a newer `docker stack config`, which Debian's client does not have yet."""

from pathlib import Path

import pytest

from tests.docker.client import Docker
from tests.e2e.node import HERE

pytestmark = pytest.mark.machine

MIXED = """\
version: "3.8"
x-common: &common {image: busybox, init: true}
services:
  a:
    <<: *common
    ports: ["8080:80", "9000-9001:9000-9001/udp", {target: 53, published: 5353, protocol: udp, mode: host}]
    environment: [ONE=1, "TWO=${TWO:-2}", THREE]
    volumes: ["data:/data:ro", "./here:/there", {type: tmpfs, target: /t, tmpfs: {size: 1000000}}]
    command: echo "two words" 'and $$one'
    secrets: [{source: s, target: t, mode: 0400, uid: "1"}]
    networks: {back: {aliases: [x]}}
    deploy:
      resources: {limits: {cpus: "0.50", memory: 50M}, reservations: {memory: 20M}}
      placement: {constraints: [node.role == manager]}
      restart_policy: {condition: on-failure, delay: 5s, max_attempts: 3, window: 120s}
    ulimits: {nofile: {soft: 10, hard: 20}, nproc: 5}
    stop_grace_period: 1m30s
volumes: {data: {}}
networks: {back: {driver: overlay, ipam: {config: [{subnet: 10.9.0.0/24}]}}}
secrets: {s: {external: true, name: other}}
"""


@pytest.mark.parametrize(
    "file", sorted((HERE / "deploy" / "examples").rglob("*.yml")), ids=lambda file: f"{file.parent.name}-{file.stem}"
)
def test_the_examples_read_the_same(docker: Docker, file: Path) -> None:
    ours = docker.node.vault("stack", "config", "-c", str(file)).out
    assert docker.is_old or docker("stack", "config", "-c", str(file)) == ours.rstrip("\n")


def test_a_file_with_many_short_forms_reads_the_same(docker: Docker) -> None:
    file = docker.home / "mixed.yml"
    file.write_text(MIXED)
    ours = docker.node.vault("stack", "config", "-c", str(file)).out
    assert docker.is_old or docker("stack", "config", "-c", str(file)) == ours.rstrip("\n")
