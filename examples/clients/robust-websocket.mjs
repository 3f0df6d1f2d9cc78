import RobustWebSocket from "robust-websocket";

export function stayConnected(retry, { onOpen, onMessage }) {
  let url;
  const socket = new RobustWebSocket(() => url, null, {
    automaticOpen: false, // its address must be there at once, and a token takes a while
    ignoreConnectivityEvents: true, // "offline" may be a false alarm
    shouldReconnect: () => null, // `dial` does it
  });
  async function dial() {
    url = await retry.url();
    if (!retry.over) socket.open();
  }
  socket.addEventListener("open", () => onOpen(socket));
  socket.addEventListener("message", ({ data }) => {
    retry.received(data);
    onMessage(JSON.parse(data));
  });
  socket.addEventListener("close", () => {
    if (!retry.over) dial();
  });
  dial();
}
