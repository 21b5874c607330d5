"""`docker service` with jobs against vaultd: begun, watched, listed, run anew, scaled; and their templates."""

import json

import pytest

from tests.docker.client import Docker, shape

pytestmark = pytest.mark.machine

SAYS_ITS_PART = ("--env", "PART={{.Task.Slot}}", "busybox", "sh", "-c", "echo part $PART")


def test_a_job_is_watched_until_it_is_complete_and_run_anew(docker: Docker) -> None:
    numbers = ("--mode", "replicated-job", "--replicas", "3", "--max-concurrent", "2")
    said = docker("service", "create", "--name", "job", *numbers, *SAYS_ITS_PART)
    assert said.splitlines()[-1] == "job complete"
    assert "active tasks: 0 out of 2 tasks" in said
    listed = ("service", "ls", "--format", "{{.Name}} {{.Mode}} {{.Replicas}}")
    assert docker(*listed) == "job replicated job 0/2 (3/3 completed)"
    lines = docker("service", "logs", "--raw", "job").splitlines()
    assert sorted(lines) == ["part 0", "part 1", "part 2"]
    (node_id,) = docker("node", "ls", "-q").split()
    tasks = docker("service", "ps", "--format", "{{.Name}} {{.DesiredState}} {{.CurrentState}}", "job")
    done = "Complete Complete AGO"
    assert sorted(shape(tasks).splitlines()) == sorted(
        [f"job.{shape(node_id)} {done}", f"job.1 {done}", f"job.2 {done}"]
    )
    assert docker.node.vault("service", "ps", "--format", "{{.Name}}", "job").out == "job.0\njob.1\njob.2\n"

    assert docker("service", "update", "--force", "job").splitlines()[-1] == "job complete"
    assert docker("service", "scale", "job=1").splitlines()[-1] == "job complete"
    assert docker(*listed) == "job replicated job 0/2 (1/1 completed)"
    (shown,) = json.loads(docker("service", "inspect", "job"))
    assert shown["JobStatus"]["JobIteration"]["Index"] == 2
    assert len(docker("service", "logs", "--raw", "job").splitlines()) == 7


def test_a_job_that_cannot_complete_ends_the_wait_of_vault_with_its_error(docker: Docker) -> None:
    create = ("service", "create", "--name", "lost", "--mode", "global-job", "--restart-condition", "none", "busybox")
    said = docker.node.vault(*create, "sh", "-c", "exit 3", code=1)
    assert "did not complete: task " in said.err
    assert "(task: non-zero exit (3)) and its restart policy does not try again\n" in said.err
    assert docker("service", "ls", "--format", "{{.Mode}} {{.Replicas}}") == "global job 0/0 (0/0 completed)"
    refused = docker.refuses("service", "create", "-d", "--mode", "global-job", "--update-delay", "1s", "busybox")
    assert refused == "update and rollback configuration is not supported for jobs"


def test_templates_are_filled_in_for_each_task(docker: Docker) -> None:
    said = docker(
        *("service", "create", "--name", "tmpl", "--mode", "replicated-job", "--replicas", "2", "--label", "l=front"),
        *("--hostname", "{{.Service.Name}}-{{.Task.Slot}}.{{.Node.Hostname}}"),
        *("--env", 'ROLE={{if eq .Task.Slot "0"}}first{{else}}{{index .Service.Labels "l"}}{{end}}'),
        *("--mount", "type=volume,source=tmpl-{{.Task.Slot}},target=/mnt/{{.Service.Name}}"),
        *("busybox", "sh", "-c", "echo $(hostname) $ROLE $(ls /mnt)"),
    )
    assert said.splitlines()[-1] == "job complete"
    lines = docker("service", "logs", "--raw", "tmpl").splitlines()
    assert sorted(lines) == ["tmpl-0.vm first tmpl", "tmpl-1.vm front tmpl"]
    docker("service", "rm", "tmpl")
    docker.node.until(lambda: docker("ps", "-aq") == "", "its containers are gone")
    assert docker("volume", "rm", "tmpl-0", "tmpl-1").split() == ["tmpl-0", "tmpl-1"]
    refused = docker.refuses("service", "create", "--detach", "--hostname", "{{.Nope}}", "busybox")
    assert "InvalidArgument desc = expanding hostname failed: template: expansion:1:2: " in refused
