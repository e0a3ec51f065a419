// What is said: rows in the order of the server, older ones when somebody scrolls up, and where
// one has stopped reading.

import { find, make, hue, nameTag, clock, dayKey, longDay, full, linked, all, api, pause, self, ignores, isMention } from './base.js';

const MAX_LINES = 10000; // kept in the log
const PRUNED = 1000; // dropped at a time
const MAX_FOLD = 500; // comings and goings in one line
const FOLD_TIME = 10 * 60e3;
const NAMES_SHOWN = 6; // of each kind in such a line
const PAGE = 100; // older messages at a time
const MAX_PAGE = 200; // as many as the server gives at once
const NEAR_TOP = 600; // pixels

export const log = find('log');
const lines = find('lines');

// Only of use with scripts, so it is made here.
const newer = make('button', 'newer');
newer.type = 'button';
newer.id = 'newer';
newer.hidden = true;
log.after(newer);

// Rows. `end` is what the last line was, `batch` holds the lines of this frame.

const fresh = () => ({ day: '', author: null, minute: '', fold: null });
let end = fresh();
let batch = document.createDocumentFragment();
let length = 0;
let first = null; // the number of the oldest message here
let last = 0; // and of the newest
let follows = true; // whether the end is looked at, and is to be

function timeTag(date, id) {
  const time = make('time', '', clock(date));
  time.dateTime = date.toISOString();
  const at = make(id ? 'a' : 'span', 'at', time);
  if (id) at.href = `/m/${id}`;
  return at;
}

function row(date, source, text, id) {
  const body = make('span', 'text', ...linked(text));
  body.dir = 'auto';
  return make('li', `line said ${hue(source)}`, timeTag(date, id), ' ', nameTag(source, 'who'), make('span', 'colon', ': '), body);
}

function messageRow({ id, time, source, message, action }) {
  const date = new Date(time);
  const line = row(date, source, message, id);
  line.id = `m${id}`;
  if (action) line.classList.add('act');
  if (isMention(source, message)) line.classList.add('mention');
  if (ignores(source)) line.classList.add('ignored');
  return { line, date, author: source };
}

function heading(date, day) {
  const line = make('li', 'day', make('h3', '', longDay.format(date).replace(',', '')));
  line.dataset.day = day;
  return line;
}

/** Groups a row with the one above it. */
function group(line, above, author, minute) {
  const again = author !== null && author === above.author;
  line.classList.toggle('again', again);
  line.classList.toggle('same', again && minute === above.minute);
}

function put(line, date, author = null) {
  const day = dayKey(date);
  if (day !== end.day) {
    batch.append(heading(date, day));
    end = { ...fresh(), day };
  }
  const minute = clock(date);
  group(line, end, author, minute);
  end = { day, author, minute, fold: null };
  batch.append(line);
  length += 1;
}

export function message(data) {
  const { line, date, author } = messageRow(data);
  put(line, date, author);
  first = first ?? data.id;
  last = data.id;
}

/** What was said to one user alone. */
export function privately({ time, source, target, message: text, own: mine }) {
  const date = new Date(time);
  const line = row(date, source, text);
  line.classList.add('private');
  line.lastChild.prepend(make('span', 'whom', mine ? 'to ' : 'to you alone', mine ? nameTag(target, hue(target)) : ''));
  put(line, date);
}

export function mark(text, className = 'mark') {
  const line = make('li', className, text);
  batch.append(line);
  length += 1;
  end.author = null;
  end.fold = null;
  return line;
}

/** Something for this reader alone: lines of text, or elements. */
export function note(...parts) {
  const line = make('li', 'line note', make('div', 'news', ...parts));
  batch.append(line);
  length += 1;
  end.author = null;
  end.fold = null;
  settle(0);
  toEnd();
}

/** Comings and goings in a row share one line, so that a crowd at the door does not push the talk away. */
export function presence(kind, { time, name, new_name: newName }) {
  const date = new Date(time);
  let fold = end.fold;
  if (!fold || end.day !== dayKey(date) || date - fold.date > FOLD_TIME || fold.people.size >= MAX_FOLD) {
    fold = { date, people: new Map(), news: make('span', 'news') };
    put(make('li', 'line', timeTag(date), ' ', fold.news), date);
    end.fold = fold;
  }
  // Under the newest name: the name before this line (null: was not here), and whether still here.
  const was = fold.people.get(name) || { before: kind === 'joined' ? null : name };
  fold.people.delete(name);
  was.here = kind !== 'left';
  fold.people.set(kind === 'renamed' ? newName : name, was);
  folded.add(fold);
}

