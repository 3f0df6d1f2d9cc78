// The pauses of Retry, with the longest and then the shortest that chance gives: node pauses.mjs
import { Retry } from "./retry.mjs";

const pauses = [];
globalThis.setTimeout = (done, pause) => {
  pauses.push(pause);
  queueMicrotask(done);
};
for (const drawn of [1, 0]) {
  Math.random = () => drawn;
  const retry = new Retry(async () => "wss://there");
  for (let attempt = 0; attempt < 9; attempt += 1) await retry.url();
  retry.received('{"type":"connectionTimeout"}');
  await retry.url();
  retry.received('{"type":"heartbeatAck"}');
  await retry.url();
}
process.stdout.write(`${JSON.stringify({ pauses })}\n`);
