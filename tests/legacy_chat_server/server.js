// The chat-server that people have today: socket.io 4 with the Redis adapter in front of an HTTP backend. It has
// never heard of the bridge. Several of it may run on one Redis. Settings come from the environment:
//   HOST, PORT                      where to listen (127.0.0.1, 0 = any free port)
//   REDIS_URL                       the Redis that all chat-servers share
//   REDIS_CLIENT                    redis | ioredis
//   ADAPTER                         classic | sharded | streams
//   ADAPTER_KEY                     the prefix of the classic adapter's channels
//   PUBLISH_ON_SPECIFIC_RESPONSE_CHANNEL  1: answers go to the asking server alone
//   BACKEND_URL                     POST {BACKEND_URL}/chat/messages answers with the complete message; with
//                                   several, separated by commas, each attempt goes to the next
//   RETRIES                         how often the POST is repeated, with the same requestId, where nobody or a 5xx
//                                   answered (0)
//   BACKEND_TOKEN, BACKEND_TIMEOUT_MS     its credentials, and how long an answer may take
// Says {"listening": port} on stdout once it serves; ends at SIGTERM.
import { createServer } from "node:http";
import { randomUUID } from "node:crypto";
import { createAdapter, createShardedAdapter } from "@socket.io/redis-adapter";
import { createAdapter as createStreamsAdapter } from "@socket.io/redis-streams-adapter";
import { Redis } from "ioredis";
import { createClient } from "redis";
import { Server } from "socket.io";

const {
  HOST = "127.0.0.1",
  PORT = "0",
  REDIS_URL = "redis://127.0.0.1:6379",
  REDIS_CLIENT = "redis",
  ADAPTER = "classic",
  ADAPTER_KEY = "socket.io",
  PUBLISH_ON_SPECIFIC_RESPONSE_CHANNEL = "0",
  BACKEND_URL = "http://127.0.0.1:5100",
  RETRIES = "0",
  BACKEND_TOKEN = "",
  BACKEND_TIMEOUT_MS = "200000",
} = process.env;
const RETRY_PAUSE_MS = 200;

async function connectedToRedis() {
  const client = REDIS_CLIENT === "ioredis" ? new Redis(REDIS_URL) : createClient({ url: REDIS_URL });
  client.on("error", (error) => console.error(`redis: ${error.message}`));
  if (REDIS_CLIENT !== "ioredis") await client.connect();
  return client;
}

async function adapter() {
  const publisher = await connectedToRedis();
  if (ADAPTER === "streams") return createStreamsAdapter(publisher);
  const subscriber = await connectedToRedis();
  if (ADAPTER === "sharded") return createShardedAdapter(publisher, subscriber);
  return createAdapter(publisher, subscriber, {
    key: ADAPTER_KEY,
    publishOnSpecificResponseChannel: PUBLISH_ON_SPECIFIC_RESPONSE_CHANNEL === "1",
  });
}

const backends = BACKEND_URL.split(",");
const later = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function askBackend(message, attempt = 0) {
  try {
    return await askOnce(backends[attempt % backends.length], message);
  } catch (error) {
    if (error.status < 500 || attempt >= Number(RETRIES)) throw error;
  }
  await later(RETRY_PAUSE_MS);
  return await askBackend(message, attempt + 1);
}

async function askOnce(backend, message) {
  const response = await fetch(`${backend}/chat/messages`, {
    method: "POST",
    headers: {
      "content-type": "application/json",
      ...(BACKEND_TOKEN && { authorization: `Bearer ${BACKEND_TOKEN}` }),
    },
    body: JSON.stringify(message),
    signal: AbortSignal.timeout(Number(BACKEND_TIMEOUT_MS)),
  });
  const { status } = response;
  if (!response.ok) throw Object.assign(new Error(`the backend answered ${status}`), { status });
  return await response.json();
}

const roomOf = (data) => (typeof data === "object" && data !== null ? data.roomId : data);

function serve(io, socket) {
  socket.on("join_room", async (data, ack) => {
    await socket.join(roomOf(data));
    ack?.({ ok: true, roomId: roomOf(data) });
  });

  socket.on("leave_room", async (data, ack) => {
    await socket.leave(roomOf(data));
    ack?.({ ok: true });
  });

  socket.on("send_message", async (data, ack) => {
    const message = { requestId: randomUUID(), ...data };
    const { requestId, roomId, content } = message;
    ack?.({ ok: true, requestId });
    io.to(roomId).emit("new_message", { requestId, roomId, role: "user", content });
    try {
      io.to(roomId).emit("new_message", await askBackend(message));
    } catch (error) {
      socket.emit("message_failed", { requestId, roomId, reason: error.message });
    }
  });
}

const http = createServer((request, response) => {
  response.writeHead(request.url === "/healthz" ? 200 : 404).end();
});
const io = new Server(http, { adapter: await adapter(), allowEIO3: true, cors: { origin: "*" } });
io.on("connection", (socket) => serve(io, socket));
http.listen(Number(PORT), HOST, () => console.log(JSON.stringify({ listening: http.address().port })));
process.on("SIGTERM", () => process.exit(0));
