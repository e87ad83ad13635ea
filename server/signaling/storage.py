"""What threatens recordings where no write has failed: a store that is behind, a disk that fills.

Contract: `measured` is called about once a second; `alerts` are those that hold since. Pure.
"""

import logging
from collections.abc import Iterator

from server.core.indicators import Alert
from server.signaling.admission import RECORDED_BYTES_PER_S, Load

log = logging.getLogger(__name__)

#: Recordings wait on the local disk, where nothing happens to them: worth a notice, no alarm.
STORE_BEHIND = "store-behind"
#: There will soon be no room for what is being recorded: somebody has to act.
DISK_FILLING = "disk-filling"

#: A store may be away for so long, or take so long for what was closed, before it is told.
BEHIND_S = 60.0
#: The disk takes what runs, at its present rate, for less than that: the alarm begins;
FULL_S = 1800.0
#: and ends with so much.
ROOM_S = 2700.0


class Storage:
    """Made once for a process."""

    def __init__(self) -> None:
        self._alerts: dict[str, Alert] = {}

    @property
    def alerts(self) -> tuple[Alert, ...]:
        return tuple(self._alerts.values())

    def measured(self, load: Load, running: int, now: float) -> None:
        """``running``: interviews that are being recorded. ``now``: Unix time."""
        self._set(STORE_BEHIND, load.store_behind_s >= BEHIND_S, now - load.store_behind_s)
        enough_s = ROOM_S if DISK_FILLING in self._alerts else FULL_S
        left_s = load.disk_bytes / max(load.recorded_bytes_per_s, running * RECORDED_BYTES_PER_S, 1)
        self._set(DISK_FILLING, running > 0 and left_s < enough_s, now)

    def changes(self, told: dict[str, Alert], now: float) -> Iterator[Alert]:
        """What is new to somebody who was told of these alerts, by id, and of others."""
        for alert_id in (STORE_BEHIND, DISK_FILLING):
            alert = self._alerts.get(alert_id)
            if alert is not None and alert_id not in told:
                yield alert
            elif alert is None and alert_id in told:
                yield Alert(alert_id, False, now)

    def _set(self, alert_id: str, active: bool, since_s: float) -> None:
        if active is (alert_id in self._alerts):
            return
        if active:
            log.warning("recordings: %s", alert_id)
            self._alerts[alert_id] = Alert(alert_id, True, since_s)
        else:
            log.info("recordings: %s is over", alert_id)
            del self._alerts[alert_id]
