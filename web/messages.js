// The message list: lines in server order, older messages on scrolling up, and the unread marker.

import { find, make, makeButton, formatTime, dayKey, fullFormat } from './dom.js';
import { request, sleep } from './api.js';
import { browserStorage, isIgnored, isMention } from './profile.js';
import * as lines from './lines.js';

const MAX_LINES = 10000; // while the user reads further up
const MAX_FOLLOWED_LINES = 1000; // while the end is visible; each new line costs time for all lines
const LONG_LINES = 500; // from which on the browser skips the layout of lines out of sight
const PRUNED_LINES = 200; // removed at a time, because each removal moves all other lines
const MAX_PRESENCE_CHANGES = 500; // in one line
const PRESENCE_PERIOD = 10 * 60e3; // covered by one line
const PAGE_SIZE = 100; // older messages in one request
const MAX_PAGE_SIZE = 200; // the server's limit
const MAX_PRIVATE = 1000; // private messages kept for when older lines come back
const LOAD_DISTANCE = 600; // pixels from the top at which older messages are loaded

const log = find('log');
const list = find('lines');

// Only scripts use the button, so the server's HTML does not have it.
const newerButton = makeButton('newer');
newerButton.id = 'newer';
newerButton.hidden = true;
log.after(newerButton);

// Lines collect in `pending` and enter the document together in `flush`.

const noLine = (day = '') => ({ day, author: null, minute: '', presence: null });
let lastLine = noLine();
let pending = document.createDocumentFragment();
let lineCount = 0;
let oldestId = null;
let newestId = 0;
let lastDate = new Date(0);
let followsEnd = true; // new lines scroll the list to its end

function append(line, date, author = null) {
  const day = dayKey(date);
  if (day !== lastLine.day) {
    pending.append(lines.dayLine(date, day));
    lastLine = noLine(day);
  }
  const minute = formatTime(date);
  lastDate = date;
  lines.groupWith(lastLine, line, author, minute);
  lastLine = { day, author, minute, presence: null };
  pending.append(line);
  lineCount += 1;
}

function appendMessage(data) {
  const line = lines.messageLine(data);
  append(line, new Date(data.time), lines.groupAuthorOf(line));
}

export function addMessage(data) {
  appendMessage(data);
  oldestId = oldestId ?? data.id;
  newestId = data.id;
}

// Private messages of an earlier visit arrive after the public ones, and stand among them by time.

const privates = []; // oldest first

export function addPrivate(data) {
  privates.push(data);
  if (privates.length > MAX_PRIVATE) privates.shift();
  const date = new Date(data.time);
  if (date >= lastDate) append(lines.privateLine(data), date);
  else insert(lines.privateLine(data), date);
}

const isDated = (line) => line.querySelector('time') !== null;

/** Inserts a line before the first later one. Lines before all others wait for older messages. */
function insert(line, date) {
  list.append(pending);
  let next = null;
  let above = list.lastElementChild;
  while (above && !(isDated(above) && lines.dateOf(above) <= date)) {
    if (isDated(above)) next = above;
    above = above.previousElementSibling;
  }
  if (!next || (!above && mayHaveOlder)) return;
  const distanceToEnd = log.scrollHeight - log.scrollTop;
  const day = dayKey(date);
  const heading = next.previousElementSibling;
  if (dayKey(lines.dateOf(next)) === day) next.before(line);
  else if (heading?.className === 'day') heading.before(line);
  else next.before(line);
  if (!above || dayKey(lines.dateOf(above)) !== day) {
    if (line.previousElementSibling?.dataset.day !== day) line.before(lines.dayLine(date, day));
  }
  next.classList.remove('same-author', 'same-minute');
  lineCount += 1;
  if (!followsEnd) log.scrollTop = log.scrollHeight - distanceToEnd;
}

/** Returns messages with the private ones of the same time, for the place above the first line. */
function withPrivates(messages, hasOlder) {
  const first = [...list.children].find(isDated);
  const end = first ? lines.dateOf(first) : Infinity;
  const start = hasOlder ? new Date(messages[0]?.time ?? 0) : -Infinity;
  const between = privates.filter(({ time }) => new Date(time) >= start && new Date(time) < end);
  return [...messages, ...between].sort((a, b) => new Date(a.time) - new Date(b.time));
}

/** Marks the messages that mention this user, and returns them. */
export function markMentions() {
  const found = [];
  for (const line of list.querySelectorAll('.message[id]:not(.ignored)')) {
    const [source, message] = [lines.authorOf(line), line.querySelector('.text').textContent];
    if (isMention(source, message)) line.classList.add('mention');
    if (line.classList.contains('mention')) {
      found.push({ id: lines.idOf(line), time: line.querySelector('time').dateTime, source, message });
    }
  }
  return found;
}

function appendUndated(line) {
  pending.append(line);
  lineCount += 1;
  lastLine.author = null;
  lastLine.presence = null;
  return line;
}

export const addDivider = (text) => appendUndated(make('li', 'divider', text));

