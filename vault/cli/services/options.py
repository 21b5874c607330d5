"""The options of `service create` and `service update`, declared once."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from vault.cli.command import Kind, option, switch
from vault.cli.values import container, kinds
from vault.cli.values.mounts import mount
from vault.cli.values.placement import generic_word, preference
from vault.cli.values.ports import publish
from vault.cli.values.references import config_reference, secret_reference

Function = TypeVar("Function", bound=Callable[..., Any])
Declaration = Callable[[Any], Any]

SECRET = Kind("secret", secret_reference)
CONFIG = Kind("config", config_reference)
MOUNT = Kind("mount", mount)
PORT = Kind("port", publish)
NETWORK = Kind("network", container.network)
ULIMIT = Kind("ulimit", container.ulimit)
ENV = Kind("list", container.variable)
HOST = Kind("list", container.extra_host)
DNS = Kind("list", container.dns_server)
DOMAIN = Kind("list", container.dns_search)
PREFERENCE = Kind("pref", preference)
GENERIC = Kind("list", generic_word)
_ORDER = '("start-first", "stop-first")'


def apply(declarations: Sequence[Declaration]) -> Callable[[Function], Function]:
    """Return one decorator for many options."""

    def decorate(function: Function) -> Function:
        for declare in reversed(declarations):
            function = declare(function)
        return function

    return decorate


def common(*, defaults: bool) -> list[Declaration]:
    """Return the options of both commands.  With `defaults`, help names the value of an option that is not given."""

    def shown(text: str) -> str:
        return text if defaults else ""

    return [
        option("--cap-add", kind=kinds.LIST, many=True, text="Add Linux capabilities"),
        option("--cap-drop", kind=kinds.LIST, many=True, text="Drop Linux capabilities"),
        option(
            "--credential-spec",
            kind=kinds.CREDENTIAL_SPEC,
            text="Credential spec for managed service account (Windows only: all nodes run Linux)",
        ),
        switch("-d", "--detach", text="Exit immediately instead of waiting for the service to converge"),
        option("--endpoint-mode", shown=shown('"vip"'), text="Endpoint mode (vip or dnsrr)"),
        option("--entrypoint", kind=kinds.COMMAND, text="Overwrite the default ENTRYPOINT of the image"),
        *_health(),
        option("--hostname", text="Container hostname"),
        switch(
            "--init",
            default=None,
            text="Use an init inside each service container to forward signals and reap processes",
        ),
        option("--isolation", text='Service container isolation mode (only "default": all nodes run Linux)'),
        option("--limit-cpu", kind=kinds.CPUS, text="Limit CPUs"),
        option("--limit-memory", kind=kinds.BYTES, text="Limit Memory"),
        option("--limit-pids", kind=kinds.INT, text="Limit maximum number of processes (default 0 = unlimited)"),
        option("--log-driver", text="Logging driver for service"),
        option("--log-opt", kind=kinds.LIST, many=True, text="Logging driver options"),
        option(
            "--max-concurrent",
            kind=kinds.UINT,
            text="Number of job tasks to run concurrently (default equal to --replicas)",
        ),
        option("--memory-swap", kind=kinds.SWAP, text="Swap Bytes (-1 for unlimited)"),
        option(
            "--memory-swappiness",
            kind=kinds.INT,
            text="Tune memory swappiness (0-100), -1 to reset to default; for nodes with cgroup v1",
        ),
        switch(
            "--no-resolve-image",
            text="Accepted for compatibility: the nodes find images, and a local one is used as it is",
        ),
        option("--oom-score-adj", kind=kinds.INT, text="Tune host's OOM preferences (-1000 to 1000)"),
        switch("-q", "--quiet", text="Suppress progress output"),
        switch("--read-only", default=None, text="Mount the container's root filesystem as read only"),
        option("--replicas", kind=kinds.UINT, text="Number of tasks"),
        option(
            "--replicas-max-per-node",
            kind=kinds.UINT,
            text="Maximum number of tasks per node (default 0 = unlimited)",
        ),
        option("--reserve-cpu", kind=kinds.CPUS, text="Reserve CPUs"),
        option("--reserve-memory", kind=kinds.BYTES, text="Reserve Memory"),
        *_restart(shown),
        *_exchange("update", "update", '("pause", "continue", "rollback")', shown),
        *_exchange("rollback", "rollback", '("pause", "continue")', shown),
        option(
            "--stop-grace-period",
            kind=kinds.DURATION,
            shown=shown("10s"),
            text="Time to wait before force killing a container (ns|us|ms|s|m|h)",
        ),
        option("--stop-signal", text="Signal to stop the container"),
        switch("-t", "--tty", default=None, text="Allocate a pseudo-TTY"),
        option("-u", "--user", text="Username or UID (format: <name|uid>[:<group|gid>])"),
        option("-w", "--workdir", text="Working directory inside the container"),
        switch("--with-registry-auth", text="Send registry authentication details to swarm agents"),
    ]


def _health() -> list[Declaration]:
    return [
        option("--health-cmd", text="Command to run to check health"),
        option("--health-interval", kind=kinds.TIME, text="Time between running the check (ms|s|m|h)"),
        option("--health-retries", kind=kinds.INT, text="Consecutive failures needed to report unhealthy"),
        option(
            "--health-start-interval",
            kind=kinds.TIME,
            text="Time between running the check during the start period (ms|s|m|h)",
        ),
        option(
            "--health-start-period",
            kind=kinds.TIME,
            text="Start period for the container to initialize before counting retries towards unstable (ms|s|m|h)",
        ),
        option("--health-timeout", kind=kinds.TIME, text="Maximum time to allow one check to run (ms|s|m|h)"),
        switch("--no-healthcheck", text="Disable any container-specified HEALTHCHECK"),
    ]


def _restart(shown: Callable[[str], str]) -> list[Declaration]:
    return [
        option(
            "--restart-condition",
            shown=shown('"any"'),
            text='Restart when condition is met ("none", "on-failure", "any")',
        ),
        option(
            "--restart-delay",
            kind=kinds.DURATION,
            shown=shown("5s"),
            text="Delay between restart attempts (ns|us|ms|s|m|h)",
        ),
        option("--restart-max-attempts", kind=kinds.UINT, text="Maximum number of restarts before giving up"),
        option(
            "--restart-window", kind=kinds.DURATION, text="Window used to evaluate the restart policy (ns|us|ms|s|m|h)"
        ),
    ]


def _exchange(prefix: str, verb: str, actions: str, shown: Callable[[str], str]) -> list[Declaration]:
    past = "updated" if verb == "update" else "rolled back"
    one = "update" if verb == "update" else "task rollback"
    return [
        option(
            f"--{prefix}-deadline",
            kind=kinds.DURATION,
            text=f"Time {'an update' if verb == 'update' else 'a rollback'} may take in all before it counts as failed "
            "(ns|us|ms|s|m|h) (default 0s = no limit)",
        ),
        option(
            f"--{prefix}-delay",
            kind=kinds.DURATION,
            shown=shown("0s"),
            text=f"Delay between {'updates' if verb == 'update' else 'task rollbacks'} (ns|us|ms|s|m|h)",
        ),
        option(f"--{prefix}-failure-action", shown=shown('"pause"'), text=f"Action on {verb} failure {actions}"),
        option(
            f"--{prefix}-max-failure-ratio",
            kind=kinds.FLOAT,
            shown=shown("0"),
            text=f"Failure rate to tolerate during {'an update' if verb == 'update' else 'a rollback'}",
        ),
        option(
            f"--{prefix}-monitor",
            kind=kinds.DURATION,
            shown=shown("5s"),
            text=f"Duration after each {'task update' if verb == 'update' else one} to monitor for failure "
            "(ns|us|ms|s|m|h)",
        ),
        option(f"--{prefix}-order", shown=shown('"stop-first"'), text=f"{verb.title()} order {_ORDER}"),
        option(
            f"--{prefix}-parallelism",
            kind=kinds.UINT,
            shown=shown("1"),
            text=f"Maximum number of tasks {past} simultaneously (0 to {'update' if verb == 'update' else 'roll back'} "
            "all at once)",
        ),
    ]


CREATE: list[Declaration] = [
    *common(defaults=True),
    option("--config", "configs", kind=CONFIG, many=True, text="Specify configurations to expose to the service"),
    option("--constraint", kind=kinds.LIST, many=True, text="Placement constraints"),
    option("--container-label", kind=kinds.LABEL, many=True, text="Container labels"),
    option("--dns", kind=DNS, many=True, text="Set custom DNS servers"),
    option("--dns-option", kind=kinds.LIST, many=True, text="Set DNS options"),
    option("--dns-search", kind=DOMAIN, many=True, text="Set custom DNS search domains"),
    option("-e", "--env", kind=ENV, many=True, text="Set environment variables"),
    option("--env-file", kind=kinds.LIST, many=True, text="Read in a file of environment variables"),
    option("--generic-resource", kind=GENERIC, many=True, text="User defined resources"),
    option("--group", kind=kinds.LIST, many=True, text="Set one or more supplementary user groups for the container"),
    option("--host", kind=HOST, many=True, text="Set one or more custom host-to-IP mappings (host:ip)"),
    option("-l", "--label", kind=kinds.LABEL, many=True, text="Service labels"),
    option(
        "--mode",
        default="replicated",
        shown='"replicated"',
        text='Service mode ("replicated", "global", "replicated-job", "global-job")',
    ),
    option("--mount", kind=MOUNT, many=True, text="Attach a filesystem mount to the service"),
    option("--name", text="Service name"),
    option("--network", kind=NETWORK, many=True, text="Network attachments"),
    option("--placement-pref", kind=PREFERENCE, many=True, text="Add a placement preference"),
    option("-p", "--publish", kind=PORT, many=True, text="Publish a port as a node port"),
    option("--secret", "secrets", kind=SECRET, many=True, text="Specify secrets to expose to the service"),
    option("--sysctl", kind=kinds.LIST, many=True, text="Sysctl options"),
    option("--ulimit", kind=ULIMIT, many=True, text="Ulimit options"),
]

UPDATE: list[Declaration] = [
    *common(defaults=False),
    option("--args", kind=kinds.COMMAND, text="Service command args"),
    option("--config-add", kind=CONFIG, many=True, text="Add or update a config file on a service"),
    option("--config-rm", kind=kinds.LIST, many=True, text="Remove a configuration file"),
    option("--constraint-add", kind=kinds.LIST, many=True, text="Add or update a placement constraint"),
    option("--constraint-rm", kind=kinds.LIST, many=True, text="Remove a constraint"),
    option("--container-label-add", kind=kinds.LABEL, many=True, text="Add or update a container label"),
    option("--container-label-rm", kind=kinds.LIST, many=True, text="Remove a container label by its key"),
    option("--dns-add", kind=DNS, many=True, text="Add or update a custom DNS server"),
    option("--dns-option-add", kind=kinds.LIST, many=True, text="Add or update a DNS option"),
    option("--dns-option-rm", kind=kinds.LIST, many=True, text="Remove a DNS option"),
    option("--dns-rm", kind=kinds.LIST, many=True, text="Remove a custom DNS server"),
    option("--dns-search-add", kind=DOMAIN, many=True, text="Add or update a custom DNS search domain"),
    option("--dns-search-rm", kind=kinds.LIST, many=True, text="Remove a DNS search domain"),
    option("--env-add", kind=ENV, many=True, text="Add or update an environment variable"),
    option("--env-rm", kind=kinds.LIST, many=True, text="Remove an environment variable"),
    switch("--force", text="Force update even if no changes require it"),
    option("--generic-resource-add", kind=GENERIC, many=True, text="Add a Generic resource"),
    option("--generic-resource-rm", kind=kinds.LIST, many=True, text="Remove a Generic resource"),
    option(
        "--group-add", kind=kinds.LIST, many=True, text="Add an additional supplementary user group to the container"
    ),
    option(
        "--group-rm",
        kind=kinds.LIST,
        many=True,
        text="Remove a previously added supplementary user group from the container",
    ),
    option("--host-add", kind=HOST, many=True, text='Add a custom host-to-IP mapping ("host:ip")'),
    option("--host-rm", kind=kinds.LIST, many=True, text='Remove a custom host-to-IP mapping ("host:ip")'),
    option("--image", text="Service image tag"),
    option("--label-add", kind=kinds.LABEL, many=True, text="Add or update a service label"),
    option("--label-rm", kind=kinds.LIST, many=True, text="Remove a label by its key"),
    option("--mount-add", kind=MOUNT, many=True, text="Add or update a mount on a service"),
    option("--mount-rm", kind=kinds.LIST, many=True, text="Remove a mount by its target path"),
    option("--network-add", kind=NETWORK, many=True, text="Add a network"),
    option("--network-rm", kind=kinds.LIST, many=True, text="Remove a network"),
    option("--placement-pref-add", kind=PREFERENCE, many=True, text="Add a placement preference"),
    option("--placement-pref-rm", kind=PREFERENCE, many=True, text="Remove a placement preference"),
    option("--publish-add", kind=PORT, many=True, text="Add or update a published port"),
    option("--publish-rm", kind=PORT, many=True, text="Remove a published port by its target port"),
    switch("--rebalance", text="Move as few tasks as it takes to spread the service evenly again"),
    switch("--rollback", text="Rollback to previous specification"),
    option("--secret-add", kind=SECRET, many=True, text="Add or update a secret on a service"),
    option("--secret-rm", kind=kinds.LIST, many=True, text="Remove a secret"),
    option("--sysctl-add", kind=kinds.LIST, many=True, text="Add or update a Sysctl option"),
    option("--sysctl-rm", kind=kinds.LIST, many=True, text="Remove a Sysctl option"),
    option("--ulimit-add", kind=ULIMIT, many=True, text="Add or update a ulimit option"),
    option("--ulimit-rm", kind=kinds.LIST, many=True, text="Remove a ulimit option"),
]
