// A device of the chat-server, as an app of today has one: socket.io-client of major version 4, 3 or 2. Told what
// to do by lines of JSON on stdin, telling what it hears as lines of JSON on stdout.
// Arguments: version, address, JSON of the options of io().
import { createInterface } from "node:readline";

const [version, address, options] = process.argv.slice(2);
const packages = { 4: "socket.io-client", 3: "socket.io-client-3", 2: "socket.io-client-2" };
const client = await import(packages[version]);
const io = client.io ?? client.default;
const say = (what) => process.stdout.write(JSON.stringify(what) + "\n");
const socket = io(address, JSON.parse(options));
const events = [
  "new_message",
  "message_failed",
  "ai_message_start",
  "ai_message_chunk",
  "ai_message_end",
  "ai_message_status",
  "ai_message_tool",
];

socket.on("connect", () => say({ connected: socket.id }));
socket.on("connect_error", (error) => say({ refused: String(error?.message ?? error) }));
socket.on("disconnect", (reason) => say({ disconnected: reason }));
for (const event of events) socket.on(event, (data) => say({ event, data }));

createInterface({ input: process.stdin }).on("line", (line) => {
  const { emit, data, close } = JSON.parse(line);
  if (close) {
    socket.close();
    process.exit(0);
  }
  socket.emit(emit, data, (ack) => say({ ack }));
});
