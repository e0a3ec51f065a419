// The link to the server: a live stream that comes back by itself, and from where it broke.
//
// The stream is read with fetch rather than EventSource: EventSource hides the server's heartbeat
// comments, so it cannot tell a quiet chat from a dead connection, and it keeps its own hours for
// reconnecting. Here any byte counts as a sign of life, and there is one back-off for every failure.

import { find, clock } from './base.js';

const EVENTS = '/api/events';
const TICK = 5e3; // the watchdog's step
const SILENT_TICKS = 8; // 40 s; the server beats every 15 s
const MAX_WAIT = 15e3; // between two attempts

const link = find('link');

let lastId = ''; // as the server wrote it
let farewell = false;
let heard = false; // a frame, on this connection
let silent = 0;
let tick = Date.now();
let hangUp = null; // ends the connection
let wake = null; // ends the wait for the next attempt
let isMeant = false; // whether the end of the connection is

function show(state, words) {
  if (link.dataset.state !== state || link.textContent !== words) {
    link.dataset.state = state;
    link.textContent = words;
  }
}

/** Which event the page has got last. */
export function startAfter(epoch, id) {
  lastId = `${epoch}:${id}`;
}

/** Connects anew, at once: as another user, or because somebody asks for it. */
export function reconnect() {
  isMeant = true;
  if (hangUp) hangUp();
  else if (wake) wake();
}

async function listen(receive) {
  const abort = new AbortController();
  hangUp = () => abort.abort();
  heard = false;
  farewell = false;
  isMeant = false;
  silent = 0;
  const response = await fetch(EVENTS, {
    headers: { Accept: 'text/event-stream', 'Last-Event-ID': lastId },
    cache: 'no-store',
    signal: abort.signal,
  });
  if (!response.ok || !response.body) {
    abort.abort();
    return 1e3 * Math.min(60, Number(response.headers.get('Retry-After')) || 0);
  }
  const reader = response.body.getReader();
  const decoder = new TextDecoder();
  let rest = '';
  let kind = 'message';
  let data = [];
  let id = '';
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return 0;
    silent = 0;
    const text = decoder.decode(value, { stream: true });
    rest += text;
    if (!text.includes('\n')) continue;
    const complete = rest.split('\n');
    rest = complete.pop();
    for (const line of complete) {
      const [, field, content] = /^([^:\r]*):? ?([^\r]*)/.exec(line);
      if (field === 'event') kind = content;
      else if (field === 'data') data.push(content);
      else if (field === 'id') id = content;
      else if (line === '' || line === '\r') {
        if (data.length) {
          if (id) lastId = id;
          heard = true;
          if (kind === 'snapshot') show('live', 'Live');
          const parsed = JSON.parse(data.join('\n'));
          if (kind === 'bye') farewell = parsed.reason === 'shutdown';
          receive(kind, parsed);
        }
        kind = 'message';
        data = [];
        id = '';
      }
    }
  }
}

/** Hands each frame to `receive`, for ever. */
export async function stayConnected(receive) {
  let failures = 0;
  let lost = null;
  show('wait', 'Connecting');
  for (;;) {
    const began = Date.now();
    let ask = 0;
    try {
      ask = await listen(receive);
    } catch (error) {
      if (!(error instanceof TypeError) && error.name !== 'AbortError') console.error(error);
    }
    hangUp = null;
    if (isMeant) continue;
    if (heard) {
      lost = null;
      if (Date.now() - began > 10e3) failures = 0;
    }
    lost = lost || clock(new Date());
    failures += 1;
    if (navigator.onLine === false) show('gone', `Offline since ${lost}`);
    else if (farewell) show('gone', `Server shut down ${lost}`);
    else if (failures > 3) show('gone', `Server gone since ${lost}`);
    else show('wait', 'Reconnecting');
    // Twice as long each time, and never at the same moment as all the other pages.
    const wait = Math.max(ask, Math.min(MAX_WAIT, 500 * 2 ** Math.min(failures - 1, 6)));
    await new Promise((resolve) => {
      const alarm = setTimeout(resolve, wait * (0.5 + Math.random() / 2) + 100);
      wake = () => {
        clearTimeout(alarm);
        resolve();
      };
    });
    wake = null;
  }
}

setInterval(() => {
  const now = Date.now();
  // After sleep the connection is doubtful: it gets half the time to show life.
  silent = now - tick > 6 * TICK ? Math.max(silent, SILENT_TICKS / 2) : silent + 1;
  tick = now;
  if (silent >= SILENT_TICKS && hangUp) hangUp();
}, TICK);

addEventListener('online', () => (hangUp ? hangUp() : wake && wake()));
addEventListener('pagehide', () => hangUp && hangUp());
addEventListener('pageshow', () => wake && wake());
document.addEventListener('visibilitychange', () => {
  if (!document.hidden && wake) wake();
});
