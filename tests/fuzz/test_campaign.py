"""A short form of `python -m tests.fuzz`: a few seconds of cases, the same each time."""

from tests.fuzz.campaign import campaign


def test_a_short_campaign_finds_nothing():
    report = campaign(minutes=0.05, first=1)
    assert report.failures == [], str(report)
    assert report.compiled > 10
