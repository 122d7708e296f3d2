// The AI SDK's useChat over Socket.IO: a ChatTransport (package "ai", 5 and later) that asks and hears in a room.
// No dependency; give it a socket of socket.io-client 4. Over a socket a stop is told apart from a lost
// connection: stop() stops the turn for all, a reconnection resumes it.

const ACK_MS = 8000;
const ASK_MS = 30000;
const AGAIN_MS = 250;
const AGAIN = [undefined, "not_joined", "draining"]; // no ack, or that of a connection that was lost meanwhile
const FINISH = { stop: "stop", length: "length", "content-filter": "content-filter", "tool-calls": "tool-calls" };
const FAILED = ["error", "timeout", "interrupted"];
const EVENTS = ["start", "chunk", "end", "status", "tool", "reasoning"].map((name) => `ai_message_${name}`);

/** `new useChat({ transport: new SocketChatTransport(io(address)) })`; the chat's id is the room's. */
export class SocketChatTransport {
  /** @param {object} socket of socket.io-client  @param {{body?: object}} options body goes along with every send */
  constructor(socket, { body = {} } = {}) {
    this.socket = socket;
    this.body = body;
  }

  /** Ask, and give the answer as UI message chunks; throws what was refused. */
  async sendMessages({ chatId, messages, abortSignal, trigger, messageId, body }) {
    const asked = messages.findLast((message) => message.role === "user");
    const fresh = trigger === "submit-message" && messageId == null;
    const requestId = fresh && asked?.id ? asked.id : crypto.randomUUID();
    const send = { ...this.body, ...body, roomId: chatId, content: text(asked), requestId };
    const answer = new Answer(this.socket, chatId, requestId, send);
    const stream = answer.stream(abortSignal);
    try {
      await ask(this.socket, send);
    } catch (error) {
      answer.close();
      throw error;
    }
    return stream;
  }

  /** Go on with what runs in the room, from its start; null when nothing does. */
  async reconnectToStream({ chatId, abortSignal }) {
    const heard = [];
    const collect = (event, data) => heard.push([event, data]);
    this.socket.onAny(collect); // who is new in a room hears what runs before the ack
    try {
      const { active } = await call(this.socket, "join_room", { roomId: chatId });
      const running = active.at(-1);
      if (!running) return null;
      const answer = new Answer(this.socket, chatId, running.requestId);
      const stream = answer.stream(abortSignal);
      const replayed = heard.filter(([event, data]) => EVENTS.includes(event) && data.requestId === running.requestId);
      if (replayed.some(([event]) => event === "ai_message_start")) {
        for (const each of replayed) answer.take(...each);
      } else {
        answer.take("ai_message_start", running);
        answer.resume();
      }
      return stream;
    } finally {
      this.socket.offAny(collect);
    }
  }
}

/** One answer as it is heard: takes each chunk once and in order, asks again for what is missing. */
class Answer {
  #open = null; // the part that grows: {kind, id}
  #parts = 0;
  #seq = 0;
  #told = "";
  #messageId = null;
  #tools = new Map();
  #controller = null;
  #listeners = [];

  constructor(socket, roomId, requestId, send = null) {
    Object.assign(this, { socket, roomId, requestId, send });
  }

