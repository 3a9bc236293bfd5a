"""The Kubernetes API server, read only: one GET, and errors that say what to do.

Credentials (kubeconfig, in-cluster token, exec plugins, client certificates) are the official client's business; they
never enter a URL, a message or a log of ours.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlencode

from rankops.errors import BadInput, RemoteUnavailable
from rankops.overlays.objects import dig
from rankops.overlays.sync.state import Transient

# 410: the server forgot the version that we read on from; 429: it is busy. Both are cured by asking again.
_TRANSIENT = frozenset({408, 410, 425, 429, 500, 502, 503, 504})
_SECONDS = 15.0


class NotFound(BadInput):
    """The API server knows no such object, or not even its kind."""


class KubernetesApi:
    """GET requests to one API server."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.host = str(client.configuration.host)

    @classmethod
    def connect(cls, kubeconfig: Path | None = None, context: str | None = None) -> Self:
        """By ``kubeconfig`` (and its ``context``), or with None by the pod's own service account.

        Raises :class:`BadInput` where there is no usable configuration. Nothing is sent yet.
        """
        from kubernetes import client, config

        try:
            if kubeconfig is not None:
                return cls(config.new_client_from_config(str(kubeconfig), context=context, persist_config=False))
            settings = client.Configuration()
            config.load_incluster_config(client_configuration=settings)
        except (config.ConfigException, OSError) as error:
            where = f"kubeconfig {kubeconfig}" if kubeconfig else "the service account of this pod"
            raise BadInput(
                f"{where} gives no access to a cluster: {error}",
                "set kubeconfig (and context), or run inside the cluster with a service account token",
            ) from error
        return cls(client.ApiClient(settings))

    def get(self, path: str, what: str, query: Mapping[str, str] | None = None) -> dict[str, Any]:
        """The JSON object at ``path``; ``what`` is what errors call it.

        Raises :class:`NotFound`, :class:`RemoteUnavailable` (we are refused) and :class:`Transient` (no answer now).
        """
        status, _, body = self.send("GET", path, query=query)
        if status != 200:
            raise _explained(status, body, what, self.host)
        try:
            found: dict[str, Any] = json.loads(body)
        except ValueError as error:
            raise Transient(f"{self.host} answered {what} with something that is no JSON") from error
        return found

    def log_tail(self, namespace: str, pod: str, container: str, *, previous: bool, lines: int = 8) -> str:
        """The last lines that a container wrote, or nothing where they are gone or not ours to read."""
        query = {"container": container, "previous": str(previous).lower(), "tailLines": str(lines)}
        try:
            status, _, body = self.send("GET", f"/api/v1/namespaces/{namespace}/pods/{pod}/log", query=query)
        except RemoteUnavailable:
            return ""
        return body.decode(errors="replace").strip() if status == 200 else ""

    def send(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of one authenticated request. Raises :class:`Transient` where nothing answers."""
        from urllib3.exceptions import HTTPError

        sent = {"Accept": "application/json", **(headers or {})}
        self._client.update_params_for_auth(sent, [], ["BearerToken"])
        url = f"{self.host}{path}" + (f"?{urlencode(query)}" if query else "")
        try:
            answer = self._client.rest_client.pool_manager.request(
                method, url, body=body, headers=sent, timeout=_SECONDS, retries=False, redirect=False
            )
        except HTTPError as error:
            raise Transient(
                f"the API server {self.host} does not answer: {type(error).__name__}: {error}",
                "check the address in the kubeconfig, the network and the VPN",
            ) from error
        return answer.status, {k.lower(): v for k, v in answer.headers.items()}, answer.data


def _explained(status: int, body: bytes, what: str, host: str) -> BadInput | RemoteUnavailable:
    """The error for an answer that is not the object."""
    said = _message(body)
    if status == 404 and "page not found" in said:
        return NotFound(
            f"the cluster at {host} does not know the kind of {what}",
            "install the controller whose kind this is, or correct `controller`",
        )
    if status == 404:
        return NotFound(f"there is no {what} in the cluster at {host}", "create it, or correct its name pattern")
    if status == 401:
        return RemoteUnavailable(
            f"the API server {host} does not accept our credentials (401)",
            "renew the token or client certificate in the kubeconfig",
        )
    if status == 403:
        return RemoteUnavailable(
            f"RBAC forbids reading {what} (403): {said}",
            "bind a Role with the verbs get and list on that resource to this identity; nothing else is needed",
        )
    if status in _TRANSIENT:
        return Transient(f"the API server {host} answered {status} for {what}: {said}", "it may be busy or restarting")
    return RemoteUnavailable(f"the API server {host} answered {status} for {what}: {said}", "read its log")


def _message(body: bytes) -> str:
    """The message of a ``Status`` object, else the text."""
    text = body.decode(errors="replace").strip()
    try:
        return str(dig(json.loads(text), "message") or text)[:600]
    except ValueError:
        return text[:600]
