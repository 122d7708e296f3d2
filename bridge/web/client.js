// A room as a device sees it: the assembly of what is heard, and a store for any front end. No dependency.
//   const rooms = new Rooms(connect({ addresses: location.origin, auth: { streaming: true } }));
//   const room = rooms.get(id); room.subscribe(draw); room.getSnapshot(); room.send("hi");
// `apply` is pure, so that it can be tested without a browser.

export { connect, Connection, SocketIoConnection, overCompleteCall, overEventStream, overWebSocket } from "./connection.js";

const AGAIN = ["offline", "no_ack", "draining"]; // the next connection sends it again
const HOPELESS = ["not_a_member", "bad_id", "bad_auth", "too_many_rooms"]; // to enter again would be refused again
const REJOIN_MS = 1000;

/** A name never given before; also where a page is not served over https. */
function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** The state of a room before anything was heard. `messages` is in the order of appearance. */
export const NOTHING = Object.freeze({ messages: [], thinking: [], connected: false, conversationId: null });

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
  const named = messageId && state.messages.find((m) => m.messageId === messageId);
  const unnamed = (m) => m.requestId === requestId && m.role === role && !(m.messageId && messageId);
  return named || state.messages.find(unnamed); // a request that is answered anew has two answers
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
  const ended = done(state, data, { role: "assistant", ...fields, state: broken ? "error" : "done" });
  return data.conversationId === undefined ? ended : { ...ended, conversationId: data.conversationId };
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

  /** A room without an id is a new conversation, and names itself. */
  constructor(connection, roomId = newId()) {
    this.#connection = connection;
    this.#roomId = roomId;
    this.onerror = () => {};
    connection.listen((event, data) => this.#hear(event, data));
    if (connection.connected) this.#join();
  }

  get roomId() {
    return this.#roomId;
  }

  get connected() {
    return this.#state.connected;
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

  /** Send what was refused once more, as the same request: it is answered once, whatever became of it. */
  retry(requestId) {
    const known = find(this.#state, { requestId, role: "user" });
    if (known?.state !== "error") return;
    this.#unsent.set(requestId, known.text);
    this.#unanswered.set(requestId, known.text);
    this.#set(replace(this.#state, known, { state: "waiting" }));
    this.#push(requestId);
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
    if (event === "disconnect") this.#set({ ...this.#state, connected: false });
    if (event === "refused" || event === "error") this.#told(data);
    if (data?.roomId !== undefined && data.roomId !== this.#roomId) return;
    const next = data ? apply(this.#state, event, data) : this.#state;
    if (next !== this.#state) this.#set(next);
    if (event === "ai_message_chunk") this.#mend(next.messages.find((m) => m.gap));
    if (event === "ai_message_end" || data?.role === "assistant") this.#unanswered.delete(data.requestId);
  }

  /** Tell an error that is no answer to anything that was asked. */
  #told(error) {
    for (const messageId of error.lost ?? []) this.#lose(messageId);
    if (!error.lost) this.onerror(error);
  }

  async #mend(torn) {
    if (!torn || this.#resuming.has(torn.messageId)) return;
    this.#resuming.add(torn.messageId);
    const ack = await this.#ask("resume", { messageId: torn.messageId, seq: torn.seq });
    this.#resuming.delete(torn.messageId);
    if (ack.ok && ack.recovered === false) this.#lose(torn.messageId);
  }

  async #join() {
    const unfinished = this.#state.messages.filter((m) => m.state === "streaming");
    const resume = Object.fromEntries(unfinished.map((m) => [m.messageId, m.seq]));
    this.#set({ ...this.#state, thinking: [] }); // what still runs is told again
    const ack = await this.#ask("join_room", { resume });
    if (!ack.ok) return HOPELESS.includes(ack.error.code) || this.#rejoin();
    for (const messageId of ack.lost ?? []) this.#lose(messageId);
    this.#set({ ...this.#state, connected: true });
    for (const [requestId, content] of this.#unanswered) this.#unsent.set(requestId, content);
    for (const requestId of this.#unsent.keys()) this.#push(requestId);
  }

  #rejoin() {
    setTimeout(() => this.connected || this.#connection.drop(), REJOIN_MS);
  }

  #lose(messageId) {
    const known = this.#state.messages.find((m) => String(m.messageId) === String(messageId));
    if (known) this.#set(replace(this.#state, known, { state: "error", reason: "interrupted" }));
  }

  async #push(requestId) {
    if (!this.connected) return;
    const { conversationId } = this.#state;
    const goesOn = conversationId === null ? {} : { conversationId };
    const ack = await this.#ask("send_message", { requestId, content: this.#unsent.get(requestId), ...goesOn });
    if (!ack.ok && AGAIN.includes(ack.error.code)) return;
    this.#unsent.delete(requestId);
    if (!ack.ok) this.#refused(requestId);
    const known = find(this.#state, { requestId, role: "user" });
    if (known?.state === "waiting")
      this.#set(replace(this.#state, known, { state: ack.ok ? "done" : "error" }));
  }

  #refused(requestId) {
    this.#unanswered.delete(requestId);
    this.#set({ ...this.#state, thinking: without(this.#state.thinking, requestId) });
  }

  async #ask(event, fields) {
    const ack = await this.#connection.emit(event, { roomId: this.#roomId, ...fields });
    if (!ack.ok && ack.error.code !== "offline") this.onerror(ack.error);
    return ack;
  }

  #set(state) {
    this.#state = state;
    for (const subscriber of this.#subscribers) subscriber();
  }
}

/** The rooms of a connection: the same room under its own id and under that of its conversation, once it has one. */
export class Rooms {
  #connection;
  #rooms = new Map();

  constructor(connection) {
    this.#connection = connection;
  }

  /** The room; null: a new conversation. A page that changes its address to the id it got keeps what it shows. */
  get(id = null) {
    const known = id === null ? undefined : this.#rooms.get(id);
    return known ?? this.#open(id ?? undefined);
  }

  #open(id) {
    const room = new Room(this.#connection, id);
    this.#rooms.set(room.roomId, room);
    room.subscribe(() => {
      const { conversationId } = room.getSnapshot();
      if (conversationId !== null && !this.#rooms.has(conversationId)) this.#rooms.set(conversationId, room);
    });
    return room;
  }
}
