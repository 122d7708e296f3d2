"""Profiles: what stands in a file, and the request that it makes of a prompt."""

import json
from pathlib import Path

import pytest

from bridge import profiles
from bridge.errors import PromptUnusable, SettingsError
from bridge.ports import Prompt
from bridge.profiles import Answer, Call, Profile
from bridge.templates import ask, frame_message, pick, posted

CONFIG = Path(__file__).resolve().parents[2] / "config"
KEYS = {"OPENAI_API_KEY": "k-1", "ANTHROPIC_API_KEY": "k-2"}
SHIPPED = sorted(file.stem for file in (CONFIG / "backends").glob("*.toml"))
EXTRA = {"lang": "de", "content": "forged", "conversationId": "c-1", "messages": [{"role": "user"}]}
PLAIN = Prompt("r-1", 42, "m-1", "hi")
PROMPT = Prompt("r-1", 42, "m-1", 'say "hi"\n', user="u-1", extra=EXTRA)


def read(tmp_path, text, environ=None):
    folder = tmp_path / "backends"
    folder.mkdir(exist_ok=True)
    (folder / "ours.toml").write_text(text, "utf-8")
    return profiles.read(tmp_path, "ours", environ or {})


def asked(profile, call=None, **taken):
    return ask(profile, call or profile.stream, PROMPT, taken)


def body(profile, call=None):
    return json.loads(asked(profile, call).body)


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_profile_can_be_used(name):
    profile = profiles.read(CONFIG, name, KEYS)
    assert asked(profile, assistantMessageId="a-1").target.startswith("/")
    assert "k-" not in repr(profile)


def test_the_default_needs_no_file(tmp_path):
    assert profiles.read(tmp_path, "default", {}) == Profile()
    named = profiles.read(CONFIG, "default", {})
    assert (named.stream, named.complete, named.extra_fields) == (
        Profile().stream,
        Profile().complete,
        Profile().extra_fields,
    )


def test_a_field_of_the_body_stands_above_what_a_device_sent():
    assert body(Profile()) == {
        **EXTRA,
        "requestId": "r-1",
        "roomId": 42,
        "messageId": "m-1",
        "content": 'say "hi"\n',
    }


def test_only_named_extra_fields_go_along_and_stand_above_the_defaults(tmp_path):
    profile = read(
        tmp_path,
        """
        extra_fields = ["messages"]
        [defaults]
        messages = ["none sent"]
        lang = "en"
        [body]
        model = "m"
        [stream]
        path = "/s"
        body = { stream = true }
        [complete]
        path = "/c"
        """,
    )
    assert body(profile) == {"messages": EXTRA["messages"], "lang": "en", "model": "m", "stream": True}
    assert body(profile, profile.complete.call) == {"messages": EXTRA["messages"], "lang": "en", "model": "m"}


def test_holes_are_filled_and_keep_the_type_of_what_stands_alone_in_them():
    template = {
        "room": "{roomId}",
        "text": "in {roomId}: {content}",
        "deep": [{"who": "{user}"}, "{nothing}"],
    }
    filled = body(Profile(stream=Call("/s", body={**template, "gone": "{nothing}"}), extra_fields=False))
    assert filled == {"room": 42, "text": 'in 42: say "hi"\n', "deep": [{"who": "u-1"}]}


def test_what_a_device_sends_is_never_read_as_a_template():
    prompt = Prompt("r", 1, "m", "{user} ${HOME}", user="u-1")
    filled = json.loads(
        ask(Profile(), Call("/s", body={"a": "{content}", "b": "<{content}>"}), prompt, {}).body
    )
    assert filled == {"a": "{user} ${HOME}", "b": "<{user} ${HOME}>"}


def test_a_path_has_a_segment_more_where_a_value_is_there():
    call = Call("/api/chat{/conversationId}")
    assert asked(Profile(), call).target == "/api/chat/c-1"
    assert ask(Profile(), call, Prompt("r", 1, "m", "x"), {}).target == "/api/chat"


@pytest.mark.parametrize("odd", ["..", ".", "a/b", "a?b", "", {}, [], "x" * 200, "é"], ids=str)
def test_a_value_that_could_leave_its_place_in_the_path_is_refused(odd):
    prompt = Prompt("r", 1, "m", "x", extra={"conversationId": odd})
    with pytest.raises(PromptUnusable):
        ask(Profile(), Call("/api/chat{/conversationId}"), prompt, {})


def test_a_value_that_could_end_a_header_is_refused():
    profile = Profile(headers={"X-Lang": "{lang}"})
    assert asked(profile).headers == {"X-Lang": "de"}
    for odd in ("a\r\nX-Forged: 1", "é"):
        with pytest.raises(PromptUnusable):
            ask(profile, profile.stream, Prompt("r", 1, "m", "x", extra={"lang": odd}), {})


def test_a_get_has_no_body_and_its_tables_are_json():
    call = Call("/s", method="GET", query={"input": {"room": "{roomId}"}, "plain": "{user}"})
    made = asked(Profile(), call)
    assert (made.body, made.query) == (None, {"input": '{"room":42}', "plain": "u-1"})


