"""The filter language of Cloud Monitoring."""

from contextlib import suppress
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchdog.emulator.monitoring_filter import InvalidFilterError, matches, parse


class TestFilterLanguage:
    FIELDS: ClassVar = {
        "metric.type": "m",
        "resource.type": "r",
        "metric.labels.a": "5xx",
        "resource.labels.b": 'say "hi"',
    }

    @pytest.mark.parametrize(
        "text, expected",
        [
            ("", True),
            ('metric.type = "m"', True),
            ("metric.type = m", True),
            ("metric.type = 'n'", False),
            (r'resource.labels.b = "say \"hi\""', True),
            ('resource.labels."b" : "hi"', True),
            ('metric.labels.a = ends_with("xx")', True),
            ('metric.labels.a != ends_with("xx")', False),
            ('metric.labels.a = has_substring("y")', False),
            ('metric.labels.a = monitoring.regex.full_match("[45]xx")', True),
            ('metric.labels.a < "6xx"', True),
            ("metric.labels.a > 3", False),
            ('-metric.labels.a = "5xx"', False),
            ('metric.type = "m" resource.type = "r"', True),
            # OR binds tighter than AND
            ('resource.type = "x" AND metric.type = "x" OR metric.type = "m"', False),
            ('metric.type = "m" OR metric.type = "x" AND resource.type = "r"', True),
            ('(resource.type = "x" AND metric.type = "x") OR metric.type = "m"', True),
        ],
    )
    def test_means_what_googles_page_says(self, text: str, expected: object) -> None:
        assert matches(parse(text), self.FIELDS) is expected

    @pytest.mark.parametrize(
        "text",
        [
            "AND",
            "metric.type",
            "metric.type =",
            "metric.type = (",
            'metric.type = starts_with("a", "b")',
            'metric.type = starts_with("a"',
            'metric.type > starts_with("a")',
            'metric.type = sounds_like("a")',
            'metric.type = "unfinished',
            'metric.labels.a = monitoring.regex.full_match("[")',
            ')metric.type = "m"',
            'metric.type = "m")',
            "metric.type ~ m",
        ],
    )
    def test_nonsense_is_refused_with_its_place(self, text: str) -> None:
        with pytest.raises(InvalidFilterError, match=r"syntax error at line 1, column \d+"):
            parse(text)

    @given(st.text(max_size=40))
    def test_no_text_ends_in_anything_but_a_parse_or_a_refusal(self, text: str) -> None:
        with suppress(InvalidFilterError):
            parse(text)
