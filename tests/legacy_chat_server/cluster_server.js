// A Node server of a cluster, told what to do by lines of JSON on stdin: {"id", "do", ...}; answers each with
// {"id", "result"} or {"id", "error"} on stdout. The environment is that of server.js.
import { createServer } from "node:http";
import { createInterface } from "node:readline";
import { createAdapter, createShardedAdapter } from "@socket.io/redis-adapter";
import { createAdapter as createStreamsAdapter } from "@socket.io/redis-streams-adapter";
import { Emitter } from "@socket.io/redis-emitter";
import { Redis } from "ioredis";
import { createClient } from "redis";
import { Server } from "socket.io";

const { REDIS_URL, REDIS_CLIENT = "redis", ADAPTER = "classic", ADAPTER_KEY = "socket.io" } = process.env;
const say = (what) => process.stdout.write(JSON.stringify(what) + "\n");

async function connectedToRedis() {
  const client = REDIS_CLIENT === "ioredis" ? new Redis(REDIS_URL) : createClient({ url: REDIS_URL });
  client.on("error", () => {});
  if (REDIS_CLIENT !== "ioredis") await client.connect();
  return client;
}

const publisher = await connectedToRedis();
const subscriber = await connectedToRedis();
const adapters = {
  classic: () =>
    createAdapter(publisher, subscriber, {
      key: ADAPTER_KEY,
      requestsTimeout: 60000,
      publishOnSpecificResponseChannel: process.env.PUBLISH_ON_SPECIFIC_RESPONSE_CHANNEL === "1",
    }),
  sharded: () => createShardedAdapter(publisher, subscriber),
  streams: () => createStreamsAdapter(publisher),
};
const http = createServer();
const io = new Server(http, { adapter: adapters[ADAPTER]() });
const emitter = new Emitter(publisher, { key: ADAPTER_KEY });
io.on("connection", (socket) => {
  socket.on("join_room", ({ roomId }, ack) => {
    socket.join(roomId);
    ack({ ok: true });
  });
});
io.on("told", (told) => say({ told }));
io.on("greeting", (word, ack) => ack?.(`${word} from Node`));

// what JSON has not: {"$bytes": base64}, {"$date": ISO 8601}
function revived(value) {
  if (Array.isArray(value)) return value.map(revived);
  if (typeof value !== "object" || value === null) return value;
  if ("$bytes" in value) return Buffer.from(value.$bytes, "base64");
  if ("$date" in value) return new Date(value.$date);
  return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, revived(each)]));
}

const among = ({ rooms = [], except = [] }, from = io) => from.to(rooms).except(except);
const orders = {
  emit: (order) => {
    const to = order.volatile ? among(order).volatile : among(order);
    to.emit(order.event, ...revived(order.args));
  },
  emitAsEmitter: (order) => among(order, emitter).emit(order.event, ...revived(order.args)),
  emitWithAck: (order) => among(order).timeout(order.timeoutMs ?? 60000).emitWithAck(order.event, ...order.args),
  fetchSockets: async (order) =>
    (await among(order).fetchSockets()).map(({ id, rooms, data }) => ({ id, rooms: [...rooms], data })),
  sockets: async ({ rooms }) => [...(await io.of("/").adapter.sockets(new Set(rooms)))],
  allRooms: async () => [...(await io.of("/").adapter.allRooms())],
  serverCount: () => io.of("/").adapter.serverCount(),
  join: (order) => among(order).socketsJoin(order.join),
  leave: (order) => among(order).socketsLeave(order.leave),
  disconnect: (order) => among(order).disconnectSockets(order.close),
  serverSideEmit: ({ word }) => io.serverSideEmitWithAck("greeting", word),
  publish: ({ channel, message }) => publisher.publish(channel, message),
};

createInterface({ input: process.stdin }).on("line", async (line) => {
  const order = JSON.parse(line);
  try {
    say({ id: order.id, result: (await orders[order.do](order)) ?? null });
  } catch (error) {
    say({ id: order.id, error: error.message });
  }
});
http.listen(0, "127.0.0.1", () => say({ listening: http.address().port }));
