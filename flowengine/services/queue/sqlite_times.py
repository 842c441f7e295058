"""Times in the queue's file are those of the wall clock, and go along when that is set.

The machine counts the seconds it runs, and its clock's lead over them is written down: when the lead changes at once,
the clock was set, and every time is moved by as much. Whoever notices first does it for all.
"""

import sqlite3
import time
from pathlib import Path

JUMP = 60.0
"""Seconds; less is no jump."""


def uptime() -> tuple[str, float]:
    """Which run of the machine this is, and for how many seconds it has been running."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        boot = ""
    return boot, time.clock_gettime(time.CLOCK_BOOTTIME)


def follow_clock(database: sqlite3.Connection, now: float, boot: str, age: float) -> float:
    """Move the times along with a clock that was set; by how much. Raises sqlite3.Error.

    After a start of the machine nobody knows how the clock was before: then only what was written in the future is
    moved, so that nothing waits for a time that is far away.
    """
    known, lead = database.execute("select boot, lead from state").fetchone()
    if known == boot and boot:
        jump = float(now - age - lead)
        if abs(jump) <= JUMP:
            return 0.0
        database.execute("update entry set due = due + ?, since = since + ?, expires = expires + ?", (jump,) * 3)
        database.execute("update message set queued = queued + ?", (jump,))
        database.execute(
            "update place set wake = wake + ?, resting = case when resting > 0 then resting + ? else 0 end,"
            " failed = case when failed > 0 then failed + ? else 0 end",
            (jump,) * 3,
        )
    else:
        jump = 0.0
        late = now + JUMP
        database.execute(
            "update entry set due = due - (since - ?), expires = expires - (since - ?), since = ? where since > ?",
            (now, now, now, late),
        )
        database.execute("update place set resting = 0, failed = 0")
        database.execute(
            "update place set wake = (select min(due) from entry where entry.place = place.id and state = 0"
            " and holder is null)"
        )
    database.execute("update state set boot = ?, lead = ?", (boot, now - age))
    return jump
