"""Stack files: their bytes in, one `Stack` out.

Pure, but for the caller's `read_file`; called by the command line, in parts by `posted`.  The order of checks is
Docker's: YAML of every file, then for each its version, forbidden keys, variables, schema and values; then the merge;
then images.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vault.crypto.plaintext import Plaintext
from vault.stack.document import Document
from vault.stack.errors import NotLoaded, StackError
from vault.stack.ignored import forbidden, warnings_for
from vault.stack.image_name import tagged
from vault.stack.interpolate import interpolate
from vault.stack.merge import merge
from vault.stack.schema import Type, check
from vault.stack.sections import load_file_object, load_network, load_volume
from vault.stack.services import Context, load_service
from vault.stack.values import extensions
from vault.stack.yaml import read_yaml

NEWEST = 13
ReadFile = Callable[[str], bytes]
ReadValue = Callable[[str], Plaintext]


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """The text of one stack file.  Relative paths in all files start at the first one's directory."""

    name: str  # As the user gave it; for errors.
    text: bytes
    directory: str  # Absolute.


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """Loaded and merged stack files."""

    document: Document
    warnings: tuple[str, ...]  # For standard error, each with its newlines inside; printed with one more.
    read_value: ReadValue = field(repr=False)  # Returns what the file of a secret or config holds, in `convert`.


def load(files: Sequence[Source], env: Mapping[str, str], read_file: ReadFile, *, interpolated: bool = True) -> Stack:
    """Return what the stack files say together.

    env: the caller's environment.  interpolated=False leaves variables as they are (`stack config
    --skip-interpolation`).  Raises `StackError` with one sentence, and what `read_file` raises for an env file.
    """
    if not files:
        raise StackError("specify a Compose file (with --compose-file)")
    # A variable may hold bytes that are no text; Docker sends the replacement character, too.
    env = {name: value.encode(errors="surrogateescape").decode(errors="replace") for name, value in env.items()}
    mappings = [read_yaml(file.text) for file in files]
    version = version_of(mappings[0])
    notices: list[str] = []
    documents = []
    for mapping in mappings:
        if version_of(mapping) != version:
            raise StackError(f"version mismatched between two composefiles : {version} and {version_of(mapping)}")
        forbidden(mapping)
        context = Context(
            directory=files[0].directory, env=env, read_file=read_file, minor=minor_of(version), notices=notices
        )
        documents.append(document_of(interpolate(mapping, env) if interpolated else mapping, version, context))
    return Stack(
        document=merge(documents),
        warnings=(*notices, *warnings_for(mappings)),
        read_value=lambda path: Plaintext(read_file(path)),
    )


def check_images(stack: Stack) -> None:
    """Raise `NotLoaded` for a service without an image; `stack config` prints one all the same."""
    for service in stack.document.services.values():
        if not service.image:
            raise NotLoaded(f"invalid image reference for service {service.name}: no image specified")
        try:
            tagged(service.image)
        except ValueError as error:
            raise NotLoaded(f"invalid image reference for service {service.name}: {error}") from None


def version_of(mapping: Mapping[str, Any]) -> str:
    """Return the version a file says it has; without one, and for "3", the newest."""
    version = mapping.get("version")
    text = "" if version is None else str(version)
    return f"3.{NEWEST}" if text in ("", "3") else text


def minor_of(version: str) -> int:
    """Return n of version 3.n.  Raises `StackError` for a version that is none of ours."""
    for minor in range(NEWEST + 1):
        if version == f"3.{minor}":
            return minor
    raise StackError(f"unsupported Compose file version: {version[:64]}")


def document_of(mapping: Mapping[str, Any], version: str, context: Context, definition: Type | None = None) -> Document:
    """Return one file's document.  Raises `NotInSchema` or `NotLoaded`.

    definition: what may stand where; that of stack files unless given.
    """
    from vault.stack.keys import DOCUMENT  # The one large table; not needed to import this module.

    check(mapping, definition or DOCUMENT, context.minor)

    def section(name: str) -> dict[str, Any]:
        items: dict[str, Any] = mapping.get(name, {})
        return items

    return Document(
        version=version,
        services={name: load_service(name, value, context) for name, value in section("services").items()},
        networks={name: load_network(name, value, context) for name, value in section("networks").items()},
        volumes={name: load_volume(name, value, context) for name, value in section("volumes").items()},
        secrets={name: load_file_object("secret", name, value, context) for name, value in section("secrets").items()},
        configs={name: load_file_object("config", name, value, context) for name, value in section("configs").items()},
        extensions=extensions(mapping),
    )
