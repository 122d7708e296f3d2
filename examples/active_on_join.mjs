// For a Node chat-server with the bridge in its backend's place: a device that joins, or comes back, in the middle of
// an answer hears what is there of it. Without this it hears the rest of the chunks, and the whole text at the end.
//
//   socket.on("join_room", (data) => joinWithActive(socket, data.roomId, "http://127.0.0.1:8080"));
export async function joinWithActive(socket, roomId, bridge) {
  const started = new Set(); // answers of which this device hears everything by itself
  const seen = {}; // the last chunk that it was sent of each
  const watch = (event, data) => {
    if (event === "ai_message_start") started.add(data.messageId);
    if (event === "ai_message_chunk") seen[data.messageId] = data.seq;
  };
  const overtaken = ({ event, data }) => event === "ai_message_chunk" && data.seq < seen[data.messageId];
  socket.onAnyOutgoing(watch);
  try {
    await socket.join(roomId);
    let active;
    do {
      const response = await fetch(`${bridge}/chat/rooms/${encodeURIComponent(roomId)}/active`);
      active = response.ok ? await response.json() : [];
    } while (active.some(overtaken)); // a chunk was faster than what should stand before it
    const lacking = active.filter(({ data }) => !started.has(data.messageId));
    for (const { event, data } of lacking) socket.emit(event, data);
  } finally {
    socket.offAnyOutgoing(watch);
  }
}
