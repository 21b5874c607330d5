"""Templates in a task's own spec: environment, hostname and mounts, filled in for its node.

Pure.  Called by `vault.agent.runner` before a task is prepared, by `vault.dispatcher` for the name of its host, and by
`vault.store.rules_spec` to see whether it could be.  Secrets and configs cannot be read here: an environment is shown
by `inspect`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from msgspec.structs import replace

from vault.crypto.plaintext import Plaintext
from vault.model.container import Mount
from vault.model.generic import environment
from vault.model.task import Task
from vault.store.template import Budget, Context, TemplateFailed, render

MAX_WORK: Final = 5_000  # For all templates of a spec together; 20 ms, in which nothing else is done.
SAMPLE_NODE: Final = {"id": "nodeid", "hostname": "nodehostname", "architecture": "x86_64", "os": "linux"}


@dataclass(frozen=True, slots=True)
class _Spec:
    """What the templates of one spec may read, and what they may cost."""

    context: Context
    budget: Budget


def expanded(task: Task, node: Mapping[str, str]) -> Task:
    """Return the task with its spec's templates filled in, and told what generic resources it has.

    node: id, hostname, architecture and os.  Raises `TemplateFailed`.
    """
    container = task.spec.container_spec
    spec = _Spec(Context(task=task, node=node), Budget(MAX_WORK))
    filled = replace(
        container,
        env=(*(_variable(entry, spec) for entry in container.env), *environment(task.generic_resources)),
        mounts=tuple(_mount(mount, spec) for mount in container.mounts),
        hostname=_filled(container.hostname, spec, "expanding hostname failed"),
    )
    return task if filled == container else replace(task, spec=replace(task.spec, container_spec=filled))


def expanded_hostname(task: Task, node: Mapping[str, str]) -> str:
    """Return the host name that a task's spec gives it; raises `TemplateFailed`."""
    return _filled(
        task.spec.container_spec.hostname,
        _Spec(Context(task=task, node=node), Budget(MAX_WORK)),
        "expanding hostname failed",
    )


def _variable(entry: str, spec: _Spec) -> str:
    """Return a variable with its value filled in; an error names it, and does not show its value."""
    name, equals, value = entry.partition("=")
    return f"{name}{equals}{_filled(value, spec, f'expanding env failed: expanding env {_quoted(name)}')}"


def _mount(mount: Mount, spec: _Spec) -> Mount:
    failed = "expanding mounts failed: expanding"
    options = mount.volume_options
    if options is not None:
        labels = _map(options.labels, spec, f"{failed} volume labels")
        driver = options.driver_config
        if driver is not None:
            driver = replace(driver, options=_map(driver.options, spec, f"{failed} volume driver config"))
        options = replace(options, labels=labels, driver_config=driver)
    source = _filled(mount.source, spec, f"{failed} mount source {_quoted(mount.source)}")
    target = _filled(mount.target, spec, f"{failed} mount target {_quoted(mount.target)}")
    return replace(mount, source=source, target=target, volume_options=options)


def _map(values: Mapping[str, str], spec: _Spec, failed: str) -> dict[str, str]:
    return {key: _filled(value, spec, f"{failed}: expanding map entry {_quoted(key)}") for key, value in values.items()}


def _filled(text: str, spec: _Spec, failed: str) -> str:
    if "{{" not in text:
        return text
    try:
        return render(Plaintext(text.encode()), spec.context, budget=spec.budget).reveal().decode(errors="replace")
    except TemplateFailed as error:
        raise TemplateFailed(f"{failed}: {error.message}") from None


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
