// The doors that a device of the page may stand behind. `alone`: it is told of whole answers only if it asked for them.
// `streams`: it holds an HTTP connection for as long as it listens.
// Where a page may not open a websocket, the next way is taken.

import { overCompleteCall, overEventStream, overWebSocket } from "/web/client.js";
import { overSocketIo } from "/web/socket_io.js";
import { overUiStream } from "/web/ui_stream.js";

const growing = { streaming: true };

export const DOORS = {
  "socket.io": {
    name: "Socket.IO",
    kind: "hears the answer grow",
    auth: growing,
    ways: [overSocketIo, overEventStream, overCompleteCall],
  },
  websocket: {
    name: "WebSocket",
    kind: "plain frames of JSON",
    auth: growing,
    ways: [overWebSocket, overEventStream, overCompleteCall],
  },
  sse: {
    name: "SSE",
    kind: "hears a stream, posts",
    auth: growing,
    ways: [overEventStream, overCompleteCall],
    streams: true,
  },
  "ai-sdk": {
    name: "AI SDK",
    kind: "as useChat asks",
    auth: growing,
    ways: [overUiStream],
    alone: true,
    streams: true,
  },
  legacy: {
    name: "Legacy",
    kind: "whole answers only",
    auth: { streaming: false },
    ways: [overSocketIo, overEventStream, overCompleteCall],
  },
};

/** What a way is called where it is not the device's own. */
export const WAYS = {
  overSocketIo: "Socket.IO",
  overWebSocket: "WebSocket",
  overEventStream: "server-sent events",
  overCompleteCall: "complete calls",
  overUiStream: "UI message stream",
};
