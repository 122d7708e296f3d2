// A way of connection.js: Socket.IO 4 as its clients speak it, over a websocket from the start. No dependency.
// https://socket.io/docs/v4/socket-io-protocol/ (5) over https://socket.io/docs/v4/engine-io-protocol/ (4)

const PACKET = /^(4\d|\d)(\d*)([^]*)$/; // its type, the id of the ack that it asks for or is, its data

export function overSocketIo(address, auth, line) {
  const ws = new WebSocket(address.replace(/^http/, "ws") + "/socket.io/?EIO=4&transport=websocket");
  const say = (packet) => ws.readyState === WebSocket.OPEN && ws.send(packet);
  const takes = {
    0: () => say("40" + JSON.stringify(auth)),
    1: () => line.lost(),
    2: () => say("3"), // the answer to a ping
    40: () => line.connected(),
    41: () => line.lost(),
    42: (id, data) => (line.tell(...JSON.parse(data)), id && say(`43${id}[]`)),
    43: (id, data) => line.answer(Number(id), ...JSON.parse(data)),
    44: (_, data) => line.refused(refusal(JSON.parse(data))),
  };
  ws.onclose = () => line.lost();
  ws.onmessage = ({ data: packet }) => {
    line.alive();
    const [, type, id, data] = PACKET.exec(packet);
    takes[type]?.(id, data);
  };
  return { emit: (event, data, id) => say(`42${id}${JSON.stringify([event, data])}`), close: () => ws.close() };
}

function refusal({ message, data }) {
  return data ?? { code: "refused", message };
}
