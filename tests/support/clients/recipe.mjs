// A recipe of the guide: node recipe.mjs RECIPE ENDPOINT [MILLISECONDS BETWEEN HEARTBEATS [PATIENCE]]
import "./browser.mjs";

const [name, endpoint, interval = 25_000, patience = 10_000] = process.argv.slice(2);
const { getUrl } = await import("./address.mjs");
const { Retry } = await import("./retry.mjs");
const { stayConnected } = await import(`./${name}.mjs`);

const retry = new Retry(() => getUrl(endpoint), { first: 200 });
stayConnected(retry, {
  onOpen: () => {},
  onMessage: () => {},
  interval: Number(interval),
  patience: Number(patience),
});
