// Send one heartbeat of so many bytes, and say what happens.
// node say.mjs ADDRESS text|binary BYTES
import "./browser.mjs";

const [url, kind, bytes] = process.argv.slice(2);
const socket = new WebSocket(url);
socket.addEventListener("open", () => {
  const text = JSON.stringify({ action: "heartbeat", padding: "" });
  const padded = text.replace('""', `"${"x".repeat(Number(bytes) - text.length)}"`);
  socket.send(kind === "binary" ? Buffer.from(padded) : padded);
});
socket.addEventListener("message", () => socket.close(1000));
