"""Ids for the references of a service, once the secrets and configs they name have one.

Pure; called by the command line before it sends a service, and by `vault.stack.checks`.
"""

from collections.abc import Mapping

import msgspec

from vault.model.service import ServiceSpec


def with_ids(spec: ServiceSpec, secret_ids: Mapping[str, str], config_ids: Mapping[str, str]) -> ServiceSpec:
    """Return a spec whose references carry the ids of the secrets and configs they name.

    secret_ids, config_ids: ids by name in the cluster, those just created among them.
    """
    container = spec.task_template.container_spec
    container = msgspec.structs.replace(
        container,
        secrets=tuple(
            msgspec.structs.replace(reference, secret_id=secret_ids[reference.secret_name])
            for reference in container.secrets
        ),
        configs=tuple(
            msgspec.structs.replace(reference, config_id=config_ids[reference.config_name])
            for reference in container.configs
        ),
    )
    task = msgspec.structs.replace(spec.task_template, container_spec=container)
    return msgspec.structs.replace(spec, task_template=task)