def test_the_environment_is_filled_in_once_and_its_absence_is_named(tmp_path):
    text = '[headers]\nAuthorization = "Bearer ${KEY}"\n[stream]\npath = "/v/${VERSION:-1}"\n'
    profile = read(tmp_path, text, {"KEY": "k-1"})
    assert asked(profile).headers == {"Authorization": "Bearer k-1"}
    assert profile.stream.path == "/v/1"
    with pytest.raises(SettingsError, match="it needs KEY in the environment"):
        read(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "stream.path must be there"),
        ('[stream]\npath = "s"', "begin with /"),
        ('[stream]\npath = "/s"\nmethod = "PUT"', 'method must be "POST" or "GET"'),
        ('[stream]\npath = "/s"\npaht = "/t"', "there is no stream.paht, did you mean path?"),
        ('dialekt = "token"\n[stream]\npath = "/s"', "there is no dialekt, did you mean dialect?"),
        ('idempotent = "yes"\n[stream]\npath = "/s"', "idempotent must be false or true"),
        ('resume = true\n[stream]\npath = "/s"', 'resume must be "none" or "last-event-id"'),
        ('extra_fields = "all"\n[stream]\npath = "/s"', "extra_fields must be true, false or a list"),
        ('[stream]\npath = "/s"\nbody = 1', "body must be a table"),
        ('[stream]\npath = "/s"\n[complete]\npath = "/c"\ncontent = "x"', "must be a JSON pointer"),
        ('[stream]\npath = "/s"\n[prepare]\npath = "/p"\ntake = { a = 1 }', "must be a JSON pointer"),
        ('[stream]\npath = "/s"\n[answer]\nfrom = "complete"', "needs idempotent = true and a complete call"),
        ('[stream]\npath = "/s"\n[answer]\nfrom = "stored"', "answer.path must be there"),
        ('[stream]\npath = "/s"\n[answer]\nfrom = "frame"\nvalue = "x"', "value must be a JSON pointer"),
        ('[stream]\npath = "/s"\n[answer]\nform = "frame"', "there is no answer.form, did you mean from?"),
        ("[stream", "unable to read"),
    ],
)
def test_a_profile_that_cannot_be_used_says_why(tmp_path, text, why):
    with pytest.raises(SettingsError, match=r"ours\.toml") as refused:
        read(tmp_path, text)
    assert why in str(refused.value)


@pytest.mark.parametrize("name", ["nope", "../bridge", "", "a/b"])
def test_a_profile_that_is_not_there_names_those_that_are(name):
    with pytest.raises(SettingsError, match="openai_chat, openai_responses"):
        profiles.read(CONFIG, name, {})


ANSWER = {
    "id": "a",
    "content": [{"type": "thinking", "thinking": "hm"}, {"text": "Hel"}, {"text": "lo"}, 7],
    "output": [{"summary": []}, {"content": [{"text": "Hi"}, {"text": "!"}]}, {"content": None}],
    "a/b": {"~": [1, {"x": "deep"}]},
}


@pytest.mark.parametrize(
    ("pointer", "found"),
    [
        ("/id", "a"),
        ("/content/1/text", "Hel"),
        ("/content/*/text", "Hello"),
        ("/output/*/content/*/text", "Hi!"),
        ("/a~1b/~0/1/x", "deep"),
        ("/nothing/*/text", None),
        ("/id/*/text", None),
        ("/content/9", None),
        ("/content/-1", None),
        ("/id/x", None),
        ("", ANSWER),
    ],
)
def test_a_pointer_finds_what_is_there(pointer, found):
    assert pick(ANSWER, pointer) == found


ANSWERS = {
    "none said": ("", Answer()),
    "repeats are known": ('idempotent = true\n[complete]\npath = "/c"', Answer("complete")),
    "stored": (
        '[answer]\nfrom = "stored"\npath = "/m/{messageId}"\nvalue = "/data"',
        Answer("stored", Call("/m/{messageId}", "GET"), value="/data"),
    ),
    "frame": (
        '[answer]\nfrom = "frame"\nwhere = { "/type" = "data-m" }\nvalue = "/data"',
        Answer("frame", where={"/type": "data-m"}, value="/data"),
    ),
    "template": ('[answer.template]\nid = "{messageId}"', Answer(template={"id": "{messageId}"})),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_a_profile_says_where_the_answer_comes_from(tmp_path, name):
    text, answer = ANSWERS[name]
    head, table, rest = text.partition("[")
    assert read(tmp_path, f'{head}[stream]\npath = "/s"\n{table}{rest}').answer == answer


@pytest.mark.parametrize("name", ["default", "reference", "fastapi", "use_chat", "trpc"])
def test_what_a_call_was_made_of_is_read_back_from_its_body(name):
    profile = profiles.read(CONFIG, name, KEYS)
    call = profile.complete.call
    given, _ = posted(call, json.loads(ask(profile, call, PLAIN, {}).body))
    assert (given["roomId"], given["content"], given["requestId"]) == (42, "hi", "r-1")


def test_of_a_list_the_last_item_is_what_is_asked_now():
    call = Call("/c", body={"id": "{roomId}"}, defaults={"messages": [{"content": "{content}"}]})
    body = {"id": 7, "messages": [{"content": "before"}, {"content": "now"}], "model": "m"}
    given, extra = posted(call, body)
    assert given == {"roomId": 7, "content": "now"}
    assert extra == {"messages": body["messages"], "model": "m"}


@pytest.mark.parametrize(
    "body", [None, [], "x", 5, {}, {"id": {}, "messages": []}, {"messages": {"content": 1}}]
)
def test_a_body_of_another_shape_gives_nothing_that_is_no_prompt(body):
    call = Call("/c", body={"id": "{roomId}"}, defaults={"messages": [{"content": "{content}"}]})
    assert "content" not in posted(call, body)[0]


FRAME = Answer("frame", where={"/type": "data-m", "/n": 1}, value="/data")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"type": "data-m", "n": 1, "data": {"id": 1}}', '{"id": 1}'),
        ('{"type": "data-m", "n": 2, "data": {"id": 1}}', None),
        ('{"type": "text", "n": 1, "delta": "data-m"}', None),
        ('{"type": "data-m", "n": 1}', None),
        ("data-m 1", None),
        ("[DONE]", None),
    ],
)
def test_the_frame_that_carries_the_message_is_known_by_its_values(text, message):
    assert frame_message(FRAME, text) == message
