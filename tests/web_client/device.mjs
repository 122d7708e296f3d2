// A page without a page: the client module in front of a bridge, told what to do by lines on stdin, telling what it
// shows as lines of JSON on stdout. Arguments: address, JSON {way, auth, roomId}.
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import * as client from "../../bridge/web/client.js";
import { overSocketIo } from "../../bridge/web/socket_io.js";
import { overUiStream } from "../../bridge/web/ui_stream.js";

const [address, options] = process.argv.slice(2);
const { way, auth = {}, roomId } = JSON.parse(options);
const ways = { ...client, overSocketIo, overUiStream };
const say = (what) => void process.stdout.write(JSON.stringify(what) + "\n");

function connected() {
  if (way !== "socket.io-client") return client.connect({ addresses: address, auth, ways: [ways[way]] });
  const { io } = createRequire(new URL("../end_to_end/socket_io_client/package.json", import.meta.url))("socket.io-client");
  return client.connect({ socket: io(address, { transports: ["websocket"], auth, reconnectionDelay: 50 }) });
}

const connection = connected();
const room = new client.Rooms(connection).get(roomId);
const show = () => say({ shown: room.getSnapshot() });
room.onerror = (error) => say({ error });
room.subscribe(show);
show();

createInterface({ input: process.stdin }).on("line", (line) => {
  const [call, argument] = JSON.parse(line);
  if (call === "exit") process.exit(0);
  (call === "drop" ? connection : room)[call](argument);
});
