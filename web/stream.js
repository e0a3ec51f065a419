// The event stream from the server. The stream reconnects automatically and resumes after the last
// received event.
//
// EventSource hides heartbeat comments, so it cannot tell a quiet chat from a dead connection, and
// its reconnect delays are fixed. fetch counts every byte as a sign of life and allows one back-off
// for every kind of failure.

import { find, formatTime, guarded } from './dom.js';

const EVENTS_URL = '/api/events';
const CHECK_INTERVAL = 5e3;
const MAX_SILENT_CHECKS = 5; // 25 s; the server sends a heartbeat every 15 s
const MAX_RETRY_DELAY = 15e3;

const status = find('status');

let lastEventId = '';
let hasReceivedEvent = false; // on this connection
let isShutdown = false; // the server announced its shutdown, and no other has answered since
let onStatus = () => {};
let isReconnectRequested = false;
let silentChecks = 0;
let lastCheck = Date.now();
let abortConnection = null; // while a connection is open
let endRetryDelay = null; // while waiting for the next attempt

function showStatus(state, text) {
  if (status.dataset.state !== state || status.textContent !== text) {
    status.dataset.state = state;
    status.textContent = text;
    onStatus(state, text);
  }
}

/** Returns whether the stream shows that the server is there. */
export const isLive = () => status.dataset.state === 'live';

/** Sets the last event that the page has, so that the stream starts after it. */
export function setLastEvent(epoch, id) {
  lastEventId = `${epoch}:${id}`;
}

/** Opens a new connection immediately, for example because the user has changed. */
export function reconnect() {
  isReconnectRequested = true;
  (abortConnection ?? endRetryDelay)?.();
}

/** Returns a function that takes pieces of the stream and calls `onEvent` for each complete event. */
function eventParser(onEvent) {
  let rest = '';
  let kind = 'message';
  let data = [];
  let id = '';
  return (text) => {
    rest += text;
    if (!text.includes('\n')) return;
    const lines = rest.split('\n');
    rest = lines.pop();
    for (const line of lines) {
      const [, field, value] = /^([^:\r]*):? ?([^\r]*)/.exec(line);
      if (field === 'event') kind = value;
      else if (field === 'data') data.push(value);
      else if (field === 'id') id = value;
      else if (line === '' || line === '\r') {
        if (data.length) guarded(() => onEvent(kind, JSON.parse(data.join('\n')), id));
        kind = 'message';
        data = [];
        id = '';
      }
    }
  };
}

/** Reads one connection to its end. Returns the minimum delay before the next attempt. */
async function readConnection(receive) {
  const abort = new AbortController();
  abortConnection = () => abort.abort();
  hasReceivedEvent = false;
  isReconnectRequested = false;
  silentChecks = 0;
  const response = await fetch(EVENTS_URL, {
    headers: { Accept: 'text/event-stream', 'Last-Event-ID': lastEventId },
    cache: 'no-store',
    signal: abort.signal,
  });
  if (!response.ok || !response.body) {
    abort.abort();
    return 1e3 * Math.min(60, Number(response.headers.get('Retry-After')) || 0);
  }
  const parse = eventParser((kind, data, id) => {
    if (id) lastEventId = id;
    hasReceivedEvent = true;
    isShutdown = false;
    if (kind === 'snapshot') showStatus('live', 'Live');
    else if (kind === 'bye') isShutdown = data.reason === 'shutdown';
    receive(kind, data);
  });
  const reader = response.body.getReader();
  const decoder = new TextDecoder();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return 0;
    silentChecks = 0;
    parse(decoder.decode(value, { stream: true }));
  }
}

/** Calls `receive` for each event, and `showLink` for each state of the link. Never returns. */
export async function run(receive, showLink) {
  onStatus = showLink;
  let failures = 0;
  let lostAt = null;
  showStatus('connecting', 'Connecting');
  for (;;) {
    const start = Date.now();
    let minDelay = 0;
    try {
      minDelay = await readConnection(receive);
    } catch {
      // The connection failed. Faults in the handling of an event do not get here.
    }
    abortConnection = null;
    if (isReconnectRequested) continue;
    if (hasReceivedEvent) {
      lostAt = null;
      if (Date.now() - start > 10e3) failures = 0;
    }
    lostAt = lostAt || formatTime(new Date());
    failures += 1;
    if (navigator.onLine === false) showStatus('offline', `Offline since ${lostAt}`);
    else if (isShutdown) showStatus('offline', `Server shut down at ${lostAt}`);
    else if (failures > 3) showStatus('offline', `Disconnected since ${lostAt}`);
    else showStatus('connecting', 'Reconnecting');
    await retryDelay(failures, minDelay);
  }
}

async function retryDelay(failures, minDelay) {
  const delay = Math.max(minDelay, Math.min(MAX_RETRY_DELAY, 500 * 2 ** Math.min(failures - 1, 6)));
  await new Promise((resolve) => {
    // Random, so that the pages do not all reconnect at the same moment after a server restart.
    const timer = setTimeout(resolve, delay * (0.5 + Math.random() / 2) + 100);
    endRetryDelay = () => {
      clearTimeout(timer);
      resolve();
    };
  });
  endRetryDelay = null;
}

setInterval(() => {
  const now = Date.now();
  // After a suspend the connection is doubtful, so it gets little time to show activity.
  const wasSuspended = now - lastCheck > 6 * CHECK_INTERVAL;
  silentChecks = wasSuspended ? Math.max(silentChecks, MAX_SILENT_CHECKS - 2) : silentChecks + 1;
  lastCheck = now;
  if (silentChecks >= MAX_SILENT_CHECKS) abortConnection?.();
}, CHECK_INTERVAL);

addEventListener('online', () => (abortConnection ?? endRetryDelay)?.());
// The next attempt finds out whether the server is on this machine and can be reached.
addEventListener('offline', () => abortConnection?.());
addEventListener('pagehide', () => abortConnection?.());
addEventListener('pageshow', () => endRetryDelay?.());
document.addEventListener('visibilitychange', () => {
  if (!document.hidden) endRetryDelay?.();
});
