import { WebSocket as ReconnectingWebSocket } from "partysocket";

export function stayConnected(retry, { onOpen, onMessage }) {
  async function url() {
    const fresh = await retry.url();
    if (retry.over) socket.close(); // then it does not dial
    return fresh;
  }
  const socket = new ReconnectingWebSocket(url, [], {
    minReconnectionDelay: 0, // Retry waits; the package's own delays have no jitter
    maxReconnectionDelay: 0,
    connectionTimeout: 10_000,
    maxEnqueuedMessages: 64,
  });
  socket.addEventListener("open", () => onOpen(socket));
  socket.addEventListener("message", ({ data }) => {
    retry.received(data);
    if (retry.over) socket.close();
    onMessage(JSON.parse(data));
  });
}
