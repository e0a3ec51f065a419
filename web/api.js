// Requests to the HTTP API.

const TIMEOUT = 20e3;

/** Returns the response, or a problem. A problem that may pass has a `retryAfter` in milliseconds. */
export async function request(method, path, body) {
  const options = { method, cache: 'no-store', signal: AbortSignal.timeout(TIMEOUT) };
  if (method !== 'GET') {
    options.headers = { 'Content-Type': 'application/json' };
    if (body) options.body = JSON.stringify(body);
  }
  try {
    const response = await fetch(path, options);
    const text = await response.text();
    const data = text ? JSON.parse(text) : {};
    if (response.ok) return data;
    const isTemporary = response.status === 429 || response.status === 503;
    return { problem: data, retryAfter: isTemporary ? data.retry_after_ms || 2e3 : 0 };
  } catch {
    return { problem: { code: 'no-response', detail: 'The server did not respond' }, retryAfter: 1e3 };
  }
}

export const sleep = (time) => new Promise((resolve) => setTimeout(resolve, time));
