"""Time: directives, readings, clocks."""

import os
import time as system_time
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from standing import NOW, Standing, Words

from flowengine.builtins import dates, times

words = Words(times)
MOMENT = 1709182805  # Thursday 2024-02-29 05:00:05 UTC


@pytest.mark.parametrize(
    ("format_", "text"),
    [
        ("%a %A %b %B %h", "Thu Thursday Feb February Feb"),
        ("%C %y %Y %G-W%V-%u %w %g", "20 24 2024 2024-W09-4 4 24"),
        ("%d|%e|%j|%U|%W", "29|29|060|08|09"),
        ("%H %I %k %l %M %S %p %P", "05 05  5  5 00 05 AM am"),
        ("%D %F %R %T %r", "02/29/24 2024-02-29 05:00 05:00:05 05:00:05 AM"),
        ("%c|%x|%X", "Thu Feb 29 05:00:05 2024|02/29/24|05:00:05"),
        ("%s %z %Z %%%n%t.", "1709182805 +0000 UTC %\n\t."),
        ("%-d %-H %_H %Ey %Od", "29 5  5 24 29"),
        ("%Q %", "%Q %"),
        ("\xe9 %Y", "\xe9 2024"),
        ("", ""),
    ],
)
def test_a_directive_writes(format_, text):
    assert words.strftime(format_, MOMENT) == text


@given(st.integers(-(2**35), 2**37), st.sampled_from("aAbBdeFgGHIjmMpSTuUVwWyYDRhC"))
@settings(max_examples=150, deadline=None)
def test_directives_are_those_of_the_system(seconds, letter):
    moment = datetime.fromtimestamp(seconds, UTC)
    if 1000 <= moment.year <= 9999:  # below, the system pads years in its own way
        assert dates.write(f"%{letter}", moment) == system_time.strftime(f"%{letter}", moment.timetuple())


@pytest.mark.parametrize("format_", ["x" * 101, "%c" * 10, "%Y" * 5000])
def test_more_than_a_hundred_characters_are_none(format_):
    assert words.strftime(format_, 0) is None


@pytest.mark.parametrize("seconds", [1e18, -1e18, float("nan"), float("inf")])
def test_a_time_beyond_the_calendar_is_none(seconds):
    assert words.strftime("%Y", seconds) is None


@pytest.mark.parametrize(
    ("text", "format_", "seconds"),
    [
        ("29 Feb 2024 05:00:05 +0000", "%d %b %Y %H:%M:%S %z", MOMENT),
        ("Thu, 29 Feb 2024 06:30:05 +01:30", "%a, %d %B %Y %T %z", MOMENT),
        ("1709182805", "%s", MOMENT),
        ("2/9/24 05:00 pm", "%m/%d/%y %I:%M %p", 1707498000),
        ("12 am 1 1 70", "%I %p %d %m %y", 0),
        ("2024 060", "%Y %j", 1709164800),
        ("2016-12-31 23:59:60", "%F %T", 1483228800),
        ("  2024-02-29  ", " %F", 1709164800),
        ("100%", "100%%", 1767225600),
        ("2023-02-29", "%F", None),
        ("2024-02-30", "%F", None),
        ("2024-02-29 x", "%F", None),
        ("24:00", "%H:%M", None),
        ("+9999", "%z", None),
        ("", "%Y", None),
        ("2024", "%Q", None),
        ("x" * 101, "%Y", None),
    ],
)
def test_a_text_is_read(text, format_, seconds):
    assert words.strptime(text, format_) == seconds


@given(st.integers(-(2**35), 2**37))
@settings(max_examples=50, deadline=None)
def test_what_was_written_is_read_again(seconds):
    if datetime.fromtimestamp(seconds, UTC).year >= 1000:
        assert words.strptime(words.strftime("%a, %d %b %Y %T %z", seconds), "%a, %d %b %Y %T %z") == seconds


@given(st.text(max_size=20), st.text(alphabet="%aAbBdejHIkmMpSsTYyzZ nE:", max_size=20))
@settings(max_examples=100, deadline=None)
def test_any_text_and_format_is_read_or_none(text, format_):
    assert isinstance(dates.read(text, format_, datetime(2026, 1, 1, tzinfo=UTC)), (datetime, type(None)))


@pytest.fixture
def stockholm(monkeypatch):
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    system_time.tzset()
    yield
    monkeypatch.undo()
    os.environ.pop("TZ", None)
    system_time.tzset()


@pytest.mark.usefixtures("stockholm")
def test_local_means_the_zone_of_this_machine_on_that_day():
    assert words.strftime("%H:%M %z", 1719828000, {"local": True}) == "12:00 +0200"
    assert words.strftime("%H:%M %z", 1719828000) == "10:00 +0000"
    assert words.strptime("2024-07-01 12:00", "%Y-%m-%d %H:%M", {"local": True}) == 1719828000
    assert words.strptime("2024-07-01 12:00 +0000", "%Y-%m-%d %H:%M %z", {"local": True}) == 1719835200
    assert words.timelocal() - words.time() == 3600


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("1d 2h", 93600), ("0m", 0), ("", None), ("5", None), ("h", None), ("-1h", None), ("1.5h", None)],
)
def test_a_duration_is(text, seconds):
    assert words.strpduration(text) == seconds


def test_waiting_takes_the_clock_s_time_and_is_bounded():
    run = Standing()
    here = Words(times, run=run)
    assert here.sleep(2.5) == 2.5
    assert here.time() == NOW + 2.5
    assert here.executiontime() == 2.5
    assert here.uptime() == 1002.5
    assert here.sleep(1e9) == run.settings.limits.script_time
    assert here.sleep(float("nan")) == 0


def test_a_repeated_run_sees_the_same_clock_and_does_not_wait():
    run = Standing()
    here = Words(times, run=run)
    first = (here.sleep(3), here.time(), here.uptime())
    again = run.again()
    there = Words(times, run=again)
    assert (there.sleep(3), there.time(), there.uptime()) == first
    assert again.clock.slept == 0
