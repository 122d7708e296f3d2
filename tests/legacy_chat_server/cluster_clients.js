// Clients of several servers in one process, told by lines of JSON on stdin: {"client", "connect": address,
// "options"}, {"client", "emit", "args"}, {"client", "close"}. Says what each hears, and acks what asks for it.
import { createInterface } from "node:readline";
import { io } from "socket.io-client";

const say = (what) => process.stdout.write(JSON.stringify(what) + "\n");
const shown = (value) => (Buffer.isBuffer(value) ? { $bytes: value.toString("base64") } : value);
const sockets = new Map();

function connect(client, address, options) {
  const socket = io(address, { transports: ["websocket"], reconnection: false, forceNew: true, ...options });
  sockets.set(client, socket);
  socket.on("connect", () => say({ client, connected: socket.id }));
  socket.on("disconnect", (reason) => say({ client, disconnected: reason }));
  socket.onAny((event, ...args) => {
    const ack = typeof args.at(-1) === "function" ? args.pop() : null;
    say({ client, event, args: args.map(shown) });
    if (event !== "never_acked") ack?.({ by: client });
  });
}

createInterface({ input: process.stdin }).on("line", (line) => {
  const { client, connect: address, options, emit, args, close } = JSON.parse(line);
  if (address) connect(client, address, options);
  if (emit) sockets.get(client).emit(emit, ...args, (ack) => say({ client, ack }));
  if (close) sockets.get(client).close();
});
