// What is measured of a room while it is watched. No page needed: times come in as arguments, in milliseconds.

/** Whether devices show the same. `shown`: what each device that has the answer shows of it; `expected`: how many should. */
export function compared(shown, expected) {
  const longest = shown.reduce((one, { text }) => (text.length > one.length ? text : one), "");
  const same = shown.filter(({ text }) => text === longest).length;
  const ended = shown.filter(({ state }) => state === "done" || state === "error").length;
  if (ended < Math.max(shown.length, expected)) {
    const inStep = shown.filter(({ text }) => longest.startsWith(text)).length;
    return { verdict: inStep === shown.length ? "growing" : "differ", count: inStep, of: shown.length };
  }
  return { verdict: same === shown.length ? "equal" : "differ", count: same, of: shown.length };
}

function words(text) {
  return text.match(/\S+/g)?.length ?? 0;
}

export class Figures {
  #asked = new Map(); // requestId -> when
  #answers = new Map(); // messageId -> what is known of it
  #latest = null;
  resumes = 0;
  repaired = 0;

  asked(requestId, now) {
    this.#asked.set(requestId, now);
  }

  /** When the answer `messageId` was asked for, undefined where it was not on this page. */
  askedAt(messageId) {
    return this.#answers.get(String(messageId))?.askedAt;
  }

  /** Take what a device shows of an answer; `present` are the devices of the room. */
  heard(message, present, now) {
    const id = String(message.messageId);
    if (!this.#answers.has(id)) this.#answers.set(id, (this.#latest = { id, expected: [...present], chars: 0 }));
    const answer = this.#answers.get(id);
    answer.askedAt ??= this.#asked.get(message.requestId);
    answer.streamed ||= message.state === "streaming";
    if (message.text.length <= answer.chars) return;
    Object.assign(answer, { chars: message.text.length, words: words(message.text), lastAt: now });
    answer.first ??= { at: now, words: answer.words };
  }

  /** What is known of the latest answer; `shows` gives what a device shows of it, if anything. */
  latest(present, shows) {
    if (!this.#latest) return null;
    const { id, askedAt, first, lastAt, expected, streamed } = this.#latest;
    const shown = present.map((device) => shows(device, id)).filter(Boolean);
    const awaited = present.filter((device) => expected.includes(device) && (streamed || !device.door.alone || shows(device, id)));
    return {
      id,
      firstMs: first?.at - askedAt,
      wordsPerS: ((this.#latest.words - first?.words) * 1000) / (lastAt - first?.at),
      ...compared(shown, awaited.length),
    };
  }
}
