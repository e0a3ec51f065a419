// Makes the page live. The server has already put everything into the HTML; this keeps it so.
//
// The stream is read with fetch rather than EventSource: EventSource hides the server's heartbeat
// comments, so it cannot tell a quiet chat from a dead connection, and it keeps its own hours for
// reconnecting. Here any byte counts as a sign of life, and there is one back-off for every failure.
//
// Whatever users wrote is inserted as text only.

const EVENTS = '/api/events';
const MAX_LINES = 1000; // kept in the log
const MAX_FOLD = 500; // comings and goings in one line
const FOLD_TIME = 10 * 60e3;
const NAMES_SHOWN = 6; // of each kind in such a line
const LIST_ROWS = 100; // of the users, as the server divides them
const TICK = 5e3; // the watchdog's step
const SILENT_TICKS = 8; // 40 s; the server beats every 15 s
const MAX_WAIT = 15e3; // between two attempts
const SPEAK_EVERY = 4e3; // to a screen reader

const find = (id) => document.getElementById(id);
const log = find('log');
const lines = find('lines');
const people = find('people');
const count = find('count');
const link = find('link');
const spoken = find('spoken');
const notice = find('notice');
const title = document.title;

// Elements

function make(tag, className, ...children) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...children);
  return element;
}

const utf8 = new TextEncoder();

/** The colour of a name: FNV-1a of its UTF-8, as the server computes it for the first view. */
function hue(name) {
  let hash = 0x811c9dc5;
  for (const byte of utf8.encode(name)) hash = Math.imul(hash ^ byte, 0x01000193);
  return `hue-${(hash >>> 0) % 12}`;
}

// Only of use with scripts, so it is made here.
const newer = make('button', 'newer');
newer.type = 'button';
newer.id = 'newer';
newer.hidden = true;
log.after(newer);

const nameTag = (name, className) => make('bdi', className, name);

const clock = (date) =>
  `${String(date.getHours()).padStart(2, '0')}:${String(date.getMinutes()).padStart(2, '0')}`;
const dayKey = (date) => `${date.getFullYear()}-${date.getMonth()}-${date.getDate()}`;
const longDay = new Intl.DateTimeFormat('en-GB', { weekday: 'long', day: 'numeric', month: 'long', year: 'numeric' });
const full = new Intl.DateTimeFormat('en-GB', { dateStyle: 'full', timeStyle: 'long' });

function timeTag(date) {
  const time = make('time', '', clock(date));
  time.dateTime = date.toISOString();
  return time;
}

function messageLine({ time, source, message, action }) {
  const date = new Date(time);
  const body = make('span', 'text', message);
  body.dir = 'auto';
  const line = make('li', `line said ${hue(source)}`, timeTag(date), ' ', nameTag(source, 'who'), make('span', 'colon', ': '), body);
  if (action) line.classList.add('act');
  return { line, date, author: source };
}

// The log. `end` is what the last line was, `batch` holds the lines of this frame.

let end = { day: '', author: null, minute: '', fold: null };
let batch = document.createDocumentFragment();
let length = 0;
let knowsMessages = false; // of this epoch

function put(line, date, author = null) {
  const day = dayKey(date);
  if (day !== end.day) {
    batch.append(make('li', 'day', make('h3', '', longDay.format(date).replace(',', ''))));
    end = { day, author: null, minute: '', fold: null };
  }
  const minute = clock(date);
  const again = author !== null && author === end.author;
  line.classList.toggle('again', again);
  line.classList.toggle('same', again && minute === end.minute);
  end.author = author;
  end.minute = minute;
  end.fold = null;
  batch.append(line);
  length += 1;
}

function mark(text) {
  batch.append(make('li', 'mark', text));
  length += 1;
  end.author = null;
  end.fold = null;
}

