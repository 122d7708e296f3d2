// The client of a room: Socket.IO over the browser's WebSocket, and the assembly of what a room hears.
// No dependency. `apply` is pure, so that it can be tested without a browser.

const ACK_MS = 8000;
const AGAIN = ["offline", "no_ack", "draining"]; // the next connection sends it again
const REJOIN_MS = 1000;
const HANDSHAKE_MS = 5000; // a node that says nothing for so long is as good as dead
const BACK_OFF_MS = [200, 400, 800, 1600, 2000];

/** One Socket.IO connection to namespace "/"; comes back by itself until `close`, to another node if its own is gone. */
export class Connection {
  #ws = null;
  #acks = new Map();
  #nextAck = 0;
  #listeners = new Set();
  #attempt = 0;
  #at = 0;
  #closed = false;
  #watchdog = 0;
  #quietMs = HANDSHAKE_MS;

  /**
   * @param {string | string[]} addresses e.g. location.origin, or those of several nodes, the preferred one first
   * @param {object} auth sent at connect
   */
  constructor(addresses, auth = {}) {
    this.addresses = [addresses].flat();
    this.auth = auth;
    this.#open();
  }

  /** The node that it is, or tries to be, connected to. */
  get address() {
    return this.addresses[this.#at];
  }

  /** `listener(event, data)` hears every event, and "connect" / "disconnect" of the connection itself. */
  listen(listener) {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Send an event; resolves with its ack, `{ok: false, error}` when none came in time. */
  emit(event, data) {
    if (this.#ws?.readyState !== WebSocket.OPEN) return Promise.resolve(failed("offline", "not connected"));
    const id = this.#nextAck++;
    this.#ws.send(`42${id}${JSON.stringify([event, data])}`);
    return new Promise((resolve) => {
      this.#acks.set(id, resolve);
      setTimeout(() => this.#answer(id, failed("no_ack", "the bridge did not answer in time")), ACK_MS);
    });
  }

  /** Cut the connection as a network would; it comes back. */
  drop() {
    const ws = this.#ws;
    if (!ws) return;
    ws.onmessage = ws.onclose = null; // a dead network may never report the close
    ws.close();
    this.#ws = null;
    this.#lost();
  }

  close() {
    this.#closed = true;
    this.drop();
  }

  #open() {
    this.#quietMs = HANDSHAKE_MS;
    this.#ws = new WebSocket(this.address.replace(/^http/, "ws") + "/socket.io/?EIO=4&transport=websocket");
    this.#ws.onmessage = ({ data }) => this.#packet(data);
    this.#ws.onclose = () => this.drop();
    this.#watch();
  }

  #packet(text) {
    this.#watch();
    if (text[0] === "0") this.#handshake(JSON.parse(text.slice(1)));
    else if (text === "2") this.#ws.send("3");
    else if (text.startsWith("40")) this.#connected();
    else if (text.startsWith("42")) this.#tell(...JSON.parse(text.slice(2)));
    else if (text.startsWith("43")) this.#acked(text.slice(2));
    else if (text.startsWith("44") || text.startsWith("41")) this.#refused(text);
  }

  #refused(text) {
    const why = text.startsWith("44") ? JSON.parse(text.slice(2)) : {};
    if (why.data?.retryable === false) this.#closed = true;
    this.#tell("refused", why);
    this.drop();
  }

  #handshake({ pingInterval, pingTimeout }) {
    this.#quietMs = pingInterval + pingTimeout;
    this.#ws.send("40" + JSON.stringify(this.auth));
  }

