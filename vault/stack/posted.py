"""A stack on its way to the manager that leads: the merged, interpolated document as JSON, and the bytes of its files.

Pure.  `body_of` is called by the command line, `load_posted` by `vault.api`, which also serves those who post a compose
document of their own.  What the document says is checked as a stack file is; nothing in it is a variable, no file of
the manager's is ever read, and paths of hosts are absolute.
"""

from collections.abc import Mapping
from dataclasses import replace as with_fields
from functools import cache
from typing import Any, Final

from msgspec.structs import replace

from vault.crypto.plaintext import Plaintext
from vault.stack.deadlines import DEADLINES
from vault.stack.document import Document, Service
from vault.stack.errors import NotLoaded, StackError
from vault.stack.ignored import forbidden, warnings_for
from vault.stack.load import NEWEST, Stack, document_of, minor_of, version_of
from vault.stack.schema import Items, Keys, OneOf, Plain, Type
from vault.stack.security_opt import profile_file
from vault.stack.services import Context
from vault.stack.tree import tree

HERE: Final = "."  # Where relative paths start: nowhere, so that they stay relative.
CLUSTER_SPEC: Final = "x-cluster-spec"  # An extension that is refused by name.


def body_of(document: Document) -> dict[str, Any]:
    """Return a document as it is posted: in the newest version's form, without env files and what means nothing."""
    services = {
        name: replace(
            one,
            env_file=(),
            extensions={key: one.extensions[key] for key in DEADLINES & one.extensions.keys()},
            extra_hosts=tuple(map(_extra_host, one.extra_hosts)),
        )
        for name, one in document.services.items()
    }
    volumes = {
        name: replace(one, extensions={CLUSTER_SPEC: {}} if CLUSTER_SPEC in one.extensions else {})
        for name, one in document.volumes.items()
    }
    plain = replace(
        document,
        version=f"3.{NEWEST}",
        services=services,
        volumes=volumes,
        networks={name: replace(one, extensions={}) for name, one in document.networks.items()},
        secrets={name: replace(one, extensions={}) for name, one in document.secrets.items()},
        configs={name: replace(one, extensions={}) for name, one in document.configs.items()},
        extensions={},
    )
    body: dict[str, Any] = tree(plain, ordered=False)
    return body


def _extra_host(line: str) -> str:
    """Return `host:address` so that it is read as it was: of `=` and `:` in a line, `=` comes before the address."""
    host, _, address = line.partition(":")
    return f"{host}={address}" if "=" in address else line


def files_of(document: Document) -> tuple[str, ...]:
    """Return the paths of the files that go with a document, once each, in its order."""
    objects = (*document.secrets.values(), *document.configs.values())
    options = (option for service in document.services.values() for option in service.security_opt)
    files = (*(one.file for one in objects if not one.external), *map(profile_file, options))
    return tuple(dict.fromkeys(file for file in files if file))


def load_posted(document: Mapping[str, Any], files: Mapping[str, Plaintext]) -> Stack:
    """Return the stack that a posted document describes.

    document: as `json` decodes it.  files: what the document's `file:` keys name, by the text of the key.
    Raises `StackError` with one sentence.
    """
    version = version_of(document)
    forbidden(document)
    notices: list[str] = []
    context = Context(directory=HERE, env={}, read_file=_no_env_file, minor=minor_of(version), notices=notices)
    held = {context.path(name): value for name, value in files.items()}
    loaded = document_of(document, version, context, _definition())
    for service in loaded.services.values():
        _check_paths(service)

    def read_value(path: str) -> Plaintext:
        if path not in held:
            raise StackError(f"{path} is named in the document, and its bytes are not in `files`")
        return held[path]

    return Stack(document=loaded, warnings=(*notices, *warnings_for([document])), read_value=read_value)


def _no_env_file(path: str) -> bytes:
    raise NotLoaded(f"env_file {path}: a posted document has the variables themselves, under `environment`")


def _check_paths(service: Service) -> None:
    for volume in service.volumes:
        if volume.type == "bind" and not volume.source.startswith("/"):
            raise NotLoaded(
                f"services.{service.name}.volumes: {volume.source} is relative: a posted document names the host's "
                "paths in full"
            )


@cache
def _definition() -> Type:
    """Return what may stand where: as in a stack file, but that merging may have made lists with an item twice."""
    from vault.stack.keys import DOCUMENT  # As in `load`.

    return _merged(DOCUMENT)


def _merged(wanted: Type) -> Type:
    match wanted:
        case Plain():
            return wanted
        case OneOf():
            return OneOf(alternatives=tuple(map(_merged, wanted.alternatives)))
        case Items():
            return Items(item=_merged(wanted.item))
        case Keys():
            return _merged_keys(wanted)


def _merged_keys(wanted: Keys) -> Keys:
    return with_fields(
        wanted,
        keys=tuple(with_fields(key, type=_merged(key.type)) for key in wanted.keys),
        others=None if wanted.others is None else _merged(wanted.others),
        pattern=r"(?s).*" if wanted.pattern == r"(?s).+" else wanted.pattern,  # `=x` in a list is an empty key.
    )
