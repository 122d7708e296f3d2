"""Alertmanager's payload: which of it pulls the flag."""

import pytest
from guard_turns import state_of

from bridge.alerts import ALERTS_LIMIT, firing
from bridge.changes import FlagState
from bridge.errors import AlertsMalformed
from bridge.rollout import Rollout

NEVER = FlagState(Rollout("on"))
NAMED = ("Slow", "Wrong")


def payload(*alerts, status="firing"):
    return {"version": "4", "groupKey": "{}", "status": status, "receiver": "bridge", "alerts": list(alerts)}


def alert(name="Slow", status="firing", began="2026-03-01T10:00:00.123456789Z"):
    return {"status": status, "labels": {"alertname": name, "severity": "page"}, "startsAt": began}


@pytest.mark.parametrize(
    ("alerts", "names"),
    [
        ([], []),
        ([alert()], ["Slow"]),
        ([alert(), alert("Wrong"), alert()], ["Slow", "Wrong"]),
        ([alert("Other")], []),
        ([alert(status="resolved")], []),
        ([alert(status="resolved"), alert("Wrong")], ["Wrong"]),
        ([{"status": "firing", "labels": {"alertname": "Slow"}}], ["Slow"]),
        ([alert(began="soon")], ["Slow"]),
    ],
    ids=str,
)
def test_what_fires_and_is_named_pulls(alerts, names):
    assert firing(payload(*alerts), NAMED, NEVER) == names


def test_what_fired_before_the_flag_was_last_changed_is_old_news():
    at_ten = state_of("on", when="2026-03-01T10:00:00.000Z")
    assert firing(payload(alert(began="2026-03-01T09:59:59Z")), NAMED, at_ten) == []
    assert firing(payload(alert(began="2026-03-01T10:59:59+01:00")), NAMED, at_ten) == []
    assert firing(payload(alert(began="2026-03-01T10:00:01Z")), NAMED, at_ten) == ["Slow"]


@pytest.mark.parametrize(
    "said",
    [
        None,
        [],
        "firing",
        {},
        {"alerts": {}},
        {"alerts": [7]},
        {"alerts": [{}]},
        {"alerts": [{"labels": []}]},
        {"alerts": [{"status": "firing", "labels": {"alertname": 7}}]},
        payload(*[alert()] * (ALERTS_LIMIT + 1)),
    ],
    ids=lambda said: str(said)[:40],
)
def test_what_is_no_payload_of_alertmanager_is_refused(said):
    with pytest.raises(AlertsMalformed, match="unable to read the alerts"):
        firing(said, NAMED, NEVER)
