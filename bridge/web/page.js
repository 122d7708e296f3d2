// The page: one room on three devices, so that one can watch them stay in step.

import { Connection, Room } from "/web/client.js";

const DEVICES = [
  { name: "Device 1", kind: "hears the answer grow", auth: { streaming: true } },
  { name: "Device 2", kind: "hears the answer grow", auth: { streaming: true } },
  { name: "Device 3", kind: "a client of today: whole answers", auth: { streaming: false } },
];
const TOOL = { start: "begins", call: "at work", result: "done", error: "failed" };
const FLAG_EVERY_MS = 2000;
const asked = new URLSearchParams(location.hash.slice(1));
const roomId = asked.get("room") ?? "demo";
const nodes = (asked.get("nodes") ?? "").match(/\d+/g)?.map(at) ?? [location.origin]; // #nodes=8080,8081: ports
const sentAt = new Map(); // requestId -> ms, set by whichever device sent it

function at(port) {
  return `${location.protocol}//${location.hostname}:${port}`;
}

function clone(id) {
  return document.getElementById(id).content.firstElementChild.cloneNode(true);
}

function toast(text) {
  const shown = document.createElement("p");
  shown.className = "toast";
  shown.textContent = text;
  document.getElementById("toasts").append(shown);
  setTimeout(() => shown.remove(), 6000);
}

class DeviceView {
  constructor({ name, kind, auth }, number) {
    const first = (number - 1) % nodes.length;
    this.connection = new Connection([...nodes.slice(first), ...nodes.slice(0, first)], auth);
    this.room = new Room(this.connection, roomId);
    this.rows = new Map();
    this.facts = new Map();
    this.panel = clone("device");
    this.panel.dataset.device = number;
    this.one("h2").textContent = name;
    this.one(".kind").textContent = kind;
    this.streaming = auth.streaming;
    this.wire();
  }

  one(selector) {
    return this.panel.querySelector(selector);
  }

  wire() {
    this.one("form").addEventListener("submit", (event) => this.send(event));
    this.one("[data-action=stop]").addEventListener("click", () => this.room.stop());
    this.one("[data-action=drop]").addEventListener("click", () => this.connection.drop());
    this.room.onerror = ({ code, message }) => toast(`${code}: ${message}`);
    this.room.subscribe(() => this.draw());
  }

  send(event) {
    event.preventDefault();
    const input = event.target.elements.content;
    if (!input.value.trim()) return;
    sentAt.set(this.room.send(input.value), performance.now());
    input.value = "";
  }

  draw() {
    const { messages, thinking } = this.room.getSnapshot();
    const link = this.one(".link");
    link.dataset.connected = this.room.connected;
    link.textContent = this.room.connected ? "connected" : "reconnecting";
    this.drawNode();
    for (const message of messages) this.drawMessage(message);
    this.one("[data-typing]").hidden = thinking.length === 0;
    this.one("[data-action=stop]").hidden = this.room.running().length === 0;
  }

  drawNode() {
    if (nodes.length === 1) return;
    const number = nodes.indexOf(this.connection.address) + 1;
    const badge = this.one(".node");
    badge.hidden = false;
    badge.dataset.node = number;
    badge.textContent = `node ${number}`;
    badge.title = this.connection.address;
  }

  drawMessage(message) {
    const row = this.row(message);
    const text = row.querySelector(".text");
    const grew = text.textContent !== message.text;
    if (grew) text.textContent = message.text;
    row.dataset.state = message.state;
    row.querySelector(".tools").textContent = message.tools.map(({ name, state }) => `${name}: ${TOOL[state]}`).join(" · ");
    row.querySelector(".reasoning").textContent = message.reasoning;
    if (message.messageId) row.dataset.messageId = message.messageId;
    if (message.role === "assistant") this.measure(row, message);
    if (message.state === "error" && !row.dataset.told) this.tell(row, message);
    const log = this.one(".log");
    if (grew) log.scrollTop = log.scrollHeight;
  }

  row(message) {
    const known = this.rows.get(message.key);
    if (known) return known;
    const row = clone("message");
    row.dataset.role = message.role;
    this.rows.set(message.key, row);
    this.one(".log").append(row);
    return row;
  }

  tell(row, message) {
    row.dataset.told = "true";
    toast(message.error ? message.error.message : "the message did not get through");
  }

  measure(row, message) {
    const began = sentAt.get(message.requestId);
    const facts = row.querySelector(".facts");
    const now = Math.round(performance.now() - began);
    if (began !== undefined && message.text && !row.dataset.ttft) row.dataset.ttft = now;
    if (began !== undefined && message.state !== "streaming" && !row.dataset.completion) row.dataset.completion = now;
    const times = [
      row.dataset.ttft && `first text ${row.dataset.ttft} ms`,
      row.dataset.completion && `complete ${row.dataset.completion} ms`,
      message.reason && message.reason !== "stop" && message.reason,
    ];
    facts.textContent = times.filter(Boolean).join(" · ");
  }
}

async function flag(value) {
  const said = { method: "PUT", headers: { "Content-Type": "application/json" } };
  const body = JSON.stringify({ value, who: "the page", why: "its switch" });
  const answer = await fetch("/admin/flag", value ? { ...said, body } : {});
  if (!answer.ok) throw new Error(`the flag answered ${answer.status}`);
  const now = (await answer.json()).value;
  document.getElementById("flag").setAttribute("aria-checked", now !== "off");
  document.getElementById("flag-label").textContent = Number.isInteger(now) ? `Streaming in ${now} % of rooms` : "Streaming";
}

function known(it = true) {
  document.getElementById("flag").disabled = !it;
}

async function flip() {
  const on = document.getElementById("flag").getAttribute("aria-checked") === "true";
  await flag(on ? "off" : "on").catch((error) => toast(error.message));
}

if (nodes.length > 1) document.getElementById("lead").textContent = `One room on ${nodes.length} processes. Kill the one that streams: every device still gets the whole answer.`;
DEVICES.forEach((device, index) => {
  const view = new DeviceView(device, index + 1);
  document.getElementById("devices").append(view.panel);
  view.draw();
});
document.getElementById("flag").addEventListener("click", flip);
const follow = () => flag().then(known, () => known(false)); // its node is gone: nobody knows
setInterval(follow, FLAG_EVERY_MS);
follow();
document.querySelector("input").focus();