  stream(abortSignal) {
    const listen = (event, listener) => {
      this.socket.on(event, listener);
      this.#listeners.push(() => this.socket.off(event, listener));
    };
    const start = (controller) => (this.#controller = controller);
    const stream = new ReadableStream({ start, cancel: () => this.close() });
    for (const event of [...EVENTS, "new_message"]) {
      listen(event, (data) => data.requestId === this.requestId && this.take(event, data));
    }
    listen("connect", () => this.#back());
    abortSignal?.addEventListener("abort", () => {
      this.socket.emit("stop_message", { roomId: this.roomId, requestId: this.requestId }, () => {});
      this.close();
    });
    return stream;
  }

  close() {
    for (const stop of this.#listeners.splice(0)) stop();
  }

  /** Ask for what follows the last chunk; a room that was left by a lost connection is entered again. */
  resume() {
    const resume = this.#messageId === null ? {} : { [this.#messageId]: this.#seq };
    this.socket.emit("join_room", { roomId: this.roomId, resume }, ({ lost = [] }) => {
      if (lost.includes(String(this.#messageId))) this.#fail("the answer is no longer known");
    });
  }

  #back() {
    this.resume();
    // of an answer without a name nothing can be resumed; the same request makes no second one
    if (this.#messageId === null && this.send) this.socket.emit("send_message", this.send, () => {});
  }

  take(event, data) {
    if (event === "ai_message_start") this.#start(data.messageId);
    else if (event === "ai_message_chunk") this.#chunk(data);
    else if (event === "ai_message_reasoning") this.#grow("reasoning", data.delta);
    else if (event === "ai_message_status") this.#say({ type: "data-status", data: { status: data.status }, transient: true });
    else if (event === "ai_message_tool") this.#tool(data);
    else if (event === "ai_message_end") this.#end(data);
    else if (data.role === "assistant") this.#end({ ...data, finishReason: "stop" }); // an answer in one piece
  }

  #say(...parts) {
    for (const part of parts) this.#controller.enqueue(part);
  }

  #start(messageId) {
    if (this.#messageId !== null) return;
    this.#messageId = messageId;
    this.#say({ type: "start", messageId: String(messageId) });
  }

  #chunk({ seq, fromSeq = seq, delta }) {
    if (seq <= this.#seq) return;
    if (fromSeq !== this.#seq + 1) {
      this.resume();
      return;
    }
    this.#seq = seq;
    this.#grow("text", delta);
  }

  #grow(kind, delta) {
    if (kind === "text") this.#told += delta;
    if (this.#open?.kind !== kind) {
      this.#shut();
      this.#open = { kind, id: String(++this.#parts) };
      this.#say({ type: `${kind}-start`, id: this.#open.id });
    }
    this.#say({ type: `${kind}-delta`, id: this.#open.id, delta });
  }

  #shut() {
    if (this.#open) this.#say({ type: `${this.#open.kind}-end`, id: this.#open.id });
    this.#open = null;
  }

  #tool({ toolCallId, name, state, success, jobId }) {
    this.#shut();
    const seen = this.#tools.get(toolCallId);
    this.#tools.set(toolCallId, state);
    const named = { toolCallId, toolName: name, dynamic: true, providerExecuted: true };
    if (!seen) this.#say({ type: "tool-input-start", ...named });
    if (state !== "start" && (!seen || seen === "start")) this.#say({ type: "tool-input-available", ...named, input: {} });
    if (state === "result") this.#say({ type: "tool-output-available", toolCallId, output: { success, jobId } });
    if (state === "error") this.#say({ type: "tool-output-error", toolCallId, errorText: "the tool failed" });
  }

  #end({ messageId, content, finishReason, error }) {
    this.#start(messageId);
    if (content.startsWith(this.#told) && content !== this.#told) this.#grow("text", content.slice(this.#told.length));
    this.#shut();
    if (finishReason === "cancelled") this.#say({ type: "abort", reason: "cancelled" });
    else if (FAILED.includes(finishReason)) this.#say({ type: "error", errorText: error?.message ?? finishReason });
    else this.#say({ type: "finish", finishReason: FINISH[finishReason] ?? "other" });
    this.#over();
  }

  #fail(errorText) {
    this.#shut();
    this.#say({ type: "error", errorText });
    this.#over();
  }

  #over() {
    this.close();
    this.#controller.close();
  }
}

/** Send until it is answered: the same request makes no second answer, so a lost ack is no harm. */
async function ask(socket, send) {
  for (const until = Date.now() + ASK_MS; ; await new Promise((go) => setTimeout(go, AGAIN_MS))) {
    try {
      await call(socket, "join_room", { roomId: send.roomId });
      return await call(socket, "send_message", send);
    } catch (error) {
      if (Date.now() > until || !AGAIN.includes(error.code)) throw error;
    }
  }
}

async function call(socket, event, data) {
  const ack = await socket.timeout(ACK_MS).emitWithAck(event, data);
  if (!ack.ok) throw Object.assign(new Error(ack.error.message), { code: ack.error.code });
  return ack;
}

function text(message) {
  return (message?.parts ?? []).map((part) => (part.type === "text" ? part.text : "")).join("");
}
