// The page of the guide, and its end at the message "leave": node in_page.mjs ORIGIN
import "./browser.mjs";

const [origin] = process.argv.slice(2);
const { fetch } = globalThis;
globalThis.fetch = (path, options) => fetch(new URL(path, origin), options);

const { leave } = await import("./page.mjs");
document.addEventListener("leave", leave);
