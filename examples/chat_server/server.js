// The chat-server that many have: Socket.IO with the Redis adapter, and a POST to the backend for each answer. It has
// never heard of the bridge; the address to which it posts has changed, nothing else.
//   BACKEND_URL  where POST /chat/messages answers with the complete message: now the bridge
//   REDIS_URL    the Redis that its processes share: the bridge's too
import { randomUUID } from "node:crypto";
import { createAdapter } from "@socket.io/redis-adapter";
import { createClient } from "redis";
import { Server } from "socket.io";

const { PORT = "3000", BACKEND_URL = "http://127.0.0.1:8080", REDIS_URL = "redis://127.0.0.1:6379" } = process.env;

const publisher = await createClient({ url: REDIS_URL }).on("error", console.error).connect();
const subscriber = await publisher.duplicate().on("error", console.error).connect();
const io = new Server({ adapter: createAdapter(publisher, subscriber), cors: { origin: "*" } });

async function complete(message) {
  const headers = { "Content-Type": "application/json" };
  const response = await fetch(`${BACKEND_URL}/chat/messages`, { method: "POST", headers, body: JSON.stringify(message) });
  if (!response.ok) throw new Error(`the backend answered ${response.status}`);
  return response.json();
}

io.on("connection", (socket) => {
  socket.on("join_room", async ({ roomId }, ack) => {
    await socket.join(roomId);
    ack?.({ ok: true });
  });
  socket.on("send_message", async ({ roomId, content }, ack) => {
    const message = { requestId: randomUUID(), roomId, content };
    ack?.({ ok: true });
    io.to(roomId).emit("new_message", { ...message, role: "user" });
    try {
      io.to(roomId).emit("new_message", await complete(message));
    } catch (error) {
      socket.emit("message_failed", { roomId, reason: error.message });
    }
  });
});

io.listen(Number(PORT));
io.httpServer.once("listening", () => console.log(`the chat-server listens on ${io.httpServer.address().port}`));
