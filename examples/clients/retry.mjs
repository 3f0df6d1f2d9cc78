/** When to connect again, with which address, and when to stop. */
export class Retry {
  /** Whether to stay away from now on. Set it to true, then close the socket, to leave. */
  over = false;
  onWake = () => {};
  #attempts = 0;
  #endPause = () => {};

  /** A pause is at most `first` ms, then twice as long after each attempt, up to `most` ms. */
  constructor(getUrl, { first = 1_000, most = 60_000 } = {}) {
    this.getUrl = getUrl;
    this.first = first;
    this.most = most;
  }

  /** Wait, except for the first time, and return a fresh address, or null. Never rejects. */
  async url() {
    while (!this.over) {
      await this.#pause();
      if (this.over) break;
      try {
        const url = await this.getUrl();
        if (url === null) this.over = true;
        return url;
      } catch {
        // No token: this machine or the server is offline. Wait longer, and ask again.
      }
    }
    return null;
  }

  /** Look at each message: the close code is 1000 in every case, only the message tells. */
  received(text) {
    const { type } = JSON.parse(text);
    if (type === "sessionEnded") this.over = true;
    // The server works, so the next pause is a short one.
    if (type === "heartbeatAck") this.#attempts = 1;
  }

  /** The network is back, or the page is visible again: end the pause, or look at the link. */
  wake() {
    this.#endPause();
    this.onWake();
  }

  #pause() {
    const longest = Math.min(this.most, this.first * 2 ** (this.#attempts - 1));
    // Full jitter: any time from none to the longest, at the cap too.
    const pause = this.#attempts === 0 ? 0 : Math.random() * longest;
    this.#attempts += 1;
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, pause);
      this.#endPause = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}
