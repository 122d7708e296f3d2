// One device: a connection behind its door, and what it shows of the room.

import { Connection, Room } from "/web/client.js";
import { DOORS, WAYS } from "/web/doors.js";
import { MessageView } from "/web/message_view.js";
import { copyOf } from "/web/template.js";
import { toast } from "/web/toasts.js";

const STILL_MS = 1200; // without a word for so long an answer is said to be waited for
const BOTTOM_PX = 48;

export class DeviceView {
  #rows = new Map();
  #torn = new Set(); // messageIds that lack something
  #status = new Map(); // requestId -> what the backend is busy with
  #heardAt = performance.now();
  #joined = false;
  #joins = 0;
  #told = new Set();

  /** `hooks` are the page's: its figures, asked(requestId), answer(message), changed(), removed(device). */
  constructor(number, kind, roomId, nodes, hooks) {
    Object.assign(this, { number, kind, nodes, hooks, door: DOORS[kind] });
    const first = (number - 1) % nodes.length;
    const addresses = [...nodes.slice(first), ...nodes.slice(0, first)];
    this.connection = new Connection(addresses, this.door.auth, this.door.ways);
    this.room = new Room(this.connection, roomId);
    this.panel = copyOf("device");
    this.#name();
    this.#wire();
    this.ticking = setInterval(() => this.#drawTyping(), 500);
    this.draw();
  }

  /** What it shows of an answer. */
  shows(messageId) {
    return this.room.getSnapshot().messages.find((each) => each.role === "assistant" && String(each.messageId) === messageId);
  }

  get streaming() {
    return this.room.running().length > 0;
  }

  focus() {
    this.#one("input").focus();
  }

  drop() {
    this.connection.drop();
  }

  close() {
    clearInterval(this.ticking);
    this.connection.close();
    this.panel.remove();
  }

  #one(selector) {
    return this.panel.querySelector(selector);
  }

  #name() {
    const { number, door } = this;
    this.panel.dataset.device = number;
    this.panel.dataset.door = this.kind;
    this.#one("h2").textContent = `Device ${number}`;
    this.#one(".door").textContent = door.name;
    this.#one(".kind span").textContent = door.kind;
    for (const [selector, label] of [
      [".log", `What device ${number} shows`],
      ["input", `Message of device ${number}`],
      ["[data-action=send]", `Send from device ${number}`],
      ["[data-action=stop]", `Stop the answer, from device ${number}`],
      ["[data-action=drop]", `Drop the connection of device ${number}`],
      ["[data-action=remove]", `Remove device ${number}`],
    ])
      this.#one(selector).setAttribute("aria-label", label);
    this.panel.setAttribute("aria-label", `Device ${number}, ${door.name}`);
  }

  #wire() {
    this.#one("form").addEventListener("submit", (event) => this.#send(event));
    this.#one("[data-action=stop]").addEventListener("click", () => this.room.stop());
    this.#one("[data-action=drop]").addEventListener("click", () => this.drop());
    this.#one("[data-action=remove]").addEventListener("click", () => this.hooks.removed(this));
    this.room.onerror = ({ code, message }) => toast(`Device ${this.number}, ${code}: ${message}`);
    this.connection.listen((event, data) => this.#heard(event, data));
    this.room.subscribe(() => this.draw());
  }

  #send(event) {
    event.preventDefault();
    const input = event.target.elements.content;
    if (!input.value.trim()) return;
    this.hooks.asked(this.room.send(input.value));
    input.value = "";
  }

  #heard(event, data) {
    this.#heardAt = performance.now();
    if (event === "ai_message_status") this.#status.set(data.requestId, data.status);
    if (event === "disconnect") this.#tear(({ state }) => state === "streaming");
  }

  /** Remember what lacks something, and how much was shown of it. */
  #tear(lacks) {
    for (const message of this.room.getSnapshot().messages.filter(lacks)) this.#torn.add(message.messageId);
  }

  /** Count that it is in the room again. */
  #join(joined) {
    if (joined && !this.#joined && this.#joins++ > 0) this.hooks.figures.resumes += 1;
    this.#joined = joined;
  }

  draw() {
    const { messages, connected } = this.room.getSnapshot();
    this.#tear(({ gap }) => gap);
    this.#join(connected);
    this.#drawLink();
    for (const message of messages) this.#drawMessage(message);
    this.#drawTyping();
    this.#one("[data-action=stop]").hidden = !this.streaming;
    this.hooks.changed();
  }

  #drawLink() {
    const link = this.#one(".link");
    const words = this.room.connected ? "connected" : "reconnecting";
    link.dataset.connected = this.room.connected;
    if (link.textContent !== words) link.textContent = words;
    const { way } = this.connection;
    const detour = this.#one(".detour");
    detour.hidden = way === this.door.ways[0].name;
    detour.textContent = `by ${WAYS[way]}`;
    this.#drawNode();
  }

  #drawNode() {
    if (this.nodes.length === 1) return;
    const node = this.#one(".node");
    node.hidden = false;
    node.dataset.node = this.nodes.indexOf(this.connection.address) + 1;
    node.textContent = `node ${node.dataset.node}`;
    node.title = this.connection.address;
  }

  #drawMessage(message) {
    const { figures } = this.hooks;
    const before = this.#rows.get(message.key);
    if (before?.drawn === message) return;
    const view = before ?? new MessageView(message.role);
    const log = this.#one(".log");
    const atBottom = log.scrollHeight - log.scrollTop - log.clientHeight < BOTTOM_PX;
    if (!before) this.#rows.set(message.key, view);
    if (!before) log.append(view.row);
    if (message.role === "assistant") this.hooks.answer(message);
    const grew = view.draw(message, figures.askedAt(message.messageId));
    if (grew && this.room.connected && this.#torn.delete(message.messageId)) figures.repaired += 1;
    if (grew && (atBottom || message.role === "user")) log.scrollTop = log.scrollHeight;
    if (message.state === "error") this.#tellOnce(message);
  }

  #tellOnce(message) {
    if (this.#told.has(message.key)) return;
    this.#told.add(message.key);
    toast(`Device ${this.number}: ${message.error ? message.error.message : "the message did not get through"}`);
  }

  #drawTyping() {
    const { thinking } = this.room.getSnapshot();
    const stillMs = performance.now() - this.#heardAt;
    const waiting = this.room.connected && this.streaming && stillMs > STILL_MS;
    const typing = this.#one("[data-typing]");
    typing.hidden = !thinking.length && !waiting;
    typing.dataset.waiting = waiting;
    if (typing.hidden) return;
    const status = this.#status.get(thinking.at(-1)) ?? "thinking";
    const words = waiting ? `no word from the backend for ${Math.floor(stillMs / 1000)} s` : status.replaceAll("_", " ");
    typing.querySelector("span").textContent = words;
  }
}
