"""Talks to one repository of a registry: manifests and blobs over HTTPS, with the bearer-token flow.

Nothing a registry sends is believed: sizes are bounded, and the caller checks digests.  Credentials go to the registry
and to the token service it names, never along a redirect.  Blocking; runs in the worker process.
Sources: the OCI distribution specification; Docker's token authentication.
"""

from __future__ import annotations

import base64
import http.client
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import msgspec

from vault.agent.images.content import DOCUMENT_MAX_BYTES
from vault.agent.images.documents import INDEX_TYPES, MANIFEST_TYPES
from vault.agent.images.errors import ManifestUnknown, PullDenied, RegistryFailed
from vault.agent.images.reference import Reference

_TIMEOUT_S: Final = 30.0  # For a connection, and for each read.
_HUB: Final = {"docker.io": "registry-1.docker.io"}
_CHALLENGE: Final = re.compile(r'(\w+)="([^"]*)"')
_TOKEN_MAX_BYTES: Final = 64 << 10
_ERROR_MAX_BYTES: Final = 4 << 10


class _Token(msgspec.Struct, frozen=True, kw_only=True):
    token: str = ""
    access_token: str = ""


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects of blobs to storage servers, but never from https to http."""

    max_redirections = 5

    def redirect_request(  # type: ignore[no-untyped-def]  # As the base class has it.
        self, req, fp, code, msg, headers, newurl
    ) -> urllib.request.Request | None:
        if req.type == "https" and not newurl.lower().startswith("https:"):
            raise RegistryFailed(f"the registry {req.host} redirects to a server without TLS: nothing was fetched")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class Repository:
    """One repository.  Not shared between threads while it still has to authenticate."""

    def __init__(
        self,
        reference: Reference,
        *,
        username: str = "",
        password: str = "",
        identity_token: str = "",
        registry_token: str = "",
        plain_http: bool,
    ) -> None:
        host = _HUB.get(reference.domain, reference.domain)
        self._host = reference.domain
        self._name = reference.repository
        self._path = reference.path
        self._bases = [f"https://{host}/v2/", *([f"http://{host}/v2/"] if plain_http else [])]
        self._basic = base64.b64encode(f"{username}:{password}".encode()).decode() if username else ""
        self._identity_token = identity_token
        self._authorization = f"Bearer {registry_token}" if registry_token else ""
        self._opener = urllib.request.OpenerDirector()
        for handler in (
            urllib.request.ProxyHandler(),
            urllib.request.HTTPHandler(),
            urllib.request.HTTPSHandler(),
            _Redirects(),
            urllib.request.HTTPErrorProcessor(),
            urllib.request.HTTPDefaultErrorHandler(),
        ):
            self._opener.add_handler(handler)

    def manifest(self, which: str) -> tuple[bytes, str]:
        """Return a manifest or an index, and its media type; which: a tag or a digest."""
        accept = ", ".join((*MANIFEST_TYPES, *INDEX_TYPES))
        with self._get(f"manifests/{which}", accept) as answer:
            data = _bounded(answer, DOCUMENT_MAX_BYTES)
            kind = str(answer.headers.get_content_type())
        return data, kind

    @contextmanager
    def blob(self, digest: str) -> Iterator[http.client.HTTPResponse]:
        """Give the stream of a blob."""
        with self._get(f"blobs/{digest}", "*/*") as answer:
            yield answer

    @contextmanager
    def _get(self, what: str, accept: str) -> Iterator[http.client.HTTPResponse]:
        try:
            answer = self._open(what, accept)
        except urllib.error.HTTPError as error:
            raise self._explained(error, what) from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise RegistryFailed(f"the registry {self._host} cannot be reached: {_reason(error)}") from error
        try:
            with answer:
                yield answer
        except (OSError, http.client.HTTPException) as error:
            raise RegistryFailed(f"the connection to registry {self._host} broke: {_reason(error)}") from error

    def _open(self, what: str, accept: str) -> http.client.HTTPResponse:
        """Ask, authenticate if the registry wants it, and ask again; settle for http where that is allowed."""
        asked = False
        while True:
            try:
                return self._ask(what, accept)
            except urllib.error.HTTPError as error:
                challenge = error.headers.get("WWW-Authenticate", "")
                if error.code != http.HTTPStatus.UNAUTHORIZED or asked or not challenge:
                    raise
                error.close()
                asked = True  # A token may have run out since the last request, so each may ask for one.
                self._authorization = self._authorize(challenge)
            except (urllib.error.URLError, http.client.HTTPException, OSError):
                if len(self._bases) == 1:
                    raise
                self._bases.pop(0)

    def _ask(self, what: str, accept: str) -> http.client.HTTPResponse:
        url = f"{self._bases[0]}{self._path}/{what}"
        request = urllib.request.Request(url, headers={"Accept": accept})  # noqa: S310  # Ours, http or https.
        if self._authorization:
            request.add_unredirected_header("Authorization", self._authorization)
        return self._send(request)

    def _send(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        answer: http.client.HTTPResponse | None = self._opener.open(request, timeout=_TIMEOUT_S)
        if answer is None:
            raise RegistryFailed(f"the registry {self._host} names an address that is neither http nor https")
        return answer

    def _authorize(self, challenge: str) -> str:
        """Answer a challenge: with the credentials themselves, or with a token that they (or nothing) buy."""
        scheme, _, rest = challenge.partition(" ")
        if scheme.lower() == "basic":
            if not self._basic:
                raise PullDenied(f"{self._denied()}: the registry asks for a user name and a password")
            return f"Basic {self._basic}"
        fields = dict(_CHALLENGE.findall(rest))
        realm = fields.get("realm", "")
        if scheme.lower() != "bearer" or not realm.startswith(("https://", self._bases[0].partition("//")[0] + "//")):
            raise RegistryFailed(f"the registry {self._host} asks for an authentication that is not supported")
        with self._send(self._token_request(realm, fields.get("service", ""))) as answer:
            data = _bounded(answer, _TOKEN_MAX_BYTES)
        try:
            token = msgspec.json.decode(data, type=_Token)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise RegistryFailed(f"the token service of registry {self._host} answers with no token") from None
        return f"Bearer {token.token or token.access_token}"

    def _token_request(self, realm: str, service: str) -> urllib.request.Request:
        """Return what asks for a token: the way of OAuth 2 with an identity token, else Docker's older one."""
        query = {"service": service, "scope": f"repository:{self._path}:pull"}
        if self._identity_token:
            form = {"grant_type": "refresh_token", "client_id": "vault", "refresh_token": self._identity_token} | query
            return urllib.request.Request(realm, urllib.parse.urlencode(form).encode())  # noqa: S310  # Checked.
        request = urllib.request.Request(f"{realm}?{urllib.parse.urlencode(query)}")  # noqa: S310  # Checked.
        if self._basic:
            request.add_unredirected_header("Authorization", f"Basic {self._basic}")
        return request

    def _explained(self, error: urllib.error.HTTPError, what: str) -> Exception:
        """Return Docker's words for a refusal."""
        match error.code:
            case http.HTTPStatus.NOT_FOUND if b"NAME_UNKNOWN" not in _start_of(error):
                which = what.partition("/")[2]
                shown = f"{self._name}@{which}" if which.startswith("sha256:") else f"{self._name}:{which}"
                return ManifestUnknown(f"manifest for {shown} not found: manifest unknown: manifest unknown")
            case http.HTTPStatus.UNAUTHORIZED | http.HTTPStatus.FORBIDDEN | http.HTTPStatus.NOT_FOUND:
                return PullDenied(f"{self._denied()}: denied: requested access to the resource is denied")
            case http.HTTPStatus.TOO_MANY_REQUESTS:
                return RegistryFailed("toomanyrequests: the registry wants fewer requests: try again later")
        return RegistryFailed(f"the registry {self._host} answers with status {error.code}")

    def _denied(self) -> str:
        return f"pull access denied for {self._name}, repository does not exist or may require 'docker login'"


def _start_of(error: urllib.error.HTTPError) -> bytes:
    try:
        return error.read(_ERROR_MAX_BYTES)
    except (OSError, http.client.HTTPException):
        return b""


def _bounded(answer: http.client.HTTPResponse, most: int) -> bytes:
    data = answer.read(most + 1)
    if len(data) > most:
        raise RegistryFailed("the registry sends a document that is too large")
    return data


def _reason(error: Exception) -> str:
    """Return what went wrong in the words of the system, without addresses."""
    inner = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(inner, OSError) and inner.strerror:
        return inner.strerror
    return str(inner) or type(inner).__name__
