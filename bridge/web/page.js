// The page: one room, seen by a device behind each door, and trouble to watch it heal from.
// Its address says what is shown: #room=ID, #nodes=8080,8081 (ports of the nodes), #trouble=PORT (of the demo).

import { DeviceView } from "/web/device_view.js";
import { DOORS } from "/web/doors.js";
import { Figures } from "/web/figures.js";
import { flagged } from "/web/flag.js";
import { keys } from "/web/keys.js";
import { themed } from "/web/theme.js";
import { announce } from "/web/toasts.js";
import { troubled } from "/web/trouble.js";

const LIMIT = 6; // a browser keeps six HTTP connections to a node; a stream takes one, and one is to ask with
const asked = new URLSearchParams(location.hash.slice(1));
const nodes = (asked.get("nodes") ?? "").match(/\d+/g)?.map(at) ?? [location.origin];
const by = (id) => document.getElementById(id);
const room = { id: asked.get("room") || "demo", devices: [], figures: new Figures() };

function at(port) {
  return `${location.protocol}//${location.hostname}:${port}`;
}

function add(kind) {
  const taken = room.devices.map(({ number }) => number);
  const number = [1, 2, 3, 4, 5, 6].find((each) => !taken.includes(each));
  const { figures } = room;
  const device = new DeviceView(number, kind, room.id, nodes, {
    figures,
    asked: (requestId) => figures.asked(requestId, performance.now()),
    answer: (message) => figures.heard(message, room.devices, performance.now()),
    changed: show,
    removed: remove,
  });
  room.devices = [...room.devices, device].sort((one, other) => one.number - other.number);
  by("devices").append(...room.devices.map(({ panel }) => panel));
  limit();
  show();
  return device;
}

function full() {
  const streams = room.devices.filter(({ kind }) => DOORS[kind].streams).length;
  return room.devices.length >= LIMIT || (streams >= LIMIT - 1 && Boolean(DOORS[by("door").value].streams));
}

function limit() {
  by("add").querySelector("button").disabled = full();
}

function remove(device) {
  device.close();
  room.devices = room.devices.filter((each) => each !== device);
  limit();
  (room.devices[0] ?? { focus: () => by("door").focus() }).focus();
  show();
}

/** Move all devices to the room `id`. */
function open(id) {
  const kinds = room.devices.map(({ kind }) => kind);
  for (const device of room.devices) device.close();
  Object.assign(room, { id, devices: [], figures: new Figures() });
  asked.set("room", id);
  history.replaceState(null, "", `#${asked}`);
  named();
  for (const kind of kinds) add(kind);
  room.devices[0]?.focus();
}

function named() {
  by("room-name").value = room.id;
  const known = [...by("rooms").options].map(({ value }) => value);
  if (!known.includes(room.id)) by("rooms").append(new Option(room.id, room.id));
}

function figure(name, text, state = "") {
  const shown = document.querySelector(`[data-figure="${name}"]`);
  if (shown.textContent !== text) shown.textContent = text;
  shown.dataset.state = state;
}

let told = ""; // what was announced last

function show() {
  const { devices, figures } = room;
  figure("resumes", String(figures.resumes));
  figure("repaired", String(figures.repaired));
  const latest = figures.latest(devices, (device, id) => device.shows(id));
  figure("first", latest?.firstMs >= 0 ? `${Math.round(latest.firstMs)} ms` : "–");
  figure("rate", latest?.wordsPerS > 0 ? latest.wordsPerS.toFixed(1) : "–");
  figure("equal", latest ? `${latest.count} of ${latest.of} ${latest.verdict === "growing" ? "in step" : "equal"}` : "–", latest?.verdict);
  if (!latest || told === `${latest.id} ${latest.verdict}`) return;
  told = `${latest.id} ${latest.verdict}`;
  announce(words(latest));
}

function words({ verdict, count, of }) {
  if (verdict === "growing") return "An answer begins.";
  return `The answer is complete, equal on ${count} of ${of} devices.`;
}

function wire() {
  for (const [kind, { name }] of Object.entries(DOORS)) by("door").append(new Option(name, kind));
  by("add").addEventListener("submit", (event) => {
    event.preventDefault();
    if (!full()) add(by("door").value).focus();
  });
  by("door").addEventListener("change", limit);
  by("room").addEventListener("submit", (event) => {
    event.preventDefault();
    open(by("room-name").value);
  });
  by("new-room").addEventListener("click", () => open(`room-${Math.random().toString(36).slice(2, 7)}`));
  addEventListener("hashchange", () => location.reload()); // another address was typed or followed
  keys(() => room.devices);
  themed(by("theme"));
  flagged(by("flag"), by("flag-label"));
  if (asked.has("trouble"))
    troubled(at(asked.get("trouble")), { group: document.querySelector(".trouble"), stall: by("stall"), kill: by("kill") });
}

if (nodes.length > 1) by("lead").textContent = `One room on ${nodes.length} processes: kill the one that answers, every device still gets the whole.`;
wire();
named();
for (const kind of Object.keys(DOORS)) add(kind);
room.devices[0].focus();
