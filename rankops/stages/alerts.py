"""Firing alerts, from Prometheus or from Alertmanager's webhook, as symptoms of the release that they blame.

Only alerts that were written for it may roll back: they carry the label ``rankops_rollback: "true"``, or their name
is configured. ``model`` names the model, ``environment`` (or the namespace) where it runs, and ``rankops_release`` the
release, which our PodMonitor gives to every series.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

from fsspec.core import url_to_fs
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from rankops.errors import BadInput, RemoteUnavailable
from rankops.files import digest_of
from rankops.overlays.rollback_decision import NAMED, Symptom, one_line
from rankops.store import ArtifactStore

OPT_IN = "rankops_rollback"
"""The label by which a rule says that its alert may roll a release back."""

_INBOX = "alerts"
# Alertmanager says when an alert fired, not when it began: that is earlier by the rule's `for`, in ours 15 min at most.
_LONGEST_FOR = timedelta(minutes=15)
# Alertmanager repeats what still fires (every 4 h unless configured); what it stopped repeating is not known to fire.
_STALE = timedelta(hours=12)


class Alert(BaseModel):
    """One firing alert. ``since`` is when it began to fire, or to be pending where the source knows (with zone)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    labels: dict[str, str]
    summary: str
    since: AwareDatetime
    fingerprint: str
    source: Literal["prometheus", "alertmanager"]

    @property
    def name(self) -> str:
        """The rule's name."""
        return self.labels.get("alertname", "unnamed")


class WebhookAlert(BaseModel):
    """One alert of Alertmanager's webhook, version 4; fields that we do not read are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    status: Literal["firing", "resolved"]
    labels: dict[str, str]
    annotations: dict[str, str] = {}
    starts_at: AwareDatetime = Field(alias="startsAt")
    fingerprint: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$")]


class WebhookPayload(BaseModel):
    """What Alertmanager posts to a webhook receiver."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    version: Literal["4"]
    status: Literal["firing", "resolved"]
    alerts: list[WebhookAlert] = Field(max_length=10_000)


class Inbox:
    """What Alertmanager told last about each alert, kept in the artifact store, where the sensor's pod reads it too."""

    def __init__(self, store: ArtifactStore) -> None:
        self._store = store

    def put(self, payload: WebhookPayload, now: datetime) -> int:
        """Keep the alerts that speak of a model and forget resolved ones; returns how many were kept or forgotten.

        Durable when it returns, and telling the same again changes nothing but the time.
        """
        ours = [alert for alert in payload.alerts if "model" in alert.labels]
        for alert in ours:
            if alert.status == "resolved":
                self._forget(alert)
                continue
            kept = Alert(
                labels=alert.labels,
                summary=_summary(alert.annotations),
                since=alert.starts_at,
                fingerprint=alert.fingerprint,
                source="alertmanager",
            )
            value = {"alert": kept.model_dump(mode="json"), "told": now.isoformat(timespec="seconds")}
            self._store.write_json(_name(alert.fingerprint), value)
        return len(ours)

    def firing(self, now: datetime) -> list[Alert]:
        """Everything that fires, by what was told within the last twelve hours.

        Raises :class:`RemoteUnavailable` where the store does not answer.
        """
        found = []
        for name in self._names():
            value = self._store.read_json(name)
            if value is not None and now - datetime.fromisoformat(value["told"]) < _STALE:
                found.append(Alert.model_validate_json(json.dumps(value["alert"])))
        return found

    def _forget(self, alert: WebhookAlert) -> None:
        standing = self._store.read_json(_name(alert.fingerprint))
        if standing is None or datetime.fromisoformat(standing["alert"]["since"]) > alert.starts_at:
            return  # it fires again since
        filesystem, path = url_to_fs(f"{self._store.root}/{_name(alert.fingerprint)}")
        filesystem.rm(path)

    def _names(self) -> list[str]:
        filesystem, folder = url_to_fs(f"{self._store.root}/{_INBOX}")
        try:
            filesystem.invalidate_cache(folder)
            files = filesystem.ls(folder, detail=False)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise RemoteUnavailable(f"cannot list {self._store.root}/{_INBOX}: {error}", "check the store") from error
        names = sorted(str(file).rsplit("/", 1)[-1] for file in files)
        return [f"{_INBOX}/{name}" for name in names if name.endswith(".json") and not name.startswith(".")]


