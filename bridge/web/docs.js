// Shows the two documents of the contract; all text is set as text.

const [http, events] = await Promise.all(["openapi", "asyncapi"].map(async (name) => (await fetch(`/docs/${name}.json`)).json()));

function element(name, attributes = {}, ...inner) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...inner.flat());
  return made;
}

const last = (path) => path.slice(path.lastIndexOf("/") + 1);
const joined = (kinds, mark) => kinds.flatMap((kind, at) => (at ? [mark, ...kind] : kind));

/** What a schema allows, as text with links to the named types. */
function typed(schema = {}) {
  if (schema.$ref) return [element("a", { href: `#type-${last(schema.$ref)}` }, last(schema.$ref))];
  if ("const" in schema) return [JSON.stringify(schema.const)];
  if (schema.enum) return [schema.enum.map((each) => JSON.stringify(each)).join(" | ")];
  if (schema.allOf) return joined(schema.allOf.map(typed), " & ");
  if (schema.type === "array") return [...typed(schema.items), "[]"];
  if (schema.properties && Object.keys(schema.properties).length) {
    const required = schema.required ?? [];
    const fields = Object.entries(schema.properties).map(([name, field]) => [`${name}${required.includes(name) ? "" : "?"}: `, ...typed(field)]);
    return ["{ ", ...joined(fields, ", "), schema.additionalProperties === true ? ", … }" : " }"];
  }
  if (schema.additionalProperties?.type) return ["{ [id]: ", ...typed(schema.additionalProperties), " }"];
  if (schema.type) return [schema.type];
  if (schema.anyOf) return joined(schema.anyOf.map(typed), " | ");
  return ["anything"];
}

const code = (schema) => element("code", {}, typed(schema));
const row = (term, ...said) => [element("dt", {}, term), element("dd", {}, ...said)];

/** Text with what stands between backticks as code. */
const prose = (text) => text.split("`").map((part, at) => (at % 2 ? element("code", {}, part) : part));

function content(said) {
  return Object.entries(said.content ?? {}).map(([type, { schema }]) => [element("code", {}, type), " ", ...(Object.keys(schema).length ? [code(schema)] : [])]).flat();
}

function operation(path, method, said) {
  const taken = (said.parameters ?? []).map((each) => row(`${each.name} (${each.in})`, code(each.schema)));
  const body = said.requestBody ? [row("body", ...content(said.requestBody))] : [];
  const answers = Object.entries(said.responses).map(([status, answer]) => row(status, ...prose(answer.description), " ", ...content(answer)));
  return element("details", { id: `${method}-${path}` },
    element("summary", {}, element("b", {}, method), element("code", {}, path), " ", element("span", { class: "says" }, said.summary)),
    element("dl", {}, [...taken, ...body, ...answers].flat()));
}

function message(name, said) {
  const acked = said["x-ack"] ? row("ack", code(said["x-ack"])) : [];
  return element("details", { id: `event-${name}` },
    element("summary", {}, element("code", {}, name)),
    element("dl", {}, [...row("data", code(said.payload)), ...acked]));
}

function show(id, parts) {
  document.getElementById(id).append(...parts);
}

const words = { receive: "a device says", send: "a device hears" };
for (const said of Object.values(events.operations)) {
  const channel = events.channels[last(said.channel.$ref)];
  show("events", [
    element("h3", {}, `${channel.description} ${channel.address}: ${words[said.action]}`),
    ...said.messages.map(({ $ref }) => message(last($ref), events.components.messages[last($ref)])),
  ]);
}

const tags = new Map();
for (const [path, methods] of Object.entries(http.paths)) {
  for (const [method, said] of Object.entries(methods)) {
    const [tag] = said.tags;
    tags.set(tag, [...(tags.get(tag) ?? []), operation(path, method, said)]);
  }
}
for (const [tag, operations] of tags) show("http", [element("h3", {}, tag), ...operations]);

for (const [name, schema] of Object.entries(http.components.schemas)) {
  const said = schema.description ? [element("p", { class: "says" }, prose(schema.description))] : [];
  show("types", [element("div", { class: "type", id: `type-${name}` }, element("b", {}, name), " ", code(schema), ...said)]);
}
document.body.dataset.shown = "true";
