import json

TEXT = "[call k3f9] 안녕하세요 👋"
TOKENS = ["[call k3f9]", " 안녕하세요", " 👋"]
WEATHER = "What is the weather in Berlin?"
BEARER = {"Authorization": "Bearer any"}
KEY = {"x-api-key": "any", "anthropic-version": "2023-06-01"}


async def post(caller, path, body, headers=None, status=200):
    url = caller.backend.base_url + path
    async with caller.session.post(url, json=body, headers=headers) as response:
        assert response.status == status, await response.text()
        return await response.read()


async def posted(caller, path, body, headers=None, status=200):
    return json.loads(await post(caller, path, body, headers, status))


def data(*values, event=None):
    """Return the plain SSE records of JSON values, each under its own type if ``event`` says so."""
    records = []
    for value in values:
        named = f"event: {value['type']}\n" if event else ""
        records.append(f"{named}data: {json.dumps(value, ensure_ascii=False, separators=(',', ':'))}\n\n")
    return "".join(records).encode()


def objects(raw):
    """Return the JSON objects of a stream."""
    lines = raw.decode().split("\n")
    return [
        json.loads(line.removeprefix("data:")) for line in lines if line.startswith(("data: {", "data:{"))
    ]


def names(raw):
    return [line.removeprefix("event: ") for line in raw.decode().split("\n") if line.startswith("event: ")]
