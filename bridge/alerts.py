"""What Prometheus' Alertmanager posts to a webhook, as far as the guard minds it.

The payload is that of its webhook receiver, version 4: ``{"version": "4", "status": "firing", "alerts":
[{"status", "labels": {"alertname"}, "startsAt"}]}`` (Prometheus documentation, alerting, configuration).
"""

from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime

from bridge.changes import FlagState
from bridge.errors import AlertsMalformed
from bridge.rollout import NAME_LENGTH

ALERTS_LIMIT = 1000


def firing(payload: object, named: Collection[str], state: FlagState) -> list[str]:
    """Return the names of the alerts that fire and are among ``named``, each once.

    One that began before a person last changed the flag is old news: who changed it knew. Raises
    `AlertsMalformed`.
    """
    since = _parsed(state.history[0].when) if state.history else None
    names = {
        name
        for name, began in _firing(payload)
        if name in named and not (since is not None and began is not None and began < since)
    }
    return sorted(names)


def _firing(payload: object) -> Iterator[tuple[str, datetime | None]]:
    alerts = payload.get("alerts") if isinstance(payload, Mapping) else None
    if not isinstance(alerts, list) or len(alerts) > ALERTS_LIMIT:
        raise AlertsMalformed("unable to read the alerts; send what Alertmanager's webhook sends")
    for alert in alerts:
        labels = alert.get("labels") if isinstance(alert, Mapping) else None
        name = labels.get("alertname") if isinstance(labels, Mapping) else None
        if not isinstance(name, str) or len(name) > NAME_LENGTH:
            raise AlertsMalformed("unable to read the alerts; one has no label alertname")
        if alert.get("status") == "firing":
            yield name, _parsed(alert.get("startsAt"))


def _parsed(when: object) -> datetime | None:
    """Return a time with its zone (RFC 3339), None where none is said."""
    try:
        said = datetime.fromisoformat(when) if isinstance(when, str) else None
    except ValueError:
        return None
    return said.replace(tzinfo=said.tzinfo or UTC) if said else None
