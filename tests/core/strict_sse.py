"""An independent event stream parser, straight from the rules of the WHATWG, for whole streams."""


def parse(stream):
    """Return (event, data, last id) of every record with data that is not empty."""
    text = stream.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace")
    records, event, data, last_id = [], "", [], ""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    for line in lines[:-1]:  # the last piece has no line end
        name, colon, value = line.partition(":")
        value = value.removeprefix(" ") if colon else ""
        if not line:
            if "\n".join(data):
                records.append((event, "\n".join(data), last_id))
            event, data = "", []
        elif name == "event":
            event = value
        elif name == "data":
            data.append(value)
        elif name == "id" and "\0" not in value:
            last_id = value
    return records
