// A device as an app has one: socket.io-client, told what to do by lines of JSON on stdin, telling what it
// hears as lines of JSON on stdout. Arguments: address, JSON of the options of io().
import { createInterface } from "node:readline";
import { io } from "socket.io-client";

const [address, options] = process.argv.slice(2);
const say = (what) => process.stdout.write(JSON.stringify(what) + "\n");
const socket = io(address, JSON.parse(options));

socket.io.on("open", () => {
  socket.io.engine.once("upgrade", (transport) => say({ upgraded: transport.name }));
});
socket.on("connect", () => say({ connected: socket.id }));
socket.on("connect_error", (error) => say({ refused: error.message, data: error.data ?? null }));
socket.on("disconnect", (reason) => say({ disconnected: reason }));
socket.onAny((event, data) => say({ event, data }));

createInterface({ input: process.stdin }).on("line", async (line) => {
  const { emit, data, close } = JSON.parse(line);
  if (close) {
    socket.close();
    process.exit(0);
  }
  try {
    say({ ack: await socket.timeout(60000).emitWithAck(emit, data) });
  } catch (error) {
    say({ ack: { ok: false, error: { code: "no_ack", message: String(error) } } });
  }
});
