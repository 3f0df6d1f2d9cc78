/** Return an address with a fresh token, "wss://...?...&token=...", or null: stay away. */
export async function getUrl(endpoint = "/address") {
  const response = await fetch(endpoint, { signal: AbortSignal.timeout(10_000) });
  if ([401, 403, 404].includes(response.status)) return null; // signed out, or nothing to join
  if (!response.ok) throw new Error(`no address: status ${response.status}`);
  return response.text();
}