  #connected() {
    this.#attempt = 0;
    this.#tell("connect");
  }

  #acked(text) {
    const at = text.indexOf("[");
    this.#answer(Number(text.slice(0, at)), JSON.parse(text.slice(at))[0]);
  }

  #answer(id, ack) {
    this.#acks.get(id)?.(ack);
    this.#acks.delete(id);
  }

  #watch() {
    clearTimeout(this.#watchdog);
    this.#watchdog = setTimeout(() => this.drop(), this.#quietMs);
  }

  #lost() {
    clearTimeout(this.#watchdog);
    for (const id of [...this.#acks.keys()]) this.#answer(id, failed("offline", "the connection was lost"));
    this.#tell("disconnect");
    if (this.#closed) return;
    if (this.#attempt > 0) this.#at = (this.#at + 1) % this.addresses.length; // its own node gets a second chance
    const waitMs = BACK_OFF_MS[Math.min(this.#attempt++, BACK_OFF_MS.length - 1)];
    setTimeout(() => this.#open(), waitMs * (0.5 + Math.random()));
  }

  #tell(event, data) {
    for (const listener of this.#listeners) listener(event, data);
  }
}

function failed(code, message) {
  return { ok: false, error: { code, message } };
}

/** A name never given before; also where a page is not served over https. */
function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** The state of a room before anything was heard. `messages` is in the order of appearance. */
export const NOTHING = Object.freeze({ messages: [], thinking: [] });

/**
 * What a room looks like after `event`. Chunks are taken only if they start behind the last one; a message
 * with `gap: true` has to be resumed.
 * Message: {key, requestId, messageId, role, text, seq, state: waiting|streaming|done|error, reason, error,
 *           tools: [{toolCallId, name, state: start|call|result|error}], reasoning}
 */
export function apply(state, event, data) {
  switch (event) {
    case "new_message":
      return done(state, data, { role: data.role, text: data.content, state: "done" });
    case "ai_message_status":
      return find(state, data) ? state : { ...state, thinking: think(state, data) };
    case "ai_message_start":
      return find(state, data) ? state : add(state, streaming(data));
    case "ai_message_chunk":
      return chunk(state, data);
    case "ai_message_tool":
      return grown(state, data, ({ tools }) => ({ tools: withTool(tools, data) }));
    case "ai_message_reasoning":
      return grown(state, data, ({ reasoning }) => ({ reasoning: reasoning + data.delta }));
    case "ai_message_end":
      return end(state, data);
    default:
      return state;
  }
}

function think(state, { requestId }) {
  return [...without(state.thinking, requestId), requestId];
}

function streaming(data) {
  return message(data, { role: "assistant", state: "streaming" });
}

function message({ requestId, messageId }, fields) {
  const nothing = { text: "", seq: 0, gap: false, tools: [], reasoning: "" };
  return { key: messageId ?? requestId, requestId, messageId, ...nothing, ...fields };
}

function find(state, { messageId, requestId, role = "assistant" }) {
  return state.messages.find(
    (m) => (messageId && m.messageId === messageId) || (m.requestId === requestId && m.role === role),
  );
}

function add(state, added) {
  return { ...state, messages: [...state.messages, added] };
}

function replace(state, known, fields) {
  return { ...state, messages: state.messages.map((m) => (m === known ? { ...m, ...fields } : m)) };
}

function without(list, item) {
  return list.filter((each) => each !== item);
}

function open(state, data) {
  return find(state, data) ? state : add(state, streaming(data));
}

function grown(state, data, fields) {
  const opened = open(state, data);
  const known = find(opened, data);
  return replace(opened, known, fields(known));
}

function withTool(tools, { toolCallId, name, state }) {
  const known = tools.some((tool) => tool.toolCallId === toolCallId);
  const said = { toolCallId, name, state };
  return known ? tools.map((tool) => (tool.toolCallId === toolCallId ? said : tool)) : [...tools, said];
}

function chunk(state, data) {
  const opened = open(state, data);
  if (find(opened, data).state !== "streaming") return opened; // nothing follows an end
  const known = find(opened, data);
  const first = data.fromSeq ?? data.seq;
  if (first > known.seq + 1) return replace(opened, known, { gap: true });
  if (first <= known.seq) return opened;
  const heard = { text: known.text + data.delta, seq: data.seq, gap: false };
  return { ...replace(opened, known, heard), thinking: without(opened.thinking, data.requestId) };
}

function end(state, data) {
  const broken = Boolean(data.error);
  const fields = { text: data.content, reason: data.finishReason, error: data.error };
  return done(state, data, { role: "assistant", ...fields, state: broken ? "error" : "done" });
}

function done(state, data, fields) {
  const known = find(state, { ...data, role: fields.role });
  const heard = { ...fields, messageId: data.messageId, gap: false };
  const next = known ? replace(state, known, heard) : add(state, message(data, heard));
  const answered = fields.role === "assistant";
  return answered ? { ...next, thinking: without(next.thinking, data.requestId) } : next;
}

/** A room over a connection: joins and resumes by itself, sends at once and again with the same id. */
export class Room {
  #connection;
  #roomId;
  #state = NOTHING;
  #unsent = new Map(); // requestId -> content, until the bridge has it
  #unanswered = new Map(); // requestId -> content, until its answer is whole
  #resuming = new Set();
  #subscribers = new Set();

  constructor(connection, roomId) {
    this.#connection = connection;
    this.#roomId = roomId;
    this.connected = false;
    this.onerror = () => {};
    connection.listen((event, data) => this.#hear(event, data));
  }

  subscribe = (subscriber) => {
    this.#subscribers.add(subscriber);
    return () => this.#subscribers.delete(subscriber);
  };

  getSnapshot = () => this.#state;

  /** Show `content` at once as ours, and send it until the bridge has it. Returns the request's id. */
  send(content) {
    const requestId = newId();
    this.#unsent.set(requestId, content);
    this.#unanswered.set(requestId, content);
    this.#set(add(this.#state, message({ requestId }, { role: "user", text: content, state: "waiting" })));
    this.#push(requestId);
    return requestId;
  }

  /** End every answer that is under way. */
  stop() {
    for (const requestId of this.running()) this.#ask("stop_message", { requestId });
  }

  /** The requests whose answers are under way. */
  running() {
    const streams = this.#state.messages.filter((m) => m.state === "streaming").map((m) => m.requestId);
    return [...new Set([...streams, ...this.#state.thinking])];
  }

  #hear(event, data) {
    if (event === "connect") this.#join();
    if (event === "disconnect") this.#setConnected(false);
    const next = data ? apply(this.#state, event, data) : this.#state;
    if (next !== this.#state) this.#set(next);
    if (event === "ai_message_chunk") this.#mend(next.messages.find((m) => m.gap));
    if (event === "ai_message_end" || data?.role === "assistant") this.#unanswered.delete(data.requestId);
  }

  async #mend(torn) {
    if (!torn || this.#resuming.has(torn.messageId)) return;
    this.#resuming.add(torn.messageId);
    await this.#ask("resume", { messageId: torn.messageId, seq: torn.seq });
    this.#resuming.delete(torn.messageId);
  }

  async #join() {
    const unfinished = this.#state.messages.filter((m) => m.state === "streaming");
    const resume = Object.fromEntries(unfinished.map((m) => [m.messageId, m.seq]));
    this.#set({ ...this.#state, thinking: [] }); // what still runs is told again
    const ack = await this.#ask("join_room", { resume });
    if (!ack.ok) return void setTimeout(() => this.#connection.drop(), REJOIN_MS);
    for (const messageId of ack.lost ?? []) this.#lose(messageId);
    this.#setConnected(true);
    for (const [requestId, content] of this.#unanswered) this.#unsent.set(requestId, content);
    for (const requestId of this.#unsent.keys()) this.#push(requestId);
  }

  #lose(messageId) {
    const known = find(this.#state, { messageId });
    if (known) this.#set(replace(this.#state, known, { state: "error", reason: "interrupted" }));
  }

  async #push(requestId) {
    if (!this.connected) return;
    const ack = await this.#ask("send_message", { requestId, content: this.#unsent.get(requestId) });
    if (!ack.ok && AGAIN.includes(ack.error.code)) return;
    this.#unsent.delete(requestId);
    if (!ack.ok) this.#unanswered.delete(requestId);
    const known = find(this.#state, { requestId, role: "user" });
    if (known?.state === "waiting")
      this.#set(replace(this.#state, known, { state: ack.ok ? "done" : "error" }));
  }

  async #ask(event, fields) {
    const ack = await this.#connection.emit(event, { roomId: this.#roomId, ...fields });
    if (!ack.ok && ack.error.code !== "offline") this.onerror(ack.error);
    return ack;
  }

  #setConnected(connected) {
    this.connected = connected;
    this.#set({ ...this.#state });
  }

  #set(state) {
    this.#state = state;
    for (const subscriber of this.#subscribers) subscriber();
  }
}