const folded = new Set();

function writeFold(fold) {
  const kinds = { joined: [], left: [], 'came and left': [], 'left and came back': [] };
  const renamed = [];
  for (const [name, { before: was, here }] of fold.people) {
    if (here && was !== null && was !== name) renamed.push([was, name]);
    else if (here) kinds[was === null ? 'joined' : 'left and came back'].push(name);
    else kinds[was === null ? 'came and left' : 'left'].push(name);
  }
  const parts = [];
  for (const [kind, names] of Object.entries(kinds)) {
    if (!names.length) continue;
    const part = [];
    const shown = names.length > NAMES_SHOWN + 1 ? NAMES_SHOWN : names.length;
    for (let i = 0; i < shown; i += 1) {
      if (i) part.push(i === names.length - 1 ? ' and ' : ', ');
      part.push(nameTag(names[i], hue(names[i])));
    }
    if (shown < names.length) part.push(` and ${names.length - shown} more`);
    parts.push([...part, ` ${kind}`]);
  }
  for (const [was, name] of renamed.slice(0, NAMES_SHOWN)) {
    parts.push([nameTag(was, hue(was)), ' is now ', nameTag(name, hue(name))]);
  }
  if (renamed.length > NAMES_SHOWN) parts.push([`${renamed.length - NAMES_SHOWN} more changed names`]);
  fold.news.replaceChildren(...parts.flatMap((part, i) => (i ? [' · ', ...part] : part)));
}

/** Drops the oldest lines; the day they belong to stays on top. */
function prune() {
  if (length <= MAX_LINES || !follows) return;
  // Many at once: to take one away moves all the others.
  while (length > MAX_LINES - PRUNED) {
    const oldest = lines.firstElementChild;
    const next = oldest.nextElementSibling;
    if (oldest.className === 'day' && next.className !== 'day') {
      next.remove();
      length -= 1;
    } else {
      oldest.remove();
      if (oldest.className !== 'day') length -= 1;
    }
  }
  first = oldestId();
  mayHaveOlder = true;
}

const oldestId = () => Number(lines.querySelector('li[id]')?.id.slice(1)) || null;

// The end, and what is new below it.

let newCount = 0;

const atEnd = () => log.scrollHeight - log.clientHeight - log.scrollTop < 8;

export function toEnd() {
  follows = true;
  log.scrollTop = log.scrollHeight;
}

/** Ends a change by which so many messages came. */
export function settle(messages) {
  folded.forEach(writeFold);
  folded.clear();
  if (batch.firstChild) lines.append(batch);
  const nothing = lines.querySelector('.nothing');
  if (length && nothing) nothing.remove();
  else if (!length && !nothing) lines.append(make('li', 'nothing', 'Nothing has been said yet. New messages appear here by themselves.'));
  if (follows) {
    prune();
    toEnd();
  } else {
    newCount += messages;
    showNewer();
  }
  noteRead();
}

function showNewer() {
  newer.hidden = newCount === 0;
  newer.textContent = newCount === 1 ? '1 new message ↓' : `${newCount} new messages ↓`;
}

newer.addEventListener('click', () => {
  log.focus({ preventScroll: true });
  toEnd();
});

log.addEventListener('scroll', () => {
  follows = atEnd();
  if (newCount && follows) {
    newCount = 0;
    if (document.activeElement === newer) log.focus({ preventScroll: true });
    showNewer();
  }
  noteRead();
  // A cleared log jumps to the top by itself; nobody asks for what was cleared.
  if (length && log.scrollTop < NEAR_TOP) loadOlder();
}, { passive: true });

// A window of another size, a longer draft: the end stays in sight.
new ResizeObserver(() => { if (follows && isLive) toEnd(); }).observe(log);

/** Takes everything away that is shown; what comes after it is shown as ever. */
export function clear() {
  lines.replaceChildren();
  end = fresh();
  length = 0;
  newCount = 0;
  showNewer();
  mayHaveOlder = first !== null;
  if (mayHaveOlder) first = last + 1;
}

/** The same where what comes next does not go on from what was shown. */
export function restartAbove() {
  clear();
  first = null;
  mayHaveOlder = true;
}

