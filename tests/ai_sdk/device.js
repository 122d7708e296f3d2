// A React component with useChat, told what to do by lines of JSON on stdin, telling what it shows as lines of
// JSON on stdout. Arguments: address, JSON {id, resume, messages, transport}: "http" is the stock
// DefaultChatTransport, "socket.io" ours.
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { useChat } from "@ai-sdk/react";
import { DefaultChatTransport } from "ai";
import { createElement, useEffect } from "react";
import { create } from "react-test-renderer";
import { io } from "socket.io-client";

const [address, options] = process.argv.slice(2);
const { transport: kind, ...given } = JSON.parse(options);
const say = (what) => void process.stdout.write(JSON.stringify(what) + "\n");
let chat, socket, transport;
if (kind === "socket.io") {
  const ours = readFileSync(new URL("../../bridge/web/chat_transport.js", import.meta.url), "utf8");
  const { SocketChatTransport } = await import(`data:text/javascript,${encodeURIComponent(ours)}`);
  socket = io(address, { transports: ["websocket"], auth: { streaming: true }, reconnectionDelay: 50 });
  transport = new SocketChatTransport(socket);
} else {
  transport = new DefaultChatTransport({ api: `${address}/api/chat` });
}

function Room() {
  chat = useChat({
    ...given,
    transport,
    onData: (data) => say({ data }),
    onFinish: ({ isAbort, isError, finishReason }) => say({ finished: { isAbort, isError, finishReason } }),
  });
  const { status, messages, error } = chat;
  useEffect(() => say({ shown: { status, messages, error: error?.message ?? null } }), [status, messages, error]);
  return null;
}

console.error = () => {}; // the renderer says that it is old
create(createElement(Room));

createInterface({ input: process.stdin }).on("line", async (line) => {
  const { call, with: argument, close } = JSON.parse(line);
  if (close) process.exit(0);
  if (call === "post stop") {
    await fetch(`${address}/api/chat/${given.id}/stop`, { method: "POST" });
  } else if (call === "drop connection") {
    socket.io.engine.close();
  } else {
    chat[call](argument);
  }
});
