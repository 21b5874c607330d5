"""The short form of a mount: `[source:]target[:options]`.

Pure; called by `vault.stack.services`.  A source that begins with `.`, `/` or `~` is a path of the host, any other the
name of a volume.  Windows paths are not known: here `c:/data` is the volume `c`.
"""

from vault.stack.document import BindOptions, ServiceVolume, VolumeOptions

_PROPAGATIONS = frozenset(("private", "rprivate", "shared", "rshared", "slave", "rslave"))


def parse_volume(text: str) -> ServiceVolume:
    """Return the mount that `text` describes.  Raises `ValueError` for what is none; unknown options are ignored."""
    if not text:
        raise ValueError("invalid empty volume spec")
    parts = text.split(":")
    if not all(parts):
        raise ValueError(f"invalid spec: {text}: empty section between colons")
    if len(parts) > 3:
        raise ValueError(f"invalid spec: {text}: too many colons")
    if len(parts) == 1:
        return ServiceVolume(type="volume", target=text)
    options = parts[2].split(",") if len(parts) == 3 else []
    propagation = next((option for option in reversed(options) if option in _PROPAGATIONS), None)
    return ServiceVolume(
        type="bind" if parts[0][0] in "./~" else "volume",
        source=parts[0],
        target=parts[1],
        read_only=[option for option in options if option in ("ro", "rw")][-1:] == ["ro"],
        bind=BindOptions(propagation=propagation) if propagation else None,
        volume=VolumeOptions(nocopy=True) if "nocopy" in options else None,
    )
