// Any reordering, repetition, cut or reload of what a room hears gives the same text: a bridge of the test's own
// that keeps every turn, a wire that does its worst, and rooms of the client behind it. SEED chooses the chance.
import assert from "node:assert/strict";
import { test } from "node:test";
import { NOTHING, Room, Rooms, apply } from "../../bridge/web/client.js";

const RUNS = 300;
const SEED = Number(process.env.SEED ?? 1);
const settled = () => new Promise(setImmediate);

/** Chance that can be had again: a 32-bit xorshift (Marsaglia 2003). */
function chance(seed) {
  let state = (seed * 2654435761) >>> 0 || 1;
  const next = () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>>= 0) / 2 ** 32;
  };
  return { below: (n) => Math.floor(next() * n), maybe: (p) => next() < p };
}

class Turn {
  constructor(requestId, deltas, conversationId) {
    Object.assign(this, { requestId, deltas, conversationId, said: 0, ended: false });
    this.ids = { requestId, roomId: "room", messageId: `m-${requestId}` };
    this.content = deltas.join("");
  }

  start() {
    return ["ai_message_start", this.ids];
  }

  chunk(fromSeq, seq) {
    return ["ai_message_chunk", { ...this.ids, fromSeq, seq, delta: this.deltas.slice(fromSeq - 1, seq).join("") }];
  }

  end() {
    const { conversationId } = this;
    return ["ai_message_end", { ...this.ids, content: this.content, finishReason: "stop", conversationId }];
  }

  /** What a device lacks that has heard up to `seq`; null: nothing at all. */
  since(seq) {
    const said = seq === null ? [this.start()] : [];
    if (this.said > (seq ?? 0)) said.push(this.chunk((seq ?? 0) + 1, this.said));
    return this.ended ? [...said, this.end()] : said;
  }

  /** Say the next word. */
  next() {
    if (this.said < this.deltas.length) return this.said++ === 0 ? [this.start(), this.chunk(1, 1)] : [this.chunk(this.said, this.said)];
    this.ended = true;
    return [this.end()];
  }
}

/** The bridge: turns by request, and what they say to every wire. */
class Bridge {
  turns = new Map();
  wires = new Set();
  asked = [];

  say(messages) {
    for (const wire of this.wires) wire.hear(messages);
  }

  ask(requestId, deltas, conversationId) {
    this.turns.set(requestId, new Turn(requestId, deltas, conversationId));
    this.say([["ai_message_status", { requestId, roomId: "room", status: "thinking" }]]);
  }

  go(random) {
    const open = [...this.turns.values()].filter((turn) => !turn.ended);
    if (open.length) this.say(open[random.below(open.length)].next());
    return open.length > 0;
  }
}

/** A connection that reorders, repeats and loses; it is joined once for all of its life. */
class Wire {
  connected = true;
  joined = false;
  waiting = [];
  listeners = [];

  constructor(bridge, random = null) {
    Object.assign(this, { bridge, random });
    bridge.wires.add(this);
  }

  listen(listener) {
    this.listeners.push(listener);
  }

  tell(event, data) {
    for (const listener of this.listeners) listener(event, data);
  }

  hear(messages) {
    if (this.connected && this.joined) this.waiting.push(...messages);
  }

  async emit(event, data) {
    if (!this.connected) return { ok: false, error: { code: "offline" } };
    const { turns } = this.bridge;
    if (event === "join_room") {
      this.joined = true;
      for (const turn of turns.values()) {
        const seq = data.resume[turn.ids.messageId];
        if (seq !== undefined || !turn.ended) this.hear(turn.since(seq ?? null));
      }
    } else if (event === "resume") {
      for (const turn of turns.values()) if (turn.ids.messageId === data.messageId) this.hear(turn.since(data.seq));
    } else if (event === "send_message") {
      this.bridge.asked.push(data);
      const { requestId, roomId, content } = data;
      this.hear([["new_message", { requestId, roomId, messageId: `u-${requestId}`, role: "user", content }]]);
      if (turns.has(requestId)) this.hear(turns.get(requestId).since(null));
      else this.bridge.ask(requestId, [...content].map((letter) => `${letter}.`), "conversation");
    }
    return { ok: true };
  }

