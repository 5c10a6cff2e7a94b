"""The scripted LLM."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.gateway.engines.replies import nonsense, reasoning_tokens, reply_to, tokens


def _say(text: str, **options: Any) -> str:
    return reply_to([{"role": "user", "content": text}], **options).text


@pytest.mark.parametrize(
    ("said", "part"),
    [
        ("Set a timer for ten minutes.", "ten minutes"),
        ("what's the weather like in New York", "degrees"),
        ("turn off the lights in the kitchen", "kitchen"),
        ("add apples to my shopping list", "apples"),
        ("cancel my appointment", "cancelled"),
        ("I'd like a latte", "latte"),
        ("wake me at seven", "alarm"),
    ],
)
def test_replies_fit_what_was_said(said: str, part: str) -> None:
    """The answer takes up what the user asked for."""
    answers = {_say(said), _say(said + " please")}
    assert any(part in answer for answer in answers)


@given(st.text())
def test_any_words_get_a_speakable_answer(said: str) -> None:
    """Whatever is said, the answer is the same each time, not empty, and ends a sentence."""
    answer = _say(said)
    assert answer == _say(said)
    assert answer.strip()
    # A word of the caller's may hold a brace; the answer has his words without their blanks.
    assert "{" not in answer or "{" in said
    assert len(answer) < 4000


@given(st.text())
def test_tokens_join_to_the_text(text: str) -> None:
    """No character is lost or added by splitting, and no token is empty."""
    assert "".join(tokens(text)) == text
    assert all(tokens(text))


def test_only_the_last_user_message_decides() -> None:
    """What was said before, and instructions, do not change the answer."""
    history: list[dict[str, Any]] = [
        {"role": "system", "content": "You talk about the weather."},
        {"role": "user", "content": "set a timer"},
        {"role": "assistant", "content": "Okay."},
        {"role": "user", "content": [{"type": "text", "text": "play some jazz"}]},
    ]
    assert reply_to(history).text == _say("play some jazz")


def test_replies_are_cut_to_sentences() -> None:
    """A limit of one sentence gives one sentence."""
    assert _say("what's the weather in Rome", max_sentences=1).count(".") <= 1


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("Wake me up at six o'clock.", "set for six o'clock."),
        ("wake me at six o clock", "set for six o clock."),
        ("set an alarm for 7 a.m. please", "set for 7 a.m."),
        ("set an alarm for 7:30 pm", "set for 7:30 pm."),
        ("remind me to pay the bill of $3.50 tomorrow", "pay the bill of $3.50."),
        ("remind me to call Dr. Lee", "call dr. lee."),
    ],
)
def test_a_point_or_an_apostrophe_within_words_ends_nothing(said: str, told: str) -> None:
    """Times, amounts and titles stand whole in the reply, however short it is cut."""
    assert told in _say(said, max_sentences=1)


_WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string"},
                "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
                "days": {"type": "integer"},
            },
            "required": ["city", "unit"],
        },
    },
}


class TestTools:
    def test_a_tool_that_the_words_name_is_called(self) -> None:
        """Arguments follow the schema and the words."""
        reply = reply_to(
            [{"role": "user", "content": "What is the weather in Paris in fahrenheit?"}],
            tools=[_WEATHER],
        )
        assert reply.tool_call is not None
        assert reply.tool_call.name == "get_weather"
        assert json.loads(reply.tool_call.arguments) == {"city": "Paris", "unit": "fahrenheit"}

    @pytest.mark.parametrize(
        ("choice", "said", "called"),
        [
            ("none", "weather", False),
            ("auto", "play music", False),
            ("required", "play music", True),
            ({"type": "function", "function": {"name": "get_weather"}}, "play music", True),
        ],
    )
    def test_the_choice_of_tools_is_obeyed(self, choice: Any, said: str, *, called: bool) -> None:
        """None forbids a call, required and a named function force one."""
        reply = reply_to([{"role": "user", "content": said}], tools=[_WEATHER], tool_choice=choice)
        assert (reply.tool_call is not None) == called

    def test_a_tool_result_is_told(self) -> None:
        """After a tool's result the answer is a text that holds it."""
        reply = reply_to(
            [
                {"role": "user", "content": "What is the weather in Paris?"},
                {"role": "assistant", "tool_calls": []},
                {"role": "tool", "content": "sunny, 24 degrees"},
            ],
            tools=[_WEATHER],
        )
        assert "sunny, 24 degrees" in reply.text
        assert reply.tool_call is None

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
            max_leaves=8,
        )
    )
    def test_strange_tools_do_no_harm(self, strange: Any) -> None:
        """Whatever stands where tools should stand, an answer comes."""
        tools = [strange, {"function": strange}, {"function": {"name": "x", "parameters": strange}}]
        reply = reply_to([{"role": "user", "content": "x"}], tools=tools, tool_choice=strange)
        assert reply.text or reply.tool_call


def test_reasoning_and_nonsense_are_as_long_as_asked() -> None:
    """Counts are obeyed, and nonsense differs by key."""
    assert len(reasoning_tokens(1000)) == 1000
    assert len(nonsense("a").split()) == 12
    assert nonsense("a") != nonsense("b")