/** Shows text or elements that concern this user only. */
export function addNote(...parts) {
  appendUndated(make('li', 'line note', make('div', 'info', ...parts)));
  flush(0);
  scrollToEnd();
}

// Consecutive joins, leaves and renames share one line, so that they do not displace messages.

const changedPresences = new Set();

export function addPresence(kind, data) {
  const date = new Date(data.time);
  let { presence } = lastLine;
  const isFull = presence?.changes.size >= MAX_PRESENCE_CHANGES;
  if (!presence || isFull || lastLine.day !== dayKey(date) || date - presence.date > PRESENCE_PERIOD) {
    presence = { date, changes: new Map(), text: make('span', 'info') };
    append(make('li', 'line', lines.timeTag(date), presence.text), date);
    lastLine.presence = presence;
  }
  lines.addPresenceChange(presence.changes, kind, data);
  changedPresences.add(presence);
}

/** Removes the oldest lines. The heading of the first remaining day stays. */
function prune() {
  if (lineCount <= MAX_FOLLOWED_LINES || !followsEnd) return;
  while (list.firstElementChild && lineCount > MAX_FOLLOWED_LINES - PRUNED_LINES) {
    const oldest = list.firstElementChild;
    const next = oldest.nextElementSibling;
    if (oldest.className === 'day' && next && next.className !== 'day') {
      next.remove();
      lineCount -= 1;
    } else {
      oldest.remove();
      if (oldest.className !== 'day') lineCount -= 1;
    }
  }
  oldestId = lines.idOf(list.querySelector('li[id]'));
  mayHaveOlder = true;
}

// The end of the list

let observedHeight = 0;
let newerCount = 0; // messages below the visible part

export function scrollToEnd() {
  followsEnd = true;
  log.scrollTop = log.scrollHeight;
}

export const scrollByPages = (pages) => log.scrollBy({ top: pages * log.clientHeight });

/** Moves pending lines into the document. `messageCount` of them are messages. */
export function flush(messageCount) {
  for (const { text, changes } of changedPresences) text.replaceChildren(...lines.presenceText(changes));
  changedPresences.clear();
  if (pending.firstChild) list.append(pending);
  const placeholder = list.querySelector('.empty');
  if (lineCount && placeholder) placeholder.remove();
  else if (!lineCount && !placeholder) list.append(make('li', 'empty', 'No messages yet. New messages appear here automatically.'));
  log.classList.toggle('long', lineCount > LONG_LINES);
  if (followsEnd) {
    prune();
    scrollToEnd();
  } else {
    newerCount += messageCount;
    updateNewerButton();
  }
  storeReadPosition();
}

function updateNewerButton() {
  newerButton.hidden = newerCount === 0;
  newerButton.textContent = newerCount === 1 ? '1 new message ↓' : `${newerCount} new messages ↓`;
}

newerButton.addEventListener('click', () => {
  log.focus({ preventScroll: true });
  scrollToEnd();
});

log.addEventListener('scroll', () => {
  // A change of the size moves the end before the observer below brings it back.
  if (log.clientHeight === observedHeight) followsEnd = log.scrollHeight - log.clientHeight - log.scrollTop < 8;
  if (newerCount && followsEnd) {
    newerCount = 0;
    if (document.activeElement === newerButton) log.focus({ preventScroll: true });
    updateNewerButton();
  }
  storeReadPosition();
  // A cleared list moves to its top, which must not load the removed messages again.
  if (lineCount && log.scrollTop < LOAD_DISTANCE) loadOlder();
}, { passive: true });

// The end stays visible when the window or the text field changes its size.
new ResizeObserver(() => {
  observedHeight = log.clientHeight;
  if (followsEnd && isLive) scrollToEnd();
}).observe(log);

/** Removes all lines. With `hasGap`, the next message does not directly follow the removed ones. */
export function clear(hasGap = false) {
  list.replaceChildren();
  lastLine = noLine();
  lineCount = 0;
  newerCount = 0;
  updateNewerButton();
  mayHaveOlder = hasGap || oldestId !== null;
  if (mayHaveOlder) oldestId = hasGap ? null : newestId + 1;
}

// Older messages. They enter above the visible lines without moving them.

const olderLink = log.querySelector('.older');
let mayHaveOlder = olderLink !== null;
let loading = null;

/** Loads a page of older messages, or waits for the page that is being loaded. */
async function loadOlder(limit = PAGE_SIZE) {
  if (!mayHaveOlder || oldestId === null || lineCount >= MAX_LINES) return;
  loading ??= loadPage(limit).finally(() => { loading = null; });
  await loading;
}

async function loadPage(limit) {
  log.setAttribute('aria-busy', 'true');
  const { messages, more, problem } = await request('GET', `/api/messages?before=${oldestId}&limit=${limit}`);
  if (messages) {
    const distanceToEnd = log.scrollHeight - log.scrollTop;
    prepend(messages, withPrivates(messages, more));
    mayHaveOlder = more;
    if (!more) olderLink?.remove();
    else if (olderLink) olderLink.querySelector('a').href = `/?before=${oldestId}`;
    log.scrollTop = log.scrollHeight - distanceToEnd;
  }
  log.removeAttribute('aria-busy');
  // After a failure the next scroll event tries again.
  if (problem) await sleep(2e3);
}

