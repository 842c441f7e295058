"""Scanners of content. Those without an engine behind them say that all is clean, and say so once in the log."""

from typing import Literal

from flowengine.builtins.run import Run as AnyRun
from flowengine.language.functions import builtin
from flowengine.language.values import Array, Value
from flowengine.runtime.phases import Phase
from flowengine.runtime.run import Run


def _no_engine(run: AnyRun, name: str) -> None:
    """A line in the log, once while the server lives."""
    if run.world.memory_put(f"\0scanner\0{name}", True, None):
        run.world.log("warning", "scanner", id=run.message_id, text=f"{name} has no engine here; it says clean")


@builtin(Phase.DATA, Phase.EOD, name="ScanSA")
def scan_sa(
    run: Run, *, rules: bool = False, extended_result: bool = False, sender: str | None = None
) -> float | Array:
    """The score of SpamAssassin; 5 is the usual limit. There is no engine behind it yet: the score is 0.

    rules: the rules that matched, with their scores, instead of the sum. extended_result: ["rules" => …].
    sender: taken for old scripts.

        ScanSA();  // 0
        ScanSA(["rules" => true]);  // []
    """
    _no_engine(run, "ScanSA")
    if extended_result:
        return Array({"rules": Array(), "scantime": 0})
    return Array() if rules else 0


@builtin(Phase.DATA, Phase.EOD, name="ScanRPD")
def scan_rpd(
    run: Run,
    *,
    refid: bool = False,
    outbound: bool = False,
    extended_result: bool = False,
    senderip: str | None = None,
    mailfrom: str | None = None,
    senderid: str | None = None,
    rcptcount: int | None = None,
) -> int | str | Array:
    """The score of Cyren's anti-spam: 0 unknown, 10 suspect, 40 valid bulk, 50 bulk, 100 spam. There is no engine: 0.

    refid: the reference of the scan instead. extended_result: ["spam_score" => 0, "virus_score" => 0, …].
    outbound, senderip, mailfrom, senderid, rcptcount: taken for old scripts.

        ScanRPD();  // 0
        ScanRPD(["refid" => true]);  // ""
    """
    _no_engine(run, "ScanRPD")
    if extended_result:
        return Array(
            {"refid": "", "rules": Array(), "spam_score": 0, "spam_class": "unknown", "virus_score": 0,
             "virus_class": "unknown"}
        )  # fmt: skip
    return "" if refid else 0


@builtin(Phase.DATA, name="ScanRPDAV")
def scan_rpd_av(run: Run) -> int:
    """The score of Cyren's anti-virus: 0, 50 or 100 (until 4.6). There is no engine: 0.

    ScanRPDAV();  // 0
    """
    _no_engine(run, "ScanRPDAV")
    return 0


@builtin(Phase.DATA, Phase.EOD, name="ScanKAV")
def scan_kav(run: Run, *, extended_result: bool = False) -> Array:
    """The viruses that Kaspersky's anti-virus found, [] for none. There is no engine: [].

    extended_result: ["rules" => […]] instead.

        ScanKAV();  // []
    """
    _no_engine(run, "ScanKAV")
    return Array({"rules": Array()}) if extended_result else Array()


@builtin(Phase.DATA, Phase.EOD, name="ScanCLAM")
def scan_clam(run: Run, *, extended_result: bool = False, signature_exclude: Value = None) -> Array:
    """The viruses that ClamAV found, [] for none. There is no engine behind it yet: [].

    extended_result: ["rules" => […]] instead. signature_exclude: signatures that do not count.

        ScanCLAM();  // []
    """
    _no_engine(run, "ScanCLAM")
    return Array({"rules": Array()}) if extended_result else Array()


@builtin(Phase.DATA, Phase.EOD, name="ScanDLP")
def scan_dlp(
    run: Run,
    patterns: Array | None = None,
    *,
    stop_on_match: bool = False,
    timeout: float | None = None,
    recursion_limit: int = 9,
    partid: bool = False,
    extended_result: bool = False,
) -> Array:
    """The rules of data loss prevention that the message breaks, [] for none. There is no engine: [].

    patterns: names of rules, or rules. extended_result: ["result" => […]] instead.
    stop_on_match, timeout, recursion_limit, partid: taken for old scripts.

        ScanDLP(["CREDITCARD"]);  // []
    """
    _no_engine(run, "ScanDLP")
    return Array({"result": Array()}) if extended_result else Array()


@builtin(Phase.CONNECT, Phase.HELO, Phase.MAILFROM, Phase.RCPTTO, Phase.DATA, Phase.EOD)
def globalview(run: Run, ip: str) -> Literal["accept", "tempfail", "permfail"]:
    """What Cyren advises about a client's address: accept, tempfail or permfail. There is no engine: accept.

    globalview("192.0.2.7");  // "accept"
    """
    _no_engine(run, "globalview")
    return "accept"