/** Comings and goings in a row share one line, so that a crowd at the door does not push the talk away. */
function presence(kind, { time, name, new_name: newName }) {
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
  for (const [name, { before, here }] of fold.people) {
    if (here && before !== null && before !== name) renamed.push([before, name]);
    else if (here) kinds[before === null ? 'joined' : 'left and came back'].push(name);
    else kinds[before === null ? 'came and left' : 'left'].push(name);
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
  for (const [before, name] of renamed.slice(0, NAMES_SHOWN)) {
    parts.push([nameTag(before, hue(before)), ' is now ', nameTag(name, hue(name))]);
  }
  if (renamed.length > NAMES_SHOWN) parts.push([`${renamed.length - NAMES_SHOWN} more changed names`]);
  fold.news.replaceChildren(...parts.flatMap((part, i) => (i ? [' · ', ...part] : part)));
}

/** Drops the oldest lines; the day they belong to stays on top. */
function prune() {
  while (length > MAX_LINES) {
    const first = lines.firstElementChild;
    const next = first.nextElementSibling;
    if (first.className === 'day' && next.className !== 'day') {
      next.remove();
      length -= 1;
    } else {
      first.remove();
      if (first.className !== 'day') length -= 1;
    }
  }
}

// Who is here, in order of arrival. One list of ten thousand would be laid out as a whole at each
// arrival and departure; lists of a hundred are skipped while they are out of sight.

const rows = new Map(); // name: { row, since }

function enter(name, since) {
  const known = rows.get(name);
  if (known) {
    known.since = since;
    return known.row;
  }
  const row = make('li', hue(name), nameTag(name));
  rows.set(name, { row, since });
  return row;
}

function exit(name) {
  const known = rows.get(name);
  if (known) takeOut(known.row);
  rows.delete(name);
}

function seat(row) {
  let list = people.lastElementChild;
  if (!list || list.childElementCount >= LIST_ROWS) {
    list = make('ul');
    list.setAttribute('role', 'list');
    people.append(list);
  }
  list.append(row);
}

function takeOut(row) {
  const list = row.parentNode;
  row.remove();
  if (list && !list.childElementCount) list.remove();
}

function rename(name, newName) {
  const known = rows.get(name);
  if (!known || name === newName) return;
  exit(newName);
  rows.delete(name);
  rows.set(newName, known);
  known.row.className = hue(newName);
  known.row.replaceChildren(nameTag(newName));
}

/** Makes the list equal to the server's, touching only what differs. */
function replacePeople(users) {
  const now = new Set(users.map(({ name }) => name));
  for (const name of [...rows.keys()]) if (!now.has(name)) exit(name);
  let next = people.querySelector('li:not(.nobody)');
  for (const { name, since } of users) {
    const row = enter(name, since);
    if (row === next) next = row.nextElementSibling || row.parentNode.nextElementSibling?.firstElementChild;
    else {
      takeOut(row);
      if (next) next.before(row);
      else seat(row);
    }
  }
}

// Frames: whatever arrives is applied together, once per drawn frame; a timer stands in for frames
// while the page is hidden.

let queue = [];
let frame = 0;
let timer = 0;
let newCount = 0;
let hiddenCount = 0;

const atEnd = () => log.scrollTop > -8; // turned over: 0 is the end, above is negative

function later(event) {
  queue.push(event);
  if (frame) return;
  frame = requestAnimationFrame(flush);
  timer = setTimeout(flush, 500);
}

function flush() {
  cancelAnimationFrame(frame);
  clearTimeout(timer);
  frame = 0;
  const events = queue;
  queue = [];
  const stay = !atEnd();
  const before = stay ? lines.offsetHeight : 0;

  // Messages that would be dropped again at once are not drawn.
  const messages = events.filter(({ kind }) => kind === 'message').length;
  let undrawn = messages - MAX_LINES;
  for (const { kind, data } of events) {
    if (kind === 'joined') seat(enter(data.name, data.time));
    else if (kind === 'left') exit(data.name);
    else if (kind === 'renamed') rename(data.name, data.new_name);
    else if (kind === 'people') replacePeople(data);
    else if (kind === 'mark') mark(data);
    else if ((undrawn -= 1) < 0) {
      const { line, date, author } = messageLine(data);
      put(line, date, author);
    }
    if (kind === 'joined' || kind === 'left' || kind === 'renamed') presence(kind, data);
  }
  folded.forEach(writeFold);
  folded.clear();

  empty(people, seat, rows.size, 'nobody', 'Nobody');
  if (count.textContent !== String(rows.size)) count.textContent = rows.size;
  if (batch.firstChild) lines.append(batch);
  empty(lines, (note) => lines.append(note), length, 'nothing', 'Nothing has been said yet. New messages appear here by themselves.');
  if (stay) {
    log.scrollTop -= lines.offsetHeight - before;
    newCount += messages;
    showNewer();
  }
  prune();
  if (document.hidden && messages) {
    hiddenCount += messages;
    document.title = `(${hiddenCount}) ${title}`;
  }
}

function empty(place, add, size, className, text) {
  const note = place.querySelector(`.${className}`);
  if (size && note) takeOut(note);
  else if (!size && !note) add(make('li', className, text));
}

function showNewer() {
  newer.hidden = newCount === 0;
  newer.textContent = newCount === 1 ? '1 new message ↓' : `${newCount} new messages ↓`;
}

log.addEventListener('scroll', () => {
  if (newCount && atEnd()) {
    newCount = 0;
    if (document.activeElement === newer) log.focus({ preventScroll: true });
    showNewer();
  }
}, { passive: true });

newer.addEventListener('click', () => {
  log.focus({ preventScroll: true });
  log.scrollTop = 0;
});

// A screen reader gets at most one announcement every few seconds: a few messages in full, a flood
// as a number. (The log's own announcements are off.)

const unsaid = { message: 0, joined: 0, left: 0, renamed: 0, words: [] };
let speaking = 0;

function say(kind, data) {
  unsaid[kind] += 1;
  if (kind === 'message' && unsaid.message <= 3) unsaid.words.push(`${data.source}: ${data.message.slice(0, 300)}`);
  if (!speaking) speaking = setTimeout(speak, 500);
}

function speak() {
  const said = unsaid.message > 3 ? [`${unsaid.message} new messages`] : unsaid.words;
  if (unsaid.joined) said.push(`${unsaid.joined} joined`);
  if (unsaid.left) said.push(`${unsaid.left} left`);
  Object.assign(unsaid, { message: 0, joined: 0, left: 0, renamed: 0, words: [] });
  spoken.textContent = said.join('. ');
  speaking = said.length ? setTimeout(speak, SPEAK_EVERY) : 0;
}

// What the server sends

let epoch = log.dataset.epoch;
let last = Number(log.dataset.last);

function tell(words) {
  notice.textContent = words || '';
  notice.hidden = !words;
}

function snapshot({ epoch: newEpoch, last: newLast, users, messages, notice: words }) {
  tell(words);
  if (newEpoch !== epoch) {
    later({ kind: 'mark', data: 'The server restarted' });
    knowsMessages = false;
    last = 0;
  } else if (newLast > last && knowsMessages && !(messages.length && messages[0].id <= last + 1)) {
    // What is retained no longer reaches back to what is shown here.
    later({ kind: 'mark', data: 'Some messages may be missing here' });
  }
  for (const data of messages) if (data.id > last) later({ kind: 'message', data });
  knowsMessages = knowsMessages || messages.length > 0;
  epoch = newEpoch;
  last = newLast;
  later({ kind: 'people', data: users });
}

function receive(kind, data) {
  if (kind === 'snapshot') {
    snapshot(data);
    heard = true;
    show('live', 'Live');
  } else if (kind === 'notice') {
    tell(data.message);
  } else if (kind === 'bye') {
    farewell = data.reason === 'shutdown';
  } else if (heard && data.id > last) {
    last = data.id; // an event of a kind unknown here has its number too
    if (kind === 'message') knowsMessages = true;
    if (kind === 'message' || kind === 'joined' || kind === 'left' || kind === 'renamed') {
      later({ kind, data });
      say(kind, data);
    }
  }
}

// The link

let heard = false; // a snapshot, on this connection
let farewell = false;
let silent = 0;
let tick = Date.now();
let hangUp = null; // ends the connection
let wake = null; // ends the wait for the next attempt

function show(state, words) {
  if (link.dataset.state !== state || link.textContent !== words) {
    link.dataset.state = state;
    link.textContent = words;
  }
}

async function listen() {
  const abort = new AbortController();
  hangUp = () => abort.abort();
  heard = false;
  farewell = false;
  silent = 0;
  const response = await fetch(EVENTS, {
    headers: { Accept: 'text/event-stream' },
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
      else if (line === '' || line === '\r') {
        if (data.length) receive(kind, JSON.parse(data.join('\n')));
        kind = 'message';
        data = [];
      }
    }
  }
}

async function stayConnected() {
  let failures = 0;
  let lost = null;
  show('wait', 'Connecting');
  for (;;) {
    const began = Date.now();
    let ask = 0;
    try {
      ask = await listen();
    } catch (error) {
      if (!(error instanceof TypeError) && error.name !== 'AbortError') console.error(error);
    }
    hangUp = null;
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
  if (document.hidden) return;
  hiddenCount = 0;
  document.title = title;
  if (wake) wake();
});

// Details on hover: the whole date of a time, and since when somebody has been here.
document.addEventListener('pointerover', ({ target }) => {
  const time = target.closest('time[datetime]');
  if (time && !time.title) time.title = full.format(new Date(time.dateTime));
  const row = target.closest('#people li');
  const known = row && rows.get(row.textContent);
  if (known) row.title = `${row.textContent}\nsince ${full.format(new Date(known.since))}`;
});

// Start: take over what the server has drawn, in local time.

for (const row of people.querySelectorAll('li')) {
  if (row.className !== 'nobody') rows.set(row.textContent, { row, since: '' });
}
for (const line of [...lines.children]) {
  if (line.className === 'nothing') continue;
  line.remove();
  if (!line.classList.contains('said')) continue;
  const time = line.querySelector('time');
  const date = new Date(time.dateTime);
  time.textContent = clock(date);
  knowsMessages = true;
  put(line, date, line.querySelector('.who').textContent);
}
lines.append(batch);
stayConnected();