// What was said before: a page at a time, put above without moving what is read.

const link = log.querySelector('.older');
let mayHaveOlder = link !== null;
let loading = null;

/** Ends when what was asked for, or was being loaded already, is here. */
async function loadOlder(limit = PAGE) {
  if (!mayHaveOlder || first === null || length >= MAX_LINES) return;
  loading ??= loadPage(limit).finally(() => { loading = null; });
  await loading;
}

async function loadPage(limit) {
  log.setAttribute('aria-busy', 'true');
  const { messages, more, problem } = await api('GET', `/api/messages?before=${first}&limit=${limit}`);
  if (messages) {
    const below = log.scrollHeight - log.scrollTop;
    prepend(messages);
    mayHaveOlder = more;
    if (!more) link?.remove();
    else if (link) link.querySelector('a').href = `/?before=${first}`;
    log.scrollTop = log.scrollHeight - below;
  }
  log.removeAttribute('aria-busy');
  // Where the server does not answer, the next scrolling asks again.
  if (problem) await pause(2e3);
}

/** Shows so many messages at least, if there were so many, from the first of them on. */
export async function showBack(count) {
  const shown = () => lines.querySelectorAll('.said[id]:not(.ignored)');
  let before = -1;
  while (shown().length < count && before < shown().length) {
    before = shown().length;
    await loadOlder(Math.min(MAX_PAGE, count - before));
  }
  [...shown()].at(-count)?.scrollIntoView();
  if (shown().length <= count) log.scrollTop = 0;
}

function prepend(messages) {
  if (!messages.length) return;
  const [latest, own] = [end, batch];
  [end, batch] = [fresh(), document.createDocumentFragment()];
  for (const data of messages) {
    const { line, date, author } = messageRow(data);
    put(line, date, author);
  }
  const top = lines.firstElementChild;
  if (top?.dataset.day === end.day) {
    const next = top.nextElementSibling;
    top.remove();
    if (next?.classList.contains('said')) {
      const time = new Date(next.querySelector('time').dateTime);
      group(next, end, next.querySelector('.who').textContent, clock(time));
    }
  }
  lines.prepend(batch);
  [end, batch] = [latest, own];
  if (last === 0) end = { ...end, day: lines.lastElementChild.dataset.day || end.day };
  first = messages[0].id;
}

// Where one has stopped reading.

let { epoch } = log.dataset;
let readMark = null;

/** From now on numbers count in this life of the server. */
export function restart(newEpoch) {
  epoch = newEpoch;
  last = 0;
}

/** Notes that everything is read, if somebody looks at the end. */
function noteRead() {
  if (document.hidden || !follows || !last) return;
  all.set('read', { epoch, id: last });
}

/** Marks where the new begins: once for each time that somebody was away. */
export function markUnread(text = 'New since you were here') {
  if (readMark?.isConnected) readMark.remove();
  readMark = mark(text, 'mark unread');
}

/** Whom one does not want to read is not shown, and shown again. */
export function showIgnored() {
  for (const line of lines.querySelectorAll('.said')) {
    line.classList.toggle('ignored', ignores(line.querySelector('.who').textContent));
  }
}

// The whole date of a time, on hover.
log.addEventListener('pointerover', ({ target }) => {
  const time = target.closest('time[datetime]');
  if (time && !time.title) time.title = full.format(new Date(time.dateTime));
});

let isLive = false;

/**
 * Takes over what the server has drawn, in local time; a live one is turned round: without scripts
 * it is upside down, so that it opens at its end, but then the browser measures all of it anew with
 * each line.
 */
export function takeOver(live) {
  isLive = live;
  const read = all.get('read');
  let isRead = !read || read.epoch !== epoch;
  for (const line of [...lines.children]) {
    if (line.className === 'nothing') continue;
    line.remove();
    if (!line.classList.contains('said')) continue;
    const time = line.querySelector('time');
    const text = line.querySelector('.text');
    const id = Number(line.id.slice(1));
    const date = new Date(time.dateTime);
    time.textContent = clock(date);
    text.replaceChildren(...linked(text.textContent));
    if (!isRead && id > read.id) {
      isRead = true;
      if (last) markUnread();
    }
    put(line, date, line.querySelector('.who').textContent);
    first = first ?? id;
    last = id;
  }
  lines.append(batch);
  if (live) {
    if (link) log.prepend(link);
    log.classList.add('live');
    toEnd();
  }
}
