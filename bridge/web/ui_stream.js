// A way of connection.js: the AI SDK's UI message stream, asked and resumed over HTTP as useChat does it, and told as
// what a room hears. Such a stream always begins at the start of the answer and has no seq: the seq of a chunk is
// the count of characters up to its end, so that what is shown already can be left out.
// https://ai-sdk.dev/docs/ai-sdk-ui/stream-protocol#ui-message-stream-protocol

import { answered, bearer, post, records } from "./connection.js";

const WAIT_S = 20; // so long it waits for an answer that another device asks for
const TOLD = 64; // so many answers are known again
const TOOL = {
  "tool-input-start": "start",
  "tool-input-available": "call",
  "tool-output-available": "result",
  "tool-output-error": "error",
};

export function overUiStream(address, auth, line) {
  const over = new AbortController();
  const { signal } = over;
  const told = new Map(); // messageId -> the answer that is told, or was
  const chat = (roomId) => `${address}/api/chat/${encodeURIComponent(roomId)}`;
  const look = (roomId, waitS) => fetch(`${chat(roomId)}/stream?wait_s=${waitS}`, { headers: bearer(auth), signal });
  const unlessOver = (acting) => acting.catch(() => signal.aborted || line.lost());
  let own = Promise.resolve(); // until what it asked for itself is told
  let begun = own; // until that has begun, so that its answer is not taken for another's

  async function join({ roomId, resume = {} }) {
    const found = await look(roomId, 0);
    if (!found.ok) return { ok: false, ...(await found.json()) };
    unlessOver(follow(roomId, found, resume));
    return { ok: true, roomId, active: [], lost: found.status === 204 ? Object.keys(resume) : [] }; // an end is not told again
  }

  async function follow(roomId, found, resume) {
    for (let response = found; !signal.aborted; response = await look(roomId, WAIT_S)) {
      line.alive();
      if (!response.ok) throw new Error("the bridge does not let it listen");
      await begun;
      if (response.status === 200) await tell(new Answer(roomId, null, resume), response);
      await own;
    }
  }

  async function ask({ roomId, content, requestId, ...further }) {
    const said = { id: requestId, role: "user", parts: [{ type: "text", text: content }] };
    const body = JSON.stringify({ ...further, id: roomId, messages: [said] });
    const headers = { "Content-Type": "application/json", ...bearer(auth) };
    const answer = new Answer(roomId, requestId, {});
    const asking = fetch(chat(roomId), { method: "POST", headers, body, signal });
    const telling = asking.then((response) => response.ok && tell(answer, response));
    begun = Promise.allSettled([begun, Promise.race([answer.begun, telling])]);
    own = Promise.allSettled([own, telling]);
    const response = await asking;
    if (!response.ok) return { ok: false, ...(await response.json()) };
    unlessOver(telling);
    return { ok: true, requestId };
  }

  async function tell(answer, response) {
    for await (const { data } of records(response.body, line)) {
      if (!data || data === "[DONE]") continue;
      const part = JSON.parse(data);
      if (part.type === "start" && told.has(part.messageId)) return told.get(part.messageId).isOf(answer.requestId);
      if (part.type === "start") remember(part.messageId, answer);
      for (const each of answer.events(part)) line.tell(...each);
    }
    if (!answer.over) throw new Error("the stream was cut");
  }

  function remember(messageId, answer) {
    told.set(messageId, answer);
    if (told.size > TOLD) told.delete(told.keys().next().value);
  }

  async function act(event, data) {
    if (event === "join_room") return join(data);
    if (event === "send_message") return ask(data);
    if (event === "stop_message") return (await post(`${chat(data.roomId)}/stop`, auth, {})).told;
    return { ok: true };
  }

  queueMicrotask(line.connected);
  return { emit: (event, data, id) => answered(act(event, data), id, line), close: () => over.abort() };
}

/** One answer, part by part: what a room would hear. */
class Answer {
  #roomId;
  #requestId;
  #shown; // messageId -> characters that are shown already
  #text = "";
  #error;
  #tools = new Map();
  #begin;
  begun = new Promise((resolve) => (this.#begin = resolve)); // settles once it has a messageId
  messageId;
  over = false;

  constructor(roomId, requestId, shown) {
    this.#roomId = roomId;
    this.#requestId = requestId;
    this.#shown = shown;
  }

  get requestId() {
    return this.#requestId;
  }

  /** Know which request it answers; who found it running was not told. */
  isOf(requestId) {
    this.#requestId ??= requestId;
  }

  events(part) {
    switch (part.type) {
      case "start":
        this.messageId = part.messageId;
        this.#begin();
        return this.#said("ai_message_start");
      case "text-delta":
        return this.#grown(part.delta);
      case "reasoning-delta":
        return this.#said("ai_message_reasoning", { delta: part.delta });
      case "data-question":
        this.isOf(part.data.requestId);
        return [["new_message", part.data]];
      case "data-status":
        return this.#requestId || this.messageId ? this.#said("ai_message_status", part.data) : [];
      case "error":
        this.#error = { code: "failed", message: part.errorText };
        return [];
      case "abort":
        return this.#ended("cancelled");
      case "finish":
        return this.#ended(part.finishReason, part.messageMetadata);
      default:
        return TOOL[part.type] ? this.#tool(part) : [];
    }
  }

  #said(event, fields = {}) {
    const requestId = this.#requestId ?? this.messageId;
    return [[event, { requestId, roomId: this.#roomId, messageId: this.messageId, ...fields }]];
  }

  #grown(delta) {
    const shown = Math.max(this.#shown[this.messageId] ?? 0, this.#text.length);
    this.#text += delta;
    const seq = this.#text.length;
    return seq > shown ? this.#said("ai_message_chunk", { fromSeq: shown + 1, seq, delta: this.#text.slice(shown) }) : [];
  }

  #tool({ type, toolCallId, toolName = this.#tools.get(toolCallId) }) {
    this.#tools.set(toolCallId, toolName);
    return this.#said("ai_message_tool", { toolCallId, name: toolName, state: TOOL[type] });
  }

  #ended(finishReason, { content = this.#text, conversationId } = {}) {
    this.over = true;
    return this.#said("ai_message_end", { content, finishReason, conversationId, ...(this.#error && { error: this.#error }) });
  }
}
