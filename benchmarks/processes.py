"""CPU time and memory of a process and everything below it, as /proc has them."""

import os
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def family(root: int) -> list[int]:
    """The process and its descendants that live now."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            parents[int(entry.name)] = int(fields[1])
    found = [root]
    for one in found:  # grows while it is read
        found.extend(pid for pid, parent in parents.items() if parent == one)
    return found


def cpu_seconds(root: int) -> float:
    """User and system time of the family, children that were waited for included."""
    return sum(sum(map(int, fields[11:15])) for pid in family(root) if (fields := _stat(pid))) / _TICKS


def pss(root: int) -> int:
    """Memory of the family in octets, shared pages shared out."""
    return sum(_field(Path(f"/proc/{pid}/smaps_rollup"), "Pss:") for pid in family(root))


def forget_peak(root: int) -> int:
    """From now on the peak is that of what comes; the memory that the family has now, in octets."""
    for pid in family(root):
        Path(f"/proc/{pid}/clear_refs").write_text("5")  # proc(5): resets the peak
    return peak_rss(root)


def peak_rss(root: int) -> int:
    """The most memory that the members of the family had, in octets, summed."""
    return sum(_field(Path(f"/proc/{pid}/status"), "VmHWM:") for pid in family(root))


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on (proc(5)); none for a process that is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _field(file: Path, name: str) -> int:
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(name)), 0)