/** Scrolls to the last `count` messages and loads older ones as needed. */
export async function showLast(count) {
  const shown = () => list.querySelectorAll('.message[id]:not(.ignored)');
  let before = -1;
  while (shown().length < count && before < shown().length) {
    before = shown().length;
    await loadOlder(Math.min(MAX_PAGE_SIZE, count - before));
  }
  [...shown()].at(-count)?.scrollIntoView();
  if (shown().length <= count) log.scrollTop = 0;
}

function prepend(messages, withPrivate) {
  if (!withPrivate.length) return;
  const [savedLine, savedPending] = [lastLine, pending];
  [lastLine, pending] = [noLine(), document.createDocumentFragment()];
  const savedDate = lastDate;
  for (const data of withPrivate) {
    if (data.target) append(lines.privateLine(data), new Date(data.time));
    else appendMessage(data);
  }
  const top = list.firstElementChild;
  if (top?.dataset.day === lastLine.day) {
    const next = top.nextElementSibling;
    top.remove();
    if (next?.classList.contains('message')) lines.groupWith(lastLine, next, lines.groupAuthorOf(next), formatTime(lines.dateOf(next)));
  }
  list.prepend(pending);
  [lastLine, pending] = [savedLine, savedPending];
  lastDate = savedDate > lastDate ? savedDate : lastDate;
  if (newestId === 0) lastLine.day = list.lastElementChild.dataset.day || lastLine.day;
  if (messages.length) oldestId = messages[0].id;
}

// The read position

let { epoch } = log.dataset;
let unreadDivider = null;

/** Starts a new log epoch, in which event numbers begin again. */
export function setEpoch(newEpoch) {
  epoch = newEpoch;
  newestId = 0;
}

function storeReadPosition() {
  if (document.hidden || !followsEnd || !newestId) return;
  browserStorage.set('read', { epoch, id: newestId });
}

/** Moves the unread marker to the end of the list. */
export function markUnread() {
  if (unreadDivider?.isConnected) {
    unreadDivider.remove();
    lineCount -= 1;
  }
  unreadDivider = addDivider('New messages');
  unreadDivider.classList.add('unread');
}

/** Hides or shows messages after a change of the ignored users. */
export function updateIgnored() {
  for (const line of list.querySelectorAll('.message')) {
    line.classList.toggle('ignored', isIgnored(lines.authorOf(line)));
  }
}

log.addEventListener('pointerover', ({ target }) => {
  const time = target.closest('time[datetime]');
  if (time && !time.title) time.title = fullFormat.format(new Date(time.dateTime));
});

let isLive = false;

/**
 * Converts the lines in the server's HTML to local time. Without scripts, a reversed column opens
 * the list at its end. Browsers lay out a reversed column anew for each line, so a live list becomes
 * a block.
 */
export function adoptServerLines(live) {
  isLive = live;
  const read = browserStorage.get('read');
  let isMarked = !read || read.epoch !== epoch;
  for (const line of [...list.children]) {
    if (line.className === 'empty') continue;
    line.remove();
    if (!line.classList.contains('message')) continue;
    lines.localize(line);
    const id = lines.idOf(line);
    if (!isMarked && id > read.id) {
      isMarked = true;
      if (newestId) markUnread();
    }
    append(line, lines.dateOf(line), lines.groupAuthorOf(line));
    oldestId = oldestId ?? id;
    newestId = id;
  }
  list.append(pending);
  if (live) {
    if (olderLink) log.prepend(olderLink);
    log.classList.add('live');
    scrollToEnd();
  }
}

// The reading place, for the way back from another page

/** Stores the first visible message of this entry of the browser's history. */
addEventListener('pagehide', () => {
  const top = log.getBoundingClientRect().top;
  const first = followsEnd ? null : [...list.querySelectorAll('.message[id]')].find((line) => line.getBoundingClientRect().bottom > top);
  history.replaceState(first ? { place: lines.idOf(first), epoch } : null, '');
});

/** Loads older messages until there is one with this number. Returns its line. */
async function lineOf(id) {
  followsEnd = false;
  while (oldestId > id && mayHaveOlder && lineCount < MAX_LINES) {
    const before = oldestId;
    await loadOlder(MAX_PAGE_SIZE);
    if (oldestId === before) break;
  }
  return find(`m${id}`);
}

/** Scrolls to the stored place. */
export async function restorePlace() {
  const { place, epoch: placeEpoch } = history.state || {};
  if (place && placeEpoch === epoch) (await lineOf(place))?.scrollIntoView();
}

/** Scrolls to a message and marks it. Returns false if the page cannot show it. */
export async function showMessage(id) {
  const line = await lineOf(id);
  if (!line) return false;
  list.querySelector('.marked')?.classList.remove('marked');
  line.classList.add('marked');
  line.scrollIntoView({ block: 'center' });
  return true;
}
