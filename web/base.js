// What all modules share: elements, times, names, texts, what the browser keeps, and the API.
//
// Whatever users wrote is inserted as text only.

export const find = (id) => document.getElementById(id);

export function make(tag, className, ...children) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...children);
  return element;
}

const utf8 = new TextEncoder();

/** The colour of a name: FNV-1a of its UTF-8, as the server computes it for the first view. */
export function hue(name) {
  let hash = 0x811c9dc5;
  for (const byte of utf8.encode(name)) hash = Math.imul(hash ^ byte, 0x01000193);
  return `hue-${(hash >>> 0) % 12}`;
}

export const nameTag = (name, className) => make('bdi', className, name);

export const clock = (date) =>
  `${String(date.getHours()).padStart(2, '0')}:${String(date.getMinutes()).padStart(2, '0')}`;
export const dayKey = (date) => `${date.getFullYear()}-${date.getMonth()}-${date.getDate()}`;
export const longDay = new Intl.DateTimeFormat('en-GB', { weekday: 'long', day: 'numeric', month: 'long', year: 'numeric' });
export const full = new Intl.DateTimeFormat('en-GB', { dateStyle: 'full', timeStyle: 'long' });

/** A text whose addresses can be followed. */
export function linked(text) {
  const parts = [];
  let done = 0;
  for (const { 0: match, index } of text.matchAll(/\bhttps?:\/\/[^\s<>"]+/g)) {
    // What ends a sentence, or closes a bracket that the address did not open, is not its own.
    let address = match.replace(/[.,:;!?'*_~]+$/, '');
    while (address.endsWith(')') && address.split(')').length > address.split('(').length) {
      address = address.slice(0, -1).replace(/[.,:;!?'*_~]+$/, '');
    }
    if (!URL.canParse(address)) continue;
    const link = make('a', '', address);
    link.href = address;
    link.rel = 'noopener noreferrer';
    link.target = '_blank';
    parts.push(text.slice(done, index), link);
    done = index + address.length;
  }
  return [...parts, text.slice(done)];
}

/** What the browser keeps: `tab` for this tab, `all` for all of them. It may keep nothing. */
function kept(storage) {
  return {
    get(key) {
      try {
        return JSON.parse(window[storage].getItem(`smolchat.${key}`));
      } catch {
        return null;
      }
    },
    set(key, value) {
      try {
        if (value === null) window[storage].removeItem(`smolchat.${key}`);
        else window[storage].setItem(`smolchat.${key}`, JSON.stringify(value));
      } catch {
        // Then it is forgotten with the page.
      }
    },
  };
}
export const tab = kept('sessionStorage');
export const all = kept('localStorage');

const ANSWER_TIME = 20e3;

/** Asks the server; gives what it answers, or a problem. A problem that may pass has a `wait`. */
export async function api(method, path, body) {
  const request = { method, cache: 'no-store', signal: AbortSignal.timeout(ANSWER_TIME) };
  if (method !== 'GET') {
    request.headers = { 'Content-Type': 'application/json' };
    if (body) request.body = JSON.stringify(body);
  }
  try {
    const response = await fetch(path, request);
    const text = await response.text();
    const data = text ? JSON.parse(text) : {};
    if (response.ok) return data;
    const passes = response.status === 429 || response.status === 503;
    return { problem: data, wait: passes ? data.retry_after_ms || 2e3 : 0 };
  } catch {
    return { problem: { code: 'lost', detail: 'The server does not answer' }, wait: 1e3 };
  }
}

export const pause = (time) => new Promise((resolve) => setTimeout(resolve, time));

/** Who reads: its name, if it has joined, and whom it does not want to read. */
export const self = { name: null, ignored: new Set(all.get('ignored') || []) };

export const ignores = (name) => self.ignored.has(name.toLowerCase());

let own = { name: null, pattern: null };

/** Whether a text speaks of whoever reads it. */
export function isMention(source, text) {
  if (!self.name || source === self.name) return false;
  if (own.name !== self.name) {
    const name = self.name.replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&');
    own = { name: self.name, pattern: new RegExp(`(?<![\\p{L}\\p{N}_])${name}(?![\\p{L}\\p{N}_])`, 'iu') };
  }
  return own.pattern.test(text);
}
