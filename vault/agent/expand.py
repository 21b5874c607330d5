"""Templates in a task's own spec: environment, hostname and mounts, filled in for its node before it is prepared.

Pure.  Called by `vault.agent.runner`.  Secrets and configs cannot be read here: an environment is shown by `inspect`.
"""

from collections.abc import Mapping

from msgspec.structs import replace

from vault.agent.template import Context, render
from vault.crypto import Plaintext
from vault.model.container import Mount
from vault.model.generic import environment
from vault.model.task import Task


def expanded(task: Task, node: Mapping[str, str]) -> Task:
    """Return the task with its spec's templates filled in, and told what generic resources it has.

    Raises `TemplateFailed`.
    """
    container = task.spec.container_spec
    context = Context(task=task, node=node, secrets={}, configs={})
    filled = replace(
        container,
        env=(*(_filled(entry, context) for entry in container.env), *environment(task.generic_resources)),
        hostname=_filled(container.hostname, context),
        mounts=tuple(_mount(mount, context) for mount in container.mounts),
    )
    return task if filled == container else replace(task, spec=replace(task.spec, container_spec=filled))


def _mount(mount: Mount, context: Context) -> Mount:
    options = mount.volume_options
    if options is not None:
        labels = {key: _filled(value, context) for key, value in options.labels.items()}
        driver = options.driver_config
        if driver is not None:
            driver = replace(driver, options={key: _filled(value, context) for key, value in driver.options.items()})
        options = replace(options, labels=labels, driver_config=driver)
    source, target = _filled(mount.source, context), _filled(mount.target, context)
    return replace(mount, source=source, target=target, volume_options=options)


def _filled(text: str, context: Context) -> str:
    if "{{" not in text:
        return text
    return render(Plaintext(text.encode()), context).reveal().decode(errors="replace")
