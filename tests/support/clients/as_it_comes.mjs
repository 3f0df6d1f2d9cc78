// A package as its README shows it: node as_it_comes.mjs PACKAGE ADDRESS
import "./browser.mjs";

const START = {
  sockette: async (url) => {
    const { default: Sockette } = await import("sockette");
    new Sockette(url);
  },
  "robust-websocket": async (url) => {
    const { default: RobustWebSocket } = await import("robust-websocket");
    new RobustWebSocket(url);
  },
  "rpc-websockets": async (url) => {
    const { Client } = await import("rpc-websockets");
    new Client(url);
  },
  "reconnecting-websocket": async (url) => {
    const { default: ReconnectingWebSocket } = await import("reconnecting-websocket");
    new ReconnectingWebSocket(url);
  },
  partysocket: async (url) => {
    const { WebSocket: ReconnectingWebSocket } = await import("partysocket");
    new ReconnectingWebSocket(url);
  },
};

const [name, url] = process.argv.slice(2);
await START[name](url);
