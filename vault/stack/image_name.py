"""The name of an image as Docker's client posts it: short, and never without a tag or a digest.

Pure; called by `vault.stack.convert_service`.
"""

from vault.model.image_name import match_image


def tagged(image: str) -> str:
    """Return the short form of an image's name, with `:latest` where it has neither tag nor digest.

    Raises `ValueError` with Docker's words for what is no image name.
    """
    match = match_image(image)
    if match is None:
        lowered = match_image(image.lower())
        if lowered is not None and image.lower() != image:
            name = image[: len(lowered["name"])]
            raise ValueError(f"invalid reference format: repository name ({name}) must be lowercase")
        raise ValueError("invalid reference format")
    name = match["name"]
    for prefix in ("docker.io/", "index.docker.io/"):
        name = name.removeprefix(prefix) if name.startswith(prefix) else name
    if name.startswith("library/") and name.count("/") == 1:
        name = name.removeprefix("library/")
    if match["digest"]:
        return f"{name}{':' + match['tag'] if match['tag'] else ''}@{match['digest']}"
    return f"{name}:{match['tag'] or 'latest'}"
