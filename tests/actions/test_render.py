"""Every channel says the same things in the same order, whatever a message lacks."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.actions.messages import DECISION, OPENED
from watchdog.actions.render import Message, clip, iso, split_text
from watchdog.actions.slack_blocks import Card, card_blocks, escape, event_blocks, fallback

TEXT = st.text(st.sampled_from("a&<>| \n🚨é"), max_size=300)


class TestMessage:
    def test_answers_come_in_the_order_in_which_people_ask(self) -> None:
        questions = [question for question, _ in Message.of(DECISION).answers()]

        assert questions == ["What happened", "What we did", "Is it over?", "What you must do"]

    def test_unanswered_questions_are_left_out(self) -> None:
        assert [question for question, _ in Message.of(OPENED).answers()] == ["What happened", "What you must do"]

    def test_plain_text_holds_the_whole_decision(self) -> None:
        plain = Message.of(DECISION).plain()

        for part in ("title", "happened", "did", "over", "todo"):
            assert DECISION[part] in plain
        assert "error_rate: 8.2 % of 412 requests" in plain

    def test_only_web_addresses_become_links(self) -> None:
        links = [
            {"href": "https://a", "text": "A"},
            {"href": "javascript:b"},
            {"href": "http://[c"},
            "d",
            {"text": "e"},
        ]

        assert [link.href for link in Message.of({"links": links}).links] == ["https://a"]

    def test_small_things(self) -> None:
        assert split_text({"a": 90, "b": 10}) == "a 90 %, b 10 %"
        assert iso(1790000000.25) == "2026-09-21T14:13:20.250Z"
        assert clip("abcdef", 4) == "abc…"


class TestSlackText:
    @settings(deadline=None)
    @given(TEXT, st.integers(10, 200))
    def test_escaping_never_exceeds_its_limit_nor_cuts_a_sign(self, text: str, limit: int) -> None:
        safe = escape(text, limit)

        assert len(safe) <= limit
        kept = safe.removesuffix("…")
        back = kept.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
        assert text.startswith(back)
        assert "<" not in safe
        assert ">" not in safe

    @settings(deadline=None)
    @given(st.lists(st.tuples(TEXT, TEXT), max_size=120), TEXT, TEXT)
    def test_blocks_keep_slacks_limits(self, evidence: list[tuple[str, str]], words: str, title: str) -> None:
        message = Message.of(
            {
                "title": title * 3,
                **dict.fromkeys(("happened", "did", "over", "todo", "status"), words * 30),
                "evidence": evidence,
            }
        )

        assert len(fallback(message)) <= 3900
        for blocks in (event_blocks(message), card_blocks(Card.of(message), message)):
            assert 0 < len(blocks) <= 50
            for block in blocks:
                if block["type"] == "header":
                    assert 0 < len(block["text"]["text"]) <= 150
                if block["type"] == "section":
                    assert 0 < len(block["text"]["text"]) <= 3000
                if block["type"] == "context":
                    assert len(block["elements"]) <= 10

    @pytest.mark.parametrize("rows", [1, 60, 2000])
    def test_evidence_is_shown_or_said_to_be_left_out(self, rows: int) -> None:
        message = Message.of({"evidence": [[f"row {number}", "x" * 300] for number in range(rows)]})

        told = str(event_blocks(message))

        assert ("row " + str(rows - 1) + ":" in told) != ("and more" in told)
