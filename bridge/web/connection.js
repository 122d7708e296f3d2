// How a device reaches its rooms: one connection, over the first way that works. No dependency.
// A connection has {connected, listen(listener), emit(event, data) -> ack, drop(), close()}; see Room.

const ACK_MS = 8000;
const QUIET_MS = 45000; // who says nothing for so long is as good as dead
const HANDSHAKE_MS = 5000;
const BETTER_MS = 60000; // so long the complete call is made do with, before a stream is tried again
const BACK_OFF_MS = [200, 400, 800, 1600, 2000];
const SIGNED_OUT = ["unauthorized", "token_expired"];
const TRIES = 2; // of each address, before a way that never worked gives place to the next

/** `{socket}` of socket.io-client, or `{addresses, auth, ways}`; see `Connection`. */
export function connect({ socket, addresses, auth, ways }) {
  return socket ? new SocketIoConnection(socket) : new Connection(addresses, auth, ways);
}

export function failed(code, message) {
  return { ok: false, error: { code, message } };
}

/** What every connection is: listeners that hear each event, and "connect" / "disconnect" / "refused". */
class Heard {
  #listeners = new Set();

  listen(listener) {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  tell(event, data) {
    for (const listener of [...this.#listeners]) listener(event, data);
  }
}

/** Over a socket of socket.io-client 4, which comes back by itself. */
export class SocketIoConnection extends Heard {
  constructor(socket) {
    super();
    this.socket = socket;
    socket.on("connect", () => this.tell("connect"));
    socket.on("disconnect", () => this.tell("disconnect"));
    socket.on("connect_error", (error) => error.data && this.tell("refused", error.data));
    socket.onAny((event, data) => this.tell(event, data));
  }

  get connected() {
    return this.socket.connected;
  }

  async emit(event, data) {
    if (!this.connected) return failed("offline", "not connected");
    const lost = () => failed("no_ack", "the bridge did not answer in time");
    return this.socket.timeout(ACK_MS).emitWithAck(event, data).catch(lost);
  }

  drop() {
    this.socket.io.engine?.close();
  }

  close() {
    this.socket.disconnect();
  }
}

/** Comes back by itself until `close`, to another node if its own is gone; keeps to a way that has worked once. */
export class Connection extends Heard {
  #current = null; // names the line that is listened to
  #line = null;
  #acks = new Map();
  #nextAck = 0;
  #attempt = 0;
  #at = 0;
  #way = 0;
  #proven = false;
  #closed = false;
  #timers = [];

  /**
   * @param {string | string[]} addresses e.g. location.origin, or those of several nodes, the preferred one first
   * @param {object | function} auth {token, streaming}, or what gives it, fresh, at each connect
   */
  constructor(addresses, auth = {}, ways = [overWebSocket, overEventStream, overCompleteCall]) {
    super();
    this.addresses = [addresses].flat();
    this.auth = auth;
    this.ways = ways;
    this.connected = false;
    this.#open();
  }

  /** The node that it is, or tries to be, connected to. */
  get address() {
    return this.addresses[this.#at];
  }

  /** The way that it goes, e.g. "overWebSocket". */
  get way() {
    return this.ways[this.#way].name;
  }

  /** Send an event; resolves with its ack, `{ok: false, error}` when none came in time. */
  emit(event, data) {
    if (!this.connected) return Promise.resolve(failed("offline", "not connected"));
    const id = this.#nextAck++;
    return new Promise((resolve) => {
      this.#acks.set(id, resolve);
      this.#line.emit(event, data, id);
      if (!this.#line.patient)
        setTimeout(() => this.#answer(id, failed("no_ack", "the bridge did not answer in time")), ACK_MS);
    });
  }

  /** Cut the connection as a network would; it comes back. */
  drop() {
    if (!this.#current) return;
    this.#current = null;
    this.#line?.close();
    this.#line = null;
    this.#lost();
  }

  close() {
    this.#closed = true;
    this.drop();
  }

  async #open() {
    const current = (this.#current = Symbol());
    const hooks = this.#hooks(current);
    this.#watch(HANDSHAKE_MS);
    const auth = await this.#token().catch((error) => hooks.refused({ code: "no_token", message: String(error) }));
    if (current !== this.#current) return;
    try {
      this.#line = this.ways[this.#way](this.address, auth, hooks);
    } catch {
      hooks.lost(); // the page may not go this way
    }
  }

  async #token() {
    return typeof this.auth === "function" ? this.auth() : this.auth;
  }

  /** What a way tells; once it was dropped it is not listened to any more. */
  #hooks(current) {
    const still = (act) => (...given) => current === this.#current && act(...given);
    return {
      connected: still(() => this.#connected()),
      alive: still(() => this.#watch()),
      tell: still((event, data) => this.tell(event, data)),
      answer: still((id, ack) => this.#answer(id, ack)),
      refused: still((why) => this.#refused(why)),
      lost: still(() => this.drop()),
      better: still(() => this.#startOver()),
    };
  }

  #connected() {
    this.connected = true;
    this.#watch();
    this.tell("connect");
  }

  #refused(why) {
    this.tell("refused", why);
    if (SIGNED_OUT.includes(why.code) && typeof this.auth !== "function") this.#closed = true; // it has no other token
    this.drop();
  }

  #answer(id, ack) {
    if (ack.ok) this.#attempt = 0;
    this.#proven ||= ack.ok;
    this.#acks.get(id)?.(ack);
    this.#acks.delete(id);
  }

  #watch(quietMs = QUIET_MS) {
    this.#timers.splice(0).forEach(clearTimeout);
    if (this.#line?.patient) return;
    this.#timers.push(setTimeout(() => this.drop(), quietMs));
    this.#timers.push(setTimeout(() => this.#line?.ping?.(), quietMs / 2));
  }

  #lost() {
    this.connected = false;
    this.#timers.splice(0).forEach(clearTimeout);
    for (const id of [...this.#acks.keys()]) this.#answer(id, failed("offline", "the connection was lost"));
    this.tell("disconnect");
    if (this.#closed) return;
    const waitMs = BACK_OFF_MS[Math.min(this.#attempt++, BACK_OFF_MS.length - 1)];
    if (this.#attempt > 1) this.#at = (this.#at + 1) % this.addresses.length; // its own node gets a second chance
    if (!this.#proven && this.#attempt % (TRIES * this.addresses.length) === 0)
      this.#way = (this.#way + 1) % this.ways.length;
    setTimeout(() => this.#closed || this.#open(), waitMs * (0.5 + Math.random()));
  }

  #startOver() {
    this.#way = 0;
    this.#proven = false;
    this.drop();
  }
}

/** A way: connects, says to `line` what it hears, gives {emit, close}; `patient` where acks may take long. */
export function overWebSocket(address, auth, line) {
  const ws = new WebSocket(address.replace(/^http/, "ws") + "/api/v1/chat/ws");
  const say = (frame) => ws.readyState === WebSocket.OPEN && ws.send(JSON.stringify(frame));
  ws.onopen = () => say({ event: "auth", data: auth, ack: "auth" });
  ws.onclose = () => line.lost();
  ws.onmessage = ({ data: text }) => {
    line.alive();
    const { event, data, ack } = JSON.parse(text);
    if (event !== "ack") line.tell(event, data);
    else if (ack !== "auth") line.answer(ack, data);
    else if (data.ok) line.connected();
    else line.refused(data.error);
  };
  return {
    emit: (event, data, ack) => say({ event, data, ack }),
    ping: () => say({ event: "ping", data: {}, ack: "ping" }),
    close: () => ws.close(),
  };
}

/** A stream of server-sent events for each room, by fetch, which unlike EventSource sends a header with the token. */
export function overEventStream(address, auth, line) {
  const streams = new Map(); // roomId -> AbortController
  const heard = auth.streaming == null ? "" : `?streaming=${auth.streaming}`;

  async function join({ roomId, resume = {} }) {
    streams.get(roomId)?.abort();
    const cut = new AbortController();
    streams.set(roomId, cut);
    const position = Object.entries(resume).map(([messageId, seq]) => `${messageId}=${seq}`);
    const headers = { ...bearer(auth), ...(position.length && { "Last-Event-ID": position.join(",") }) };
    const url = `${address}/chat/rooms/${encodeURIComponent(roomId)}/stream${heard}`;
    const response = await fetch(url, { headers, signal: cut.signal });
    if (!response.ok) return { ok: false, ...(await response.json()) };
    events(response.body, line).catch(() => {}).then(() => cut.signal.aborted || line.lost());
    return { ok: true, roomId, active: [] };
  }

  async function act(event, data) {
    if (event === "join_room") return join(data);
    if (event === "leave_room") return void streams.get(data.roomId)?.abort() ?? { ok: true };
    if (event === "resume") return line.lost() ?? failed("offline", "it comes back, and resumes"); // all of its rooms
    return (await post(`${address}/chat/events`, auth, { event, data })).told;
  }

  queueMicrotask(line.connected); // a room's stream is opened by joining it
  return {
    emit: (event, data, id) => answered(act(event, data), id, line),
    close: () => streams.forEach((stream) => stream.abort()),
  };
}

/** No stream at all: every answer is waited for, and comes whole. */
export function overCompleteCall(address, auth, line) {
  async function act(event, data) {
    if (event === "send_message") return ask(data);
    if (event === "stop_message") return (await post(`${address}/chat/events`, auth, { event, data })).told;
    const there = event !== "join_room" || (await fetch(`${address}/messages/`, { method: "OPTIONS" })).ok;
    return there ? { ok: true, active: [] } : failed("offline", "the bridge is not there");
  }

  async function ask(data) {
    const { requestId, roomId } = data;
    line.tell("ai_message_status", { requestId, roomId, status: "thinking" });
    const { status, told } = await post(`${address}/messages/`, auth, data);
    const failing = { requestId, roomId, messageId: requestId, content: "", finishReason: "error" };
    if (status === 200) line.tell("new_message", { role: "assistant", ...told });
    else if (![502, 504].includes(status)) return told;
    else line.tell("ai_message_end", { ...failing, ...told.message, error: told.error }); // it was taken, and failed
    return { ok: true, requestId };
  }

  const better = setTimeout(line.better, BETTER_MS);
  queueMicrotask(line.connected);
  return {
    patient: true,
    emit: (event, data, id) => answered(act(event, data), id, line),
    close: () => clearTimeout(better),
  };
}

export function bearer({ token }) {
  return token ? { Authorization: `Bearer ${token}` } : {};
}

export async function post(url, auth, body) {
  const headers = { "Content-Type": "application/json", ...bearer(auth) };
  const response = await fetch(url, { method: "POST", headers, body: JSON.stringify(body) });
  const told = await response.json();
  return { status: response.status, told: response.ok ? told : { ...told, ok: false } };
}

/** Answer with what `acting` comes to; one that cannot reach the bridge has lost it. */
export function answered(acting, id, line) {
  const told = (ack) => (SIGNED_OUT.includes(ack.error?.code) ? line.refused(ack.error) : line.answer(id, ack));
  acting.then(told, () => line.lost());
}

/** Tell `line` what stands in a stream of server-sent events, until it ends. */
async function events(body, line) {
  for await (const { event = "message", data } of records(body, line)) if (data) line.tell(event, JSON.parse(data));
}

/** The fields of each record in a stream of server-sent events, as the bridge writes them. */
export async function* records(body, line) {
  let rest = "";
  for await (const some of pieces(body)) {
    line.alive();
    const told = (rest + some).split("\n\n");
    rest = told.pop();
    for (const record of told) yield Object.fromEntries(record.split("\n").map((text) => text.split(/: (.*)/s)));
  }
}

async function* pieces(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  try {
    for (let next = await reader.read(); !next.done; next = await reader.read()) yield next.value;
  } finally {
    reader.cancel().catch(() => {}); // who reads no further ends the request
  }
}
