"""Time: now, how long, as text and from text. UTC unless a function is told "local"; names in English always."""

from datetime import UTC, datetime, timedelta, timezone

from flowengine.builtins.dates import MAX_LENGTH, read, write
from flowengine.builtins.run import Run
from flowengine.language.functions import builtin

_UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1}


@builtin
def time(run: Run) -> float:
    """Seconds since 1970-01-01 00:00 UTC, with decimals.

    round(time());  // 1767225600
    """
    return run.world.now()


@builtin
def timelocal(run: Run) -> float:
    """Seconds since 1970-01-01 00:00 by the local clock: `time()` plus the offset of this machine's zone.

    timelocal() - time() < 86400;  // true
    """
    now = run.world.now()
    return now + _zone(now, local=True).utcoffset(None).total_seconds()


@builtin
def uptime(run: Run) -> float:
    """Seconds on a clock that never goes back, for measuring durations.

    uptime() >= 0;  // true
    """
    return run.world.monotonic()


@builtin
def executiontime(run: Run) -> float:
    """Seconds since this script began.

    executiontime() >= 0;  // true
    """
    return run.world.elapsed(run.started)


@builtin
async def sleep(run: Run, seconds: float) -> float:
    """Wait. Other messages go on meanwhile; the script's own deadline stays what it is.

    seconds: with decimals; at most [limits] script_time.

    Returns the seconds waited.

        sleep(0.5);  // 0.5
        sleep(-1);  // 0
    """
    waited = min(max(0.0, seconds), run.settings.limits.script_time) if seconds == seconds else 0.0
    if waited:
        await run.world.sleep(waited)
    return waited


@builtin
def strftime(run: Run, format_: str, time: float | None = None, *, local: bool = False) -> str | None:
    """A time as text.

    format: text with the directives of strftime(3): %Y %m %d %H %M %S %j %a %b %e %T %D %F %z %s %% and the others.
    time: Unix time in seconds, by default now.
    local: in this machine's time zone instead of UTC.

    Returns none for more than 100 characters and for a time before year 1 or after 9999.

        strftime("%Y-%m-%d %H:%M:%S", 0);  // "1970-01-01 00:00:00"
        strftime("%a, %d %b %Y %T %z", 1767225600);  // "Thu, 01 Jan 2026 00:00:00 +0000"
        strftime("%Y", 1e15);  // none
    """
    seconds = run.world.now() if time is None else time
    try:
        moment = datetime.fromtimestamp(0, UTC) + timedelta(seconds=seconds)
        made = write(format_, moment.astimezone(_zone(seconds, local)))
    except (OverflowError, ValueError, OSError):
        return None
    return made if len(made) <= MAX_LENGTH else None


@builtin
def strptime(run: Run, datestring: str, format_: str, *, local: bool = False) -> float | None:
    """A time from text.

    format: the directives of strptime(3), as for `strftime`. Text without any date means today.
    local: the text is in this machine's time zone; otherwise in UTC, unless it has an offset (%z).

    Returns Unix time in seconds, or none when the text does not fit.

        strptime("2026-01-01 12:00:00", "%Y-%m-%d %H:%M:%S");  // 1767268800
        strptime("Thu, 01 Jan 2026 00:00:00 +0100", "%a, %d %b %Y %T %z");  // 1767222000
        strptime("00:00:30", "%T");  // 1767225630
        strptime("tomorrow", "%Y");  // none
    """
    now = run.world.now()
    today = datetime.fromtimestamp(now, _zone(now, local))
    found = read(datestring, format_, today)
    if found is None:
        return None
    if local and found.tzinfo is today.tzinfo:  # the offset on that day, not today's
        found = found.replace(tzinfo=None).astimezone()
    return found.timestamp()


def _zone(seconds: float, local: bool) -> timezone:
    zone = datetime.fromtimestamp(seconds).astimezone().tzinfo if local else None
    return zone if isinstance(zone, timezone) else UTC


@builtin
def strpduration(duration: str) -> float | None:
    """Seconds from text such as 1h30m: days (d), hours (h), minutes (m) and seconds (s).

    Returns none when the text is no duration.

        strpduration("1h30m");  // 5400
        strpduration("2d");  // 172800
        strpduration("soon");  // none
    """
    if len(duration) > MAX_LENGTH:
        return None
    total, digits = 0, ""
    for character in duration.replace(" ", ""):
        if character in "0123456789":
            digits += character
        elif character in _UNITS and digits:
            total += int(digits) * _UNITS[character]
            digits = ""
        else:
            return None
    return None if digits or not duration.strip() else total
