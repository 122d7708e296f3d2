// A device of the chat-server. As it is today it hears `new_message`; with --grow it also does what is new: it shows
// the answer as it grows.
//   node device.js "What is the sea?" [--grow] [--room demo] [--address http://127.0.0.1:3000]
import { parseArgs } from "node:util";
import { io } from "socket.io-client";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    grow: { type: "boolean", default: false },
    room: { type: "string", default: "demo" },
    address: { type: "string", default: "http://127.0.0.1:3000" },
  },
});
const [content] = positionals;
const roomId = values.room;
const socket = io(values.address);

socket.on("connect", () => {
  socket.emit("join_room", { roomId }, () => content && socket.emit("send_message", { roomId, content }));
});
socket.on("new_message", ({ role, content: text }) => {
  console.log(`${role}: ${text}`);
  if (role === "assistant") socket.close();
});
socket.on("message_failed", ({ reason }) => {
  console.error(reason);
  process.exit(1);
});

if (values.grow) {
  socket.on("ai_message_chunk", ({ delta }) => process.stdout.write(delta));
  socket.on("ai_message_end", () => process.stdout.write("\n"));
}
