// A chat-server without a Redis that uses examples/active_on_join.mjs. `GET /say?room=..&event=..&data=..` lets a room
// hear something, in the place of the bridge that publishes to its adapter. Environment: BRIDGE_URL.
import { createServer } from "node:http";
import { Server } from "socket.io";
import { joinWithActive } from "../../examples/active_on_join.mjs";

const http = createServer((request, response) => {
  const { searchParams } = new URL(request.url, "http://here");
  io.to(JSON.parse(searchParams.get("room"))).emit(searchParams.get("event"), JSON.parse(searchParams.get("data")));
  response.end();
});
const io = new Server(http);
io.on("connection", (socket) => {
  socket.on("join_room", async ({ roomId }, ack) => {
    await joinWithActive(socket, roomId, process.env.BRIDGE_URL);
    ack({ ok: true });
  });
});
http.listen(0, "127.0.0.1", () => console.log(JSON.stringify({ listening: http.address().port })));
