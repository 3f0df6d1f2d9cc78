import { getUrl } from "./address.mjs";
import { stayConnected } from "./plain.mjs";
import { Retry } from "./retry.mjs";

export let socket; // send with this one; the next connection has another
export let retry;

export function join() {
  retry = new Retry(getUrl);
  stayConnected(retry, {
    onOpen: (opened) => {
      socket = opened;
    },
    onMessage: (message) => {
      document.dispatchEvent(new CustomEvent(message.type, { detail: message }));
    },
  });
}

export function leave() {
  retry.over = true;
  socket?.close();
  retry.wake(); // it may be in a pause
}

join();
addEventListener("online", () => retry.wake());
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) retry.wake();
});
// An open socket keeps a page out of the back-forward cache. `persisted`: it was in there.
addEventListener("pagehide", leave);
addEventListener("pageshow", ({ persisted }) => {
  if (persisted) join();
});
