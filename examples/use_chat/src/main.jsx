// A room of the bridge in useChat. The address chooses room and transport: ?room=tea, ?room=tea&over=socket.io
import { useChat } from "@ai-sdk/react";
import { DefaultChatTransport } from "ai";
import { useState } from "react";
import { createRoot } from "react-dom/client";
import { io } from "socket.io-client";
import { SocketChatTransport } from "../../../bridge/web/chat_transport.js"; // one file without dependencies: copy it

const address = new URLSearchParams(location.search);
const room = address.get("room") ?? "demo";
const overSocket = address.get("over") === "socket.io";
const transport = overSocket
  ? new SocketChatTransport(io({ auth: { streaming: true }, transports: ["websocket"] }))
  : new DefaultChatTransport({ api: "/api/chat" });

/** The conversation so far, from the backend, which keeps it; what still grows is resumed. */
async function history() {
  const response = await fetch(`/chat/rooms/${encodeURIComponent(room)}/messages`);
  const { messages } = response.ok ? await response.json() : { messages: [] };
  return messages
    .filter(({ role, status }) => role === "user" || !["pending", "streaming"].includes(status))
    .map(({ messageId, role, content }) => ({ id: messageId, role, parts: [{ type: "text", text: content }] }));
}

function Chat({ messages: earlier }) {
  const [input, setInput] = useState("");
  const { messages, sendMessage, status, stop, error } = useChat({ id: room, messages: earlier, resume: true, transport });

  function send(event) {
    event.preventDefault();
    sendMessage({ text: input });
    setInput("");
  }

  // Over HTTP the SDK's own stop() only stops listening: nobody could tell it from a reload.
  const stopForAll = () => (overSocket ? stop() : fetch(`/api/chat/${encodeURIComponent(room)}/stop`, { method: "POST" }));

  return (
    <>
      <h1>Room {room}</h1>
      {messages.map(({ id, role, parts }) => (
        <p key={id} data-role={role}>
          <b>{role}</b> {parts.map((part) => (part.type === "text" ? part.text : "")).join("")}
        </p>
      ))}
      {error && <p role="alert">{error.message}</p>}
      <form onSubmit={send}>
        <input aria-label="Message" value={input} onChange={(event) => setInput(event.target.value)} />
        <button disabled={!input}>Send</button>
        <button type="button" onClick={stopForAll} disabled={status === "ready" || status === "error"}>Stop</button>
      </form>
      <output>{status}</output>
    </>
  );
}

createRoot(document.getElementById("root")).render(<Chat messages={await history()} />);