  deliver() {
    const at = this.random ? this.random.below(Math.min(4, this.waiting.length)) : 0;
    const [message] = this.waiting.splice(at, 1);
    if (this.random?.maybe(0.1)) this.waiting.push(message);
    if (message) this.tell(...message);
  }

  async flush() {
    for (; this.waiting.length; await settled()) this.deliver();
  }

  cut() {
    Object.assign(this, { connected: false, joined: false, waiting: [] });
    this.tell("disconnect");
  }

  back() {
    this.connected = true;
    this.tell("connect");
  }

  close() {
    this.bridge.wires.delete(this);
  }
}

/** A room of which every picture is looked at: what it shows of an answer is always its beginning. */
function watched(wire) {
  const room = new Room(wire, "room");
  room.subscribe(() => {
    for (const { role, requestId, text } of room.getSnapshot().messages) {
      assert.ok(role === "user" || wire.bridge.turns.get(requestId).content.startsWith(text), `shows ${text}`);
    }
  });
  return room;
}

async function conversation(seed) {
  const random = chance(seed);
  const bridge = new Bridge();
  let wire = new Wire(bridge, random);
  let room = watched(wire);
  let foreign = 0;
  for (let step = 0; step < 60; step++) {
    await settled();
    if (random.maybe(0.08) && bridge.turns.size < 5) bridge.ask(`r${++foreign}`, Array.from({ length: random.below(9) }, (_, n) => `${n} `));
    if (random.maybe(0.05) && bridge.turns.size < 5) room.send("hello");
    if (random.maybe(0.5)) bridge.go(random);
    if (random.maybe(0.6)) wire.deliver();
    if (random.maybe(0.05)) wire.connected ? wire.cut() : wire.back();
    if (random.maybe(0.01)) {
      wire.close(); // the page is loaded anew, and remembers nothing
      wire = new Wire(bridge, random);
      room = watched(wire);
    }
  }
  await settled();
  while (bridge.go(random)) await settled();
  if (wire.connected) await wire.flush();
  if (wire.connected) wire.cut(); // what was torn last is mended by the next connection
  wire.back();
  for (let again = 0; again < 3; again++) {
    await settled();
    await wire.flush();
    while (bridge.go(random)) await settled(); // what was sent last
  }
  await wire.flush();
  return { bridge, state: room.getSnapshot() };
}

test("any reordering, repetition, cut or reload gives the same text", async () => {
  for (let run = 0; run < RUNS; run++) {
    const seed = SEED * 1_000_000 + run;
    const { bridge, state } = await conversation(seed);
    const answers = state.messages.filter((message) => message.role === "assistant");
    assert.equal(new Set(answers.map((message) => message.messageId)).size, answers.length, `seed ${seed}`);
    for (const { messageId, requestId, text, state: now } of answers) {
      assert.deepEqual([text, now], [bridge.turns.get(requestId).content, "done"], `seed ${seed}: ${messageId}`);
    }
    for (const { requestId, role, state: now } of state.messages.filter((message) => message.role === "user")) {
      assert.equal(now, "done", `seed ${seed}`);
      const same = (message) => message.requestId === requestId;
      assert.deepEqual(state.messages.filter(same).map((message) => message.role).sort(), ["assistant", role], `seed ${seed}`);
    }
    assert.deepEqual(state.thinking, [], `seed ${seed}`);
  }
});

test("the end alone is enough, and nothing follows it", () => {
  for (let run = 0; run < RUNS; run++) {
    const random = chance(run);
    const turn = new Turn("r", ["a", "b", "c"]);
    const heard = [];
    while (!turn.ended) heard.push(...turn.next());
    const shuffled = [...heard, ...heard].sort(() => random.below(3) - 1).filter(([event]) => event === "ai_message_end" || random.maybe(0.8));
    const state = shuffled.reduce((before, [event, data]) => apply(before, event, data), NOTHING);
    assert.deepEqual(state.messages.map(({ text, state: now }) => [text, now]), [["abc", "done"]], `run ${run}`);
  }
});

