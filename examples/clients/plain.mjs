import { Heartbeat } from "./heartbeat.mjs";

export async function stayConnected(retry, { onOpen, onMessage, ...beats }) {
  while (!retry.over) {
    const url = await retry.url();
    if (retry.over) return;
    const socket = new WebSocket(url);
    let heartbeat;
    await new Promise((resolve) => {
      // A lost link may never say that it is closed: do not wait for its event.
      heartbeat = new Heartbeat(socket, resolve, beats);
      retry.onWake = () => heartbeat.beat();
      socket.onopen = () => {
        heartbeat.alive();
        onOpen(socket);
      };
      socket.onmessage = ({ data }) => {
        heartbeat.alive();
        retry.received(data);
        onMessage(JSON.parse(data));
      };
      socket.onclose = resolve;
    });
    heartbeat.stop();
    socket.onmessage = null;
    socket.close();
  }
}
