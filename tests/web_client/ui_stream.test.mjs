// The AI SDK's stream as a way: what is asked for and what is listened to are one answer, whichever is heard first.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Connection } from "../../bridge/web/client.js";
import { overUiStream } from "../../bridge/web/ui_stream.js";

const START = { type: "start", messageId: "a-1" };

/** A bridge at the other end of fetch: each request waits in `asked` until the test answers it. */
function bridge() {
  const asked = [];
  const arrivals = [];
  globalThis.fetch = (url, { method = "GET", signal }) =>
    new Promise((answer, reject) => {
      signal.addEventListener("abort", () => reject(signal.reason));
      asked.push({ method, answer });
      arrivals.splice(0).forEach((arrived) => arrived());
    });
  return async (method) => {
    for (;;) {
      const at = asked.findIndex((each) => each.method === method);
      if (at >= 0) return asked.splice(at, 1)[0].answer;
      await new Promise((arrived) => arrivals.push(arrived));
    }
  };
}

function stream(...parts) {
  const records = parts.map((part) => `data: ${JSON.stringify(part)}\n\n`).join("");
  return new Response(new ReadableStream({ start: (open) => open.enqueue(new TextEncoder().encode(records)) }));
}

/** A device that is in a room, with a request that listens under way, and has just asked another question. */
async function asking(t, told) {
  const asked = bridge();
  const connection = new Connection("http://one", {}, [overUiStream]);
  t.after(() => connection.close());
  const said = [];
  await new Promise((connected) => connection.listen((event) => event === "connect" && connected()));
  connection.listen((event, data) => said.push([event, data?.[told]]));
  const joined = connection.emit("join_room", { roomId: "room" });
  (await asked("GET"))(new Response(null, { status: 204 }));
  await joined;
  const listened = await asked("GET");
  const ack = connection.emit("send_message", { roomId: "room", requestId: "r-1", content: "hi" });
  return { said, listened, ack, posted: await asked("POST") };
}

async function heard(said, count) {
  while (said.length < count) await new Promise((later) => setTimeout(later));
}

test("its own answer, heard first where it listens, is not taken for one that another asked for", async (t) => {
  const { said, listened, ack, posted } = await asking(t, "requestId");
  listened(stream(START));
  await new Promise((later) => setTimeout(later, 20)); // long enough to tell it, if it would
  posted(stream(START, { type: "data-status", data: { status: "thinking" } }));
  assert.deepEqual(await ack, { ok: true, requestId: "r-1" });
  await heard(said, 2);
  assert.deepEqual(said, [["ai_message_start", "r-1"], ["ai_message_status", "r-1"]]);
});

test("a question that is refused leaves what is listened to as it was", async (t) => {
  const { said, listened, ack, posted } = await asking(t, "messageId");
  posted(new Response(JSON.stringify({ error: { code: "content_too_large" } }), { status: 413 }));
  assert.equal((await ack).error.code, "content_too_large");
  listened(stream(START));
  await heard(said, 1);
  assert.deepEqual(said, [["ai_message_start", "a-1"]]);
});