def read_webhook(body: bytes) -> WebhookPayload:
    """A webhook's body. Raises :class:`BadInput` naming the fields that are missing or wrong."""
    try:
        return WebhookPayload.model_validate_json(body)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'body'}: {e['msg']}" for e in error.errors()[:10])
        raise BadInput(
            f"no Alertmanager webhook of version 4: {wrong}", "point an Alertmanager webhook here"
        ) from error


def prometheus_alerts(url: str, *, token: str | None = None, timeout: float = 10.0) -> list[Alert]:
    """Every alert that fires at the Prometheus at ``url``, by its HTTP API (``/api/v1/alerts``).

    Raises :class:`RemoteUnavailable` where it does not answer as Prometheus does: that is not "no alert".
    """
    import httpx

    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        response = httpx.get(f"{url.rstrip('/')}/api/v1/alerts", headers=headers, timeout=timeout)
        body = response.json()
        found = body["data"]["alerts"] if body["status"] == "success" else None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise RemoteUnavailable(f"{url} does not answer: {error}", "check prometheus_url and the network") from error
    except (ValueError, KeyError, TypeError) as error:
        raise RemoteUnavailable(f"{url} answers HTTP {response.status_code}, not as Prometheus", _CHECK) from error
    if found is None:
        raise RemoteUnavailable(f"{url} answers: {one_line(str(body.get('error')))}", _CHECK)
    return [_of_prometheus(alert) for alert in found if alert["state"] == "firing"]


def symptoms(
    alerts: Iterable[Alert],
    model: str,
    environments: Sequence[str],
    *,
    names: Collection[str] = (),
    namespaces: Mapping[str, str] | None = None,
) -> list[tuple[str, Symptom]]:
    """``(environment, symptom)`` of each alert about ``model`` that may roll back, oldest first.

    ``names`` are rules that may without the label. ``namespaces`` says which environment a namespace is; by default
    ``rankops-<environment>``, as our overlays name them.
    """
    places = {f"rankops-{environment}": environment for environment in environments} | dict(namespaces or {})
    found = []
    for alert in sorted(alerts, key=lambda alert: alert.since):
        labels = alert.labels
        environment = labels.get("environment") or places.get(labels.get("namespace", ""))
        opted_in = labels.get(OPT_IN) == "true" or alert.name in names
        if opted_in and labels.get("model") == model and environment in environments:
            found.append((str(environment), _symptom(alert)))
    return found


def _symptom(alert: Alert) -> Symptom:
    release = alert.labels.get("rankops_release") or alert.labels.get("release") or ""
    named = release if len(release) >= NAMED else None
    early = timedelta(0) if named or alert.source == "prometheus" else _LONGEST_FOR
    return Symptom(
        kind="alert",
        name=alert.name,
        evidence=alert.summary,
        release=named,
        since=alert.since - early,
        source=alert.fingerprint,
    )


_CHECK = "check that prometheus_url is the root of a Prometheus server"


def _of_prometheus(alert: Mapping[str, Any]) -> Alert:
    labels = {str(key): str(value) for key, value in alert["labels"].items()}
    return Alert(
        labels=labels,
        summary=_summary(alert.get("annotations", {})),
        since=alert["activeAt"],
        fingerprint=digest_of(labels)[:16],
        source="prometheus",
    )


def _summary(annotations: Mapping[str, str]) -> str:
    return one_line(annotations.get("summary") or annotations.get("description") or "it fires")


def _name(fingerprint: str) -> str:
    return f"{_INBOX}/{fingerprint}.json"
