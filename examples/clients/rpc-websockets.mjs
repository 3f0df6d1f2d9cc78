import { CommonClient, WebSocket } from "rpc-websockets";

export async function stayConnected(retry, { onOpen, onMessage }) {
  const dataPack = {
    // API Gateway routes by `action`, so client.notify("heartbeat") reaches that route.
    encode: (call) => JSON.stringify({ action: call.method, ...call }),
    decode: (text) => {
      const message = JSON.parse(text);
      if (message.type) {
        retry.received(text); // a message of Hangup, not of JSON-RPC
        onMessage(message);
      }
      return message;
    },
  };
  while (!retry.over) {
    const url = await retry.url();
    if (retry.over) return;
    await new Promise((resolve) => {
      // Not `Client`: in a browser it takes no dataPack. Its own attempts would reuse the old token.
      const client = new CommonClient(WebSocket, url, { reconnect: false }, undefined, dataPack);
      client.on("open", () => onOpen(client));
      client.on("close", resolve);
      client.on("error", resolve); // refused: there is no "close" then
    });
  }
}
