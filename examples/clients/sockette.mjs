import Sockette from "sockette";

export async function stayConnected(retry, { onOpen, onMessage }) {
  while (!retry.over) {
    const url = await retry.url();
    if (retry.over) return;
    await new Promise((resolve) => {
      const socket = new Sockette(url, {
        onopen: () => onOpen(socket),
        onmessage: ({ data }) => {
          retry.received(data);
          onMessage(JSON.parse(data));
        },
        onclose: () => {
          socket.close(); // ends Sockette's own attempts: they reuse the old token
          resolve();
        },
      });
    });
  }
}
