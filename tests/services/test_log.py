"""The log: a line stays a line, a secret stays a secret, and a log that fails stops nothing."""

import io
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowengine.language.values import Secret
from flowengine.mail.keys import PrivateKey
from flowengine.services.log import LONGEST, StructuredLog
from flowengine.services.metrics import COUNTERS, Metrics

PEM = PrivateKey.generate("ed25519").pem().decode()


def line(**fields: object) -> dict[str, object]:
    stream = io.StringIO()
    StructuredLog(stream=stream).event("info", "something", **fields)
    (text,) = stream.getvalue().splitlines()
    found = json.loads(text)
    assert isinstance(found, dict)
    return found


def test_a_line_says_when_how_grave_and_what() -> None:
    found = line(id="x", size=3, ratio=0.5, ok=True, nothing=None)
    assert found.pop("timestamp", "").endswith("Z")  # type: ignore[attr-defined]  # a string
    assert found == {"level": "info", "event": "something", "id": "x", "size": 3, "ratio": 0.5, "ok": True}


@pytest.mark.parametrize(
    "value, shown",
    [
        ("a\r\nb\tc\x00\x1b[31m\x9b\x7f", "a\\r\\nb\\tc\\x00\\x1b[31m\\x9b\\x7f"),
        ("caf\u00e9 \u202etxt\u2028\u2066", "caf\u00e9 \\u202etxt\\u2028\\u2066"),
        ("\ud800", "\\ud800"),
        (float("nan"), "nan"),
        (1 << 70, hex(1 << 70)),
        (b"\xff\n", "\\xff\\n"),
        (["a\n", {"b\n": "c\n"}], ["a\\n", {"b\\n": "c\\n"}]),
        ({1, }, [1]),
    ],
)  # fmt: skip
def test_values_are_cleaned(value: object, shown: object) -> None:
    assert line(value=value)["value"] == shown


def test_long_values_are_cut() -> None:
    found = line(text="x" * 10_000, many=list(range(10_000)), deep=nested(5000))
    assert len(str(found["text"])) == LONGEST and len(found["many"]) == 200  # type: ignore[arg-type]  # a list
    assert "…" in json.dumps(found["deep"], ensure_ascii=False)


def nested(depth: int) -> list[object]:
    value: list[object] = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("value", [Secret("s3cret"), PEM, "x" * 5000 + PEM, [PEM], {"k": PEM}, PEM.encode()])
def test_secrets_do_not_show(value: object) -> None:
    text = json.dumps(line(value=value))
    body = PEM.splitlines()[1]
    assert "s3cret" not in text and body not in text and body[:20] not in text
    assert "secret" in text or "private key" in text


@pytest.mark.parametrize("name", ["level", "event", "timestamp", "exc_info", "stack"])
def test_a_field_may_have_any_name(name: str) -> None:
    found = line(**{name: "mine"})
    assert found[f"{name}_"] == "mine" and found["event"] == "something"


def test_less_grave_lines_are_left_out() -> None:
    stream = io.StringIO()
    log = StructuredLog(least="warning", stream=stream)
    log.event("notice", "no")
    log.event("warning", "yes")
    assert len(stream.getvalue().splitlines()) == 1


def test_text_for_people() -> None:
    stream = io.StringIO()
    StructuredLog("text", stream=stream).event("info", "verdict", id="x\n", to=["a@b.example"])
    text = stream.getvalue()
    assert text.count("\n") == 1 and "verdict" in text and "a@b.example" in text and "\x1b" not in text


def test_a_log_that_cannot_be_written_stops_nothing() -> None:
    stream = io.StringIO()
    log = StructuredLog(stream=stream)
    stream.close()
    log.event("info", "lost")
    assert log.dropped == 1


@settings(max_examples=60, deadline=None)
@given(
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary()),
        lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
        max_leaves=8,
    )
)
def test_whatever_is_logged_is_one_line_of_json(value: object) -> None:
    line(value=value)


# -- metrics ----------------------------------------------------------------------------------------------------------


def test_counters_are_rendered_with_help_and_labels() -> None:
    metrics = Metrics()
    metrics.increment("verdicts", verdict="Reject", listener="inbound")
    metrics.increment("verdicts", 2, verdict="Reject", listener="inbound")
    metrics.increment("dns_seconds", 0.25)
    text = metrics.text().decode()
    assert 'flowengine_verdicts_total{listener="inbound",verdict="Reject"} 3.0' in text
    assert "flowengine_dns_seconds_total 0.25" in text
    assert f"# HELP flowengine_verdicts_total {COUNTERS['verdicts'][1]}" in text
    assert "process_open_fds" in text


def test_counters_of_two_engines_are_apart() -> None:
    first, second = Metrics(), Metrics()
    first.increment("dns_seconds", 1)
    assert "flowengine_dns_seconds_total 0.0" in second.text().decode()


def test_a_counter_that_is_not_declared_is_an_error() -> None:
    with pytest.raises(KeyError):
        Metrics().increment("no_such_counter")
    with pytest.raises(ValueError, match="label"):
        Metrics().increment("verdicts", wrong="x")
