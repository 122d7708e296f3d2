// Which way a connection goes, and that it keeps to one that has worked.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Connection } from "../../bridge/web/client.js";

function blocked(address, auth, line) {
  queueMicrotask(line.lost);
  return { emit() {}, close() {} };
}

function free(address, auth, line) {
  queueMicrotask(line.connected);
  return { emit: (event, data, id) => line.answer(id, { ok: true, auth }), close() {} };
}

function heard(connection, event) {
  return new Promise((resolve) => {
    const deaf = connection.listen((name) => name === event && (deaf(), resolve()));
  });
}

test("a way that does not work gives place to the next, and one that has worked is kept", async () => {
  let token = 0;
  const connection = new Connection(["http://one", "http://two"], () => ({ token: ++token }), [blocked, free]);
  await heard(connection, "connect");
  assert.equal(connection.way, "free");
  assert.deepEqual(await connection.emit("join_room", {}), { ok: true, auth: { token } });
  for (let again = 0; again < 5; again++) {
    connection.drop();
    assert.equal((await connection.emit("join_room", {})).error.code, "offline");
    await heard(connection, "connect");
    assert.equal(connection.way, "free");
  }
  assert.ok(token > 5, "a fresh token at each connect");
  connection.close();
});

test("what waits for an ack is told when the connection is lost, and who was dropped is not heard", async () => {
  const lines = [];
  function mute(address, auth, line) {
    lines.push(line);
    queueMicrotask(line.connected);
    return { emit() {}, close() {} };
  }
  const connection = new Connection("http://one", {}, [mute]);
  const said = [];
  connection.listen((event) => said.push(event));
  await heard(connection, "connect");
  const ack = connection.emit("send_message", {});
  connection.close();
  assert.equal((await ack).error.code, "offline");
  lines[0].tell("new_message", {});
  lines[0].lost();
  assert.deepEqual(said, ["connect", "disconnect"]);
});

test("who is refused asks again with a fresh token, if there can be one", async () => {
  let opened = 0;
  function closed(address, auth, line) {
    opened++;
    queueMicrotask(() => line.refused({ code: "unauthorized", message: "no" }));
    return { emit() {}, close() {} };
  }
  const fixed = new Connection("http://one", { token: "old" }, [closed]);
  await heard(fixed, "disconnect");
  await new Promise((go) => setTimeout(go, 400)); // longer than the first pause
  assert.equal(opened, 1);
  const fresh = new Connection("http://one", () => ({ token: "new" }), [closed]);
  await heard(fresh, "refused");
  await heard(fresh, "refused");
  fresh.close();
});

test("a token that cannot be had is told, and asked for again", async () => {
  let asked = 0;
  const connection = new Connection("http://one", async () => (asked++ ? {} : Promise.reject(new Error("signed out"))), [free]);
  await heard(connection, "refused");
  await heard(connection, "connect");
  assert.equal(asked, 2);
  connection.close();
});
