// One message of a device: what has grown is appended, never written anew.

import { copyOf } from "/web/template.js";

const TOOL = { start: "begins", call: "at work", result: "done", error: "failed" };

export class MessageView {
  #shown = "";
  drawn = null; // the message as it was drawn last

  constructor(role) {
    this.row = copyOf("message");
    this.row.dataset.role = role;
    this.#one(".who").textContent = role === "user" ? "Question: " : "Answer: ";
  }

  /** Draw `message`, which was asked for at `askedAt`. Returns whether its text grew. */
  draw(message, askedAt) {
    this.drawn = message;
    this.row.dataset.state = message.state;
    if (message.messageId) this.row.dataset.messageId = message.messageId;
    this.#one(".reasoning").textContent = message.reasoning;
    this.#drawTools(message.tools);
    const grew = this.#grow(message.text);
    if (message.role === "assistant") this.#measure(message, askedAt);
    return grew;
  }

  #one(selector) {
    return this.row.querySelector(selector);
  }

  #grow(text) {
    if (text === this.#shown) return false;
    const grown = this.#one(".grown");
    if (text.startsWith(this.#shown)) grown.append(text.slice(this.#shown.length));
    else grown.textContent = text; // the end said otherwise
    this.#shown = text;
    return true;
  }

  #drawTools(tools) {
    this.#one(".tools").replaceChildren(
      ...tools.map(({ name, state }) => {
        const tool = document.createElement("li");
        tool.dataset.state = state;
        tool.textContent = `${name}: ${TOOL[state]}`;
        return tool;
      }),
    );
  }

  #measure(message, askedAt) {
    const { dataset } = this.row;
    const since = Math.round(performance.now() - askedAt);
    if (askedAt !== undefined && message.text) dataset.ttft ??= since;
    if (askedAt !== undefined && message.state !== "streaming") dataset.completion ??= since;
    const times = [
      dataset.ttft && `first ${dataset.ttft} ms`,
      dataset.completion && `complete ${(dataset.completion / 1000).toFixed(2)} s`,
      message.reason && message.reason !== "stop" && message.reason,
    ];
    this.#one(".facts").textContent = times.filter(Boolean).join(" · ");
  }
}