test("a message is shown at once, keeps its place, and is sent until it is taken, under one request", async () => {
  const bridge = new Bridge();
  const wire = new Wire(bridge);
  wire.connected = false;
  const room = new Room(wire, "room");
  const requestId = room.send("hi");
  assert.deepEqual(room.getSnapshot().messages.map(({ key, state }) => [key, state]), [[requestId, "waiting"]]);
  let flashed = false;
  room.subscribe(() => (flashed ||= room.getSnapshot().messages[0]?.key !== requestId));
  for (let again = 0; again < 3; again++) {
    wire.back();
    await settled();
    wire.cut();
    await settled();
  }
  wire.back();
  await settled();
  while (bridge.go(chance(1)));
  await wire.flush();
  assert.ok(bridge.asked.length > 1);
  assert.deepEqual([...new Set(bridge.asked.map((asked) => asked.requestId))], [requestId]);
  assert.deepEqual(room.getSnapshot().messages.map(({ role, text }) => [role, text]), [["user", "hi"], ["assistant", "h.i."]]);
  assert.ok(!flashed);
});

test("a refused message is an error, nobody is thinking, and it can be sent again", async () => {
  const bridge = new Bridge();
  const wire = new Wire(bridge);
  const sent = [];
  const busy = { ok: false, error: { code: "busy", message: "no" } };
  wire.emit = async (event, data) => (event !== "send_message" || sent.push(data.requestId) > 1 ? { ok: true } : busy);
  const room = new Room(wire, "room");
  const told = [];
  room.onerror = (error) => told.push(error.code);
  await settled();
  const requestId = room.send("hi");
  wire.tell("ai_message_status", { requestId, roomId: "room", status: "thinking" });
  await settled();
  assert.deepEqual([room.getSnapshot().messages[0].state, room.getSnapshot().thinking, told], ["error", [], ["busy"]]);
  room.retry(requestId);
  await settled();
  room.retry(requestId);
  assert.deepEqual([room.getSnapshot().messages[0].state, sent], ["done", [requestId, requestId]]);
});

test("a new conversation is the same room under the id that it gets", async () => {
  const bridge = new Bridge();
  const wire = new Wire(bridge);
  const rooms = new Rooms(wire);
  const room = rooms.get();
  assert.notEqual(room.roomId, rooms.get().roomId);
  await settled();
  const requestId = room.send("hi");
  const ids = { requestId, roomId: room.roomId, messageId: "m" };
  wire.tell("ai_message_end", { ...ids, content: "yes", finishReason: "stop", conversationId: "c-1" });
  assert.equal(rooms.get("c-1"), room);
  assert.equal(rooms.get(room.roomId), room);
  const shown = room.getSnapshot();
  wire.tell("ai_message_end", { ...ids, roomId: "other", content: "no", finishReason: "stop" });
  assert.equal(room.getSnapshot(), shown);
  room.send("more");
  await settled();
  assert.equal(bridge.asked.at(-1).conversationId, "c-1");
});

test("a request that is answered anew has two answers", () => {
  const first = { requestId: "r", roomId: "room", messageId: "m-1" };
  const second = { ...first, messageId: "m-2" };
  const heard = [
    ["ai_message_end", { ...first, content: "par", finishReason: "interrupted", error: { code: "x", message: "x" } }],
    ["ai_message_start", second],
    ["ai_message_chunk", { ...second, seq: 1, delta: "partial" }],
  ];
  const state = heard.reduce((before, [event, data]) => apply(before, event, data), NOTHING);
  assert.deepEqual(state.messages.map(({ text, state: now }) => [text, now]), [["par", "error"], ["partial", "streaming"]]);
});

test("what is missing is asked for at once", async () => {
  const bridge = new Bridge();
  const wire = new Wire(bridge);
  const room = new Room(wire, "room");
  await settled();
  bridge.ask("r", ["a", "b", "c", "d"]);
  bridge.go(chance(1));
  await wire.flush();
  bridge.go(chance(1));
  wire.waiting = []; // lost
  bridge.go(chance(1));
  await wire.flush();
  assert.deepEqual(room.getSnapshot().messages.map(({ text, gap }) => [text, gap]), [["abc", false]]);
});
