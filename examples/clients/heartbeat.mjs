/**
 * Heartbeats of one socket. Whatever is received arms the next one: browsers run the timers of
 * hidden pages once a minute, but not those that a WebSocket event starts.
 */
export class Heartbeat {
  #timer;
  #due;

  /** Send every `interval` ms; call `onLost` if nothing comes within `patience` ms. */
  constructor(socket, onLost, { interval = 25_000, patience = 10_000 } = {}) {
    Object.assign(this, { socket, onLost, interval, patience });
    this.#due = Date.now() + Math.random() * interval;
    this.#expect(); // the handshake
  }

  /** The socket is open, or a message came: the link works. */
  alive() {
    clearTimeout(this.#timer);
    // Messages from the server do not put it off: only what the client sends is activity.
    this.#timer = setTimeout(() => this.beat(), this.#due - Date.now());
  }

  /** Send a heartbeat now: when it is due, or to find out whether the link still works. */
  beat() {
    if (this.socket.readyState !== WebSocket.OPEN) return;
    this.socket.send('{"action":"heartbeat"}');
    this.#due = Date.now() + this.interval * (0.9 + Math.random() / 10);
    this.#expect();
  }

  stop() {
    clearTimeout(this.#timer);
  }

  #expect() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(this.onLost, this.patience);
  }
}
