"""Which version of the Engine API a request speaks.  Pure.

Called by `vault.api.gateway`, for every request.
"""

from functools import lru_cache

from vault import __version__
from vault.model.errors import BadRequest

ApiVersion = tuple[int, int]
MIN_VERSION: ApiVersion = (1, 40)
MAX_VERSION: ApiVersion = (1, 50)
MIN_TEXT = "{}.{}".format(*MIN_VERSION)
MAX_TEXT = "{}.{}".format(*MAX_VERSION)
SERVER = f"Vault/{__version__} (linux)"


@lru_cache(maxsize=64)
def split_version(prefix: str) -> ApiVersion | None:
    """Return the version that a path's first segment ("v1.41") names; None when it names none.

    Raises `BadRequest` with Docker's text when we do not speak it.
    """
    if not prefix.startswith("v"):
        return None
    numbers = prefix[1:].split(".")
    if len(numbers) != 2 or not all(number.isascii() and number.isdigit() and len(number) < 5 for number in numbers):
        return None
    asked = (int(numbers[0]), int(numbers[1]))
    if asked > MAX_VERSION:
        raise BadRequest(f"client version {prefix[1:]} is too new. Maximum supported API version is {MAX_TEXT}")
    if asked < MIN_VERSION:
        raise BadRequest(
            f"client version {prefix[1:]} is too old. Minimum supported API version is {MIN_TEXT}, "
            "please upgrade your client to a newer version"
        )
    return asked
