// What a browser has and Node.js lacks, and a WebSocket that says what happens to it: one JSON
// object a line. Nothing here keeps the process running, so it ends once no client waits or dials.
const page = new EventTarget();
globalThis.window = globalThis;
globalThis.addEventListener = page.addEventListener.bind(page);
globalThis.removeEventListener = page.removeEventListener.bind(page);
globalThis.document = Object.assign(new EventTarget(), { hidden: false });

export const say = (event) => process.stdout.write(`${JSON.stringify(event)}\n`);

// A server's message may make something happen to the page.
const HAPPENS = {
  comesOnline: () => page.dispatchEvent(new Event("online")),
  becomesVisible: () => document.dispatchEvent(new Event("visibilitychange")),
  goesToTheBackForwardCacheAndReturns: () => {
    page.dispatchEvent(new Event("pagehide"));
    page.dispatchEvent(Object.assign(new Event("pageshow"), { persisted: true }));
  },
};

globalThis.WebSocket = class extends WebSocket {
  constructor(url, protocols = []) {
    say({ dial: String(url) });
    super(url, protocols);
    this.addEventListener("open", () => say({ open: true }));
    this.addEventListener("message", ({ data }) => {
      const message = JSON.parse(data);
      say({ message });
      HAPPENS[message.type]?.();
    });
    this.addEventListener("close", ({ code, reason }) => say({ close: code, reason }));
  }
};
