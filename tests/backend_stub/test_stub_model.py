import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend_stub import model
from backend_stub.tools import tool_call


@settings(max_examples=40)
@given(st.text(), st.integers(1, 200))
def test_an_answer_has_exactly_that_many_tokens_and_is_split_as_it_was_made(content, tokens):
    pieces = model.compose(content, "k3f9", tokens)
    assert len(pieces) == tokens
    assert all(pieces)
    assert model.split("".join(pieces)) == pieces


@settings(max_examples=40)
@given(st.text())
def test_no_sign_is_lost_between_tokens(text):
    assert "".join(model.split(text)) == text


@pytest.mark.parametrize(
    ("prompt", "city"),
    [
        ("weather", "Seoul"),
        ("WEATHER in berlin?", "berlin"),
        ("In Rio-Grande, how is the weather", "Rio-Grande"),
        ("weather는 in München", "München"),
        ("whether in Rome", None),
        ("Hi", None),
    ],
)
def test_the_tool_is_used_for_the_city_that_a_prompt_about_weather_names(prompt, city):
    call = tool_call(prompt, "m1")
    assert (call and call.city) == city
    assert call == tool_call(prompt, "m1")
    if call:
        assert call.result["city"] == city
        assert json.loads("".join(call.argument_pieces)) == {"city": city}


def test_an_answer_is_decided_by_prompt_and_nonce():
    assert model.compose("Hi", "k3f9", 60) == model.compose("Hi", "k3f9", 60)
    assert model.compose("Hi", "k3f9", 60) != model.compose("Hi", "k3f8", 60)


def test_an_answer_names_its_call_and_its_prompt_and_is_not_all_ascii():
    text = "".join(model.compose("What is  new?", "k3f9", 60))
    assert text.startswith("[call k3f9] ")
    assert "What is new?" in text
    assert all(sign in text for sign in ("안", "Ü", "🙂", "\n"))


@pytest.mark.parametrize("figures", [(0, 1, 1), (True, 1, 1), (1, -1, 1), (1, 1, float("inf")), (1, "1", 1)])
def test_a_pace_out_of_bounds_is_refused(figures):
    with pytest.raises(ValueError, match="must be a"):
        model.Pace(*figures)


def test_nonces_differ():
    assert len({model.new_nonce() for _ in range(100)}) > 90
