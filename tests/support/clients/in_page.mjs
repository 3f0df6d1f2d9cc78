// The page of the guide, and its end at the message "leave" or in the first pause after a status
// of 503: node in_page.mjs ORIGIN
import "./browser.mjs";

const [origin] = process.argv.slice(2);
const { fetch } = globalThis;
let leave;
globalThis.fetch = async (path, options) => {
  const response = await fetch(new URL(path, origin), options);
  // Later than what the answer leads to.
  if (response.status === 503) setTimeout(leave);
  return response;
};

({ leave } = await import("./page.mjs"));
document.addEventListener("leave", leave);
