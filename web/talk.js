// Talking: who one is, the field, what waits to be taken by the server, and the commands.
//
// What is written is kept until the server has taken it, in this tab, and sent again under the same
// nonce as often as it takes: the server says it once.

import { find, make, hue, nameTag, clock, tab, all, api, pause, linked, self } from './base.js';
import { clear, log, note, showBack, showIgnored, toEnd } from './log.js';
import { names, isHere } from './people.js';
import { reconnect } from './link.js';

const MAX_WAITING = 100; // messages
const MAX_WAIT = 15e3; // between two attempts
const MAX_MENTIONS = 100;
const RECENT = 100; // messages
const MAX_HEIGHT = 12; // rem, of the field

const place = find('talk');
const isReadOnly = document.body.dataset.kind !== 'live';

// Elements. They are made once, and shown as they are needed.

const refusal = make('p', 'refusal');
refusal.id = 'refusal';
refusal.setAttribute('role', 'alert');

const nameField = make('input');
Object.assign(nameField, { id: 'name', autocomplete: 'nickname', placeholder: 'Your name', required: true, maxLength: 512, enterKeyHint: 'go' });
nameField.dir = 'auto';
const joinButton = make('button', 'main', 'Join');
const stayButton = make('button', '', 'Keep the name');
stayButton.type = 'button';
const joinLabel = make('label', '', 'Join as');
joinLabel.htmlFor = 'name';
const joinForm = make('form', 'join', joinLabel, nameField, joinButton, stayButton);

const ownName = make('button', 'own');
ownName.type = 'button';
ownName.title = 'Change your name';
const field = make('textarea');
Object.assign(field, { id: 'text', rows: 1, placeholder: 'Write a message', enterKeyHint: 'send' });
field.dir = 'auto';
field.setAttribute('aria-describedby', 'refusal');
nameField.setAttribute('aria-describedby', 'refusal');
const notifyButton = make('button', 'notify', 'Notify me');
notifyButton.type = 'button';
notifyButton.title = 'Tell me when somebody speaks of me, or to me alone, while this page is out of sight';
const sendButton = make('button', 'main', 'Send');
const sayForm = make('form', 'say', ownName, field, notifyButton, sendButton);

const waiting = make('ul', 'waiting');
waiting.setAttribute('aria-label', 'Not yet sent');

function refuse(text) {
  refusal.textContent = text || '';
}

function show(isJoining) {
  joinForm.hidden = !isJoining;
  sayForm.hidden = isJoining;
  stayButton.hidden = !self.name;
  joinButton.textContent = self.name ? 'Rename' : 'Join';
  const canAsk = 'Notification' in window && isSecureContext && Notification.permission === 'default';
  notifyButton.hidden = !canAsk;
  if (self.name) {
    ownName.replaceChildren(nameTag(self.name, hue(self.name)));
    ownName.setAttribute('aria-label', `You are ${self.name}; change your name`);
    field.setAttribute('aria-label', `Message as ${self.name}`);
  }
}

// Joining and leaving. Other tabs of this browser are the same user.

const tabs = 'BroadcastChannel' in window ? new BroadcastChannel('smolchat') : null;
if (tabs) tabs.onmessage = () => reconnect();

let isAsking = false;

async function join(name, isByItself) {
  if (isAsking) return;
  isAsking = true;
  joinButton.disabled = true;
  const answer = await api('POST', '/api/session', { name });
  joinButton.disabled = false;
  isAsking = false;
  if (answer.problem) {
    refuse(answer.problem.detail);
    if (isByItself && answer.wait) {
      await pause(answer.wait);
      if (!self.name && all.get('joined')) await join(name, true);
      return;
    }
    nameField.value = name;
    all.set('joined', isByItself ? null : all.get('joined'));
    show(true);
    if (!isByItself) nameField.focus();
    return;
  }
  refuse('');
  const wasSomebody = Boolean(self.name);
  all.set('name', answer.name);
  all.set('joined', true);
  if (!wasSomebody) {
    tabs?.postMessage('joined');
    reconnect();
  }
  self.name = answer.name;
  show(false);
  if (!isByItself) field.focus();
  work();
}

async function leave() {
  // Before the stream tells it: who goes on purpose does not come back by itself.
  all.set('joined', null);
  const { problem } = await api('DELETE', '/api/session', {});
  if (problem) {
    all.set('joined', true);
    refuse(problem.detail);
    return;
  }
  self.name = null;
  tabs?.postMessage('left');
  reconnect();
  show(true);
}

joinForm.addEventListener('submit', (event) => {
  event.preventDefault();
  join(nameField.value, false);
});
stayButton.addEventListener('click', () => {
  refuse('');
  show(false);
  field.focus();
});
ownName.addEventListener('click', () => {
  nameField.value = self.name;
  show(true);
  nameField.select();
});
notifyButton.addEventListener('click', async () => {
  await Notification.requestPermission();
  show(false);
  field.focus();
});

/** Whose stream it is, as the server says. */
export function session({ name }) {
  if (isReadOnly) return;
  self.name = name;
  if (name) {
    all.set('name', name);
    all.set('joined', true);
    show(sayForm.hidden && !joinForm.hidden && document.activeElement === nameField && !joinButton.disabled);
    work();
    return;
  }
  const before = all.get('name');
  if (before && !nameField.value) nameField.value = before;
  // Who was here, and was not asked to go, comes back as the same; out of sight a little later,
  // since one tab is enough.
  if (before && all.get('joined')) {
    setTimeout(() => { if (!self.name) join(before, true); }, document.hidden ? 1500 : 0);
  } else show(true);
}

/** Somebody is called something else. */
export function renamed(name, newName) {
  if (name !== self.name) return;
  self.name = newName;
  all.set('name', newName);
  show(!joinForm.hidden && document.activeElement === nameField);
}

// What waits.

let outbox = tab.get('outbox') || [];
let isWorking = false;

function drawWaiting(state) {
  tab.set('outbox', outbox.length ? outbox : null);
  waiting.replaceChildren(...outbox.map(({ message }) => make('li', '', message)));
  waiting.hidden = !outbox.length || !state;
  waiting.dataset.state = state || '';
}

function nonce() {
  return [...crypto.getRandomValues(new Uint8Array(12))].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}

function say(message, more = {}) {
  if (outbox.length >= MAX_WAITING) {
    refuse(`${MAX_WAITING} messages wait to be sent; wait until some of them are`);
    return false;
  }
  outbox.push({ message, nonce: nonce(), ...more });
  drawWaiting('');
  toEnd();
  work();
  return true;
}

async function work() {
  if (isWorking) return;
  isWorking = true;
  let failures = 0;
  while (outbox.length && self.name) {
    const { target, ...item } = outbox[0];
    const slow = setTimeout(() => drawWaiting('slow'), 1000);
    const answer = await api('POST', target ? '/api/private' : '/api/messages', target ? { target, ...item } : item);
    clearTimeout(slow);
    const { problem, wait } = answer;
    if (!problem) {
      failures = 0;
      outbox.shift();
      drawWaiting('');
    } else if (problem.code === 'no-session') {
      // The stream will say who one is, and then this goes on.
      self.name = null;
      reconnect();
    } else if (wait) {
      drawWaiting('lost');
      failures += 1;
      await pause(Math.min(MAX_WAIT, wait * 2 ** Math.min(failures - 1, 5)) * (0.5 + Math.random() / 2));
    } else {
      // It would be refused again: it goes back to whoever wrote it.
      outbox.shift();
      drawWaiting('');
      refuse(problem.detail);
      if (!field.value) setText(target ? `/msg "${target}" ${item.message}` : item.message);
    }
  }
  isWorking = false;
  drawWaiting(outbox.length ? 'lost' : '');
}

// The field.

function setText(text) {
  field.value = text;
  tab.set('draft', text || null);
  grow();
}

function grow() {
  field.style.height = 'auto';
  const rem = parseFloat(getComputedStyle(document.documentElement).fontSize);
  field.style.height = `${Math.min(field.scrollHeight + 2, MAX_HEIGHT * rem)}px`;
}

field.addEventListener('input', () => {
  tab.set('draft', field.value || null);
  refuse('');
  completing = null;
  grow();
});

sayForm.addEventListener('submit', (event) => {
  event.preventDefault();
  submit();
});

function submit() {
  const text = field.value;
  if (!text.trim()) return;
  refuse('');
  if (text.startsWith('/') && !text.startsWith('//')) {
    if (run(text.slice(1))) setText('');
  } else if (say(text.replace(/^\/\//, '/'))) setText('');
}

field.addEventListener('keydown', (event) => {
  if (event.isComposing) return;
  if (event.key === 'Enter' && !event.shiftKey) {
    event.preventDefault();
    submit();
  } else if (event.key === 'Tab' && !event.shiftKey && complete()) event.preventDefault();
  else if (event.key === 'PageUp' || event.key === 'PageDown') {
    log.scrollBy({ top: (event.key === 'PageUp' ? -0.9 : 0.9) * log.clientHeight });
    event.preventDefault();
  }
});

// Completion: of commands at the beginning, else of names, who spoke last first. Tab again gives
// the next one.

const spoken = new Set(); // the newest last
let completing = null;

/** Somebody said something. */
export function spoke(name) {
  spoken.delete(name);
  spoken.add(name);
}

function complete() {
  if (!completing) {
    const upTo = field.value.slice(0, field.selectionStart);
    const [, word] = /([^\s]*)$/.exec(upTo);
    const start = upTo.length - word.length;
    const bare = word.replace(/^@/, '');
    const at = word.length - bare.length;
    if (!bare) return false;
    const isCommand = start === 0 && word.startsWith('/');
    const among = isCommand
      ? Object.keys(COMMANDS).map((name) => `/${name}`)
      : [...new Set([...[...spoken].reverse(), ...names()])].filter((name) => name !== self.name && isHere(name));
    const found = among.filter((name) => name.toLowerCase().startsWith(bare.toLowerCase()));
    if (!found.length) return false;
    const after = isCommand || start > 0 ? ' ' : ': ';
    completing = { found, next: 0, start: start + at, end: upTo.length, after };
  }
  const { found, next, start, end, after } = completing;
  const name = found[next % found.length] + after;
  field.setRangeText(name, start, end, 'end');
  completing = { ...completing, next: next + 1, end: start + name.length };
  tab.set('draft', field.value);
  grow();
  return true;
}

// Mentions and what was said to one alone.

const mentions = [];
let partner = null; // who was the last to say something to one alone

function notify(title, body) {
  if (!document.hidden || !('Notification' in window) || Notification.permission !== 'granted') return;
  const shown = new Notification(title, { body, tag: 'smolchat' });
  shown.onclick = () => {
    window.focus();
    shown.close();
  };
}

/** Somebody speaks of whoever reads this. */
export function mentioned(data, title = data.source) {
  mentions.push(data);
  if (mentions.length > MAX_MENTIONS) mentions.shift();
  notify(title, data.message);
}

/** Something was said to one alone, or by one. */
export function whispered(data) {
  const { source, target, own } = data;
  partner = own ? target : source;
  if (!own) mentioned(data, `${source} (private)`);
}

// Commands, as in the terminal: what each takes, what it does, how.

const COMMANDS = {
  help: ['[COMMAND]', 'explains the commands', help],
  setname: ['NAME', 'changes your name', (rest) => join(rest, false)],
  nick: ['NAME', 'changes your name', (rest) => join(rest, false)],
  users: ['', 'tells who is here', users],
  history: ['[N]', 'shows the recent messages, or the last N of them', history],
  search: ['WORDS', 'finds messages', search],
  msg: ['NAME TEXT', 'says something to one user alone', whisper],
  reply: ['TEXT', 'answers who last said something to you alone', reply],
  me: ['TEXT', 'tells what you do', (rest) => say(rest, { action: true })],
  ignore: ['NAME', 'hides what somebody says', (rest) => ignore(rest, true)],
  unignore: ['NAME', 'shows it again', (rest) => ignore(rest, false)],
  mentions: ['', 'lists who spoke of you or to you alone', listMentions],
  clear: ['', 'clears the page', clear],
  info: ['', 'tells about the chat', info],
  reconnect: ['', 'connects anew', reconnect],
  quit: ['', 'leaves the chat', leave],
};

const needsMore = (takes) => takes && !takes.startsWith('[');

/** Runs a command; false if it is to be corrected. */
function run(line) {
  const [, word, rest] = /^(\S*)\s*([^]*)$/.exec(line);
  const command = Object.hasOwn(COMMANDS, word.toLowerCase()) && COMMANDS[word.toLowerCase()];
  if (!command) {
    refuse(unknown(word));
    return false;
  }
  const [takes, , how] = command;
  if (needsMore(takes) && !rest.trim()) {
    refuse(`/${word} needs ${takes}`);
    return false;
  }
  if (!takes && rest.trim()) {
    refuse(`/${word} takes nothing after it`);
    return false;
  }
  return how(rest.trim()) !== false;
}

function unknown(word) {
  // In a short word a mistake leaves nothing to guess by.
  const allowed = Math.min(2, word.length / 2);
  const near = Object.keys(COMMANDS).find((name) => distance(name, word.toLowerCase()) <= allowed);
  return `/${word} is no command${near ? `; did you mean /${near}?` : ''} /help lists all; //${word} says /${word}`;
}

/** How many letters differ. */
function distance(a, b) {
  let row = [...Array(b.length + 1).keys()];
  for (let i = 1; i <= a.length; i += 1) {
    const next = [i];
    for (let j = 1; j <= b.length; j += 1) {
      next[j] = Math.min(next[j - 1] + 1, row[j] + 1, row[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1));
    }
    row = next;
  }
  return row[b.length];
}

function list(title, rows) {
  const items = rows.map((row) => make('li', '', ...[row].flat()));
  note(make('p', '', title), make('ul', '', ...items));
}

function help(word) {
  const of = Object.entries(COMMANDS).filter(([name]) => !word || name === word.replace('/', ''));
  if (!of.length) {
    refuse(unknown(word.replace('/', '')));
    return false;
  }
  list('Enter sends, Shift+Enter begins a new line, Tab completes.', of.map(([name, [takes, does]]) => [make('code', '', `/${name} ${takes}`.trim()), ` ${does}`]));
}

function users() {
  const here = [...names()];
  const shown = here.slice(0, 500).flatMap((name, i) => [i ? ', ' : '', nameTag(name, hue(name))]);
  note(`${here.length} here: `, ...shown, here.length > 500 ? ' …' : '');
}

function history(rest) {
  const count = rest ? Number(rest) : RECENT;
  if (!Number.isInteger(count) || count < 1) {
    refuse(`/history takes a number from 1, or nothing, and not ${rest}`);
    return false;
  }
  showBack(count);
  return true;
}

function found({ id, time, source, message }) {
  const at = make(id ? 'a' : 'span', '', clock(new Date(time)));
  if (id) at.href = `/m/${id}`;
  return [at, ' ', nameTag(source, hue(source)), ': ', ...linked(message)];
}

async function search(words) {
  const path = `?q=${encodeURIComponent(words)}`;
  const { messages, more, problem } = await api('GET', `/api/messages${path}&limit=10`);
  if (problem) {
    refuse(problem.detail);
    return;
  }
  if (!messages.length) {
    note(`Nothing was found for “${words}”.`);
    return;
  }
  const all = make('a', '', 'All that was found');
  all.href = `/${path}`;
  list(`Found for “${words}”:`, [...messages.map(found), ...(more ? [all] : [])]);
}

function whisper(rest) {
  // A name may have spaces: the longest one that is here counts.
  const among = [...names()].filter((name) => rest.toLowerCase().startsWith(`${name.toLowerCase()} `));
  const longest = among.sort((a, b) => b.length - a.length)[0];
  const [, quoted, text] = (!longest && /^"([^"]+)"\s+([^]*)$/.exec(rest)) || [];
  const target = quoted || longest || rest.split(/\s/)[0];
  const message = (quoted ? text : rest.slice(target.length)).trim();
  if (!message) {
    refuse('/msg needs NAME TEXT');
    return false;
  }
  return say(message, { target });
}

function reply(message) {
  if (!partner) {
    refuse('Nobody has said anything to you alone yet');
    return false;
  }
  return say(message, { target: partner });
}

function ignore(name, isIgnored) {
  if (isIgnored) self.ignored.add(name.toLowerCase());
  else self.ignored.delete(name.toLowerCase());
  all.set('ignored', [...self.ignored]);
  showIgnored();
  note(isIgnored ? `What ${name} says is hidden.` : `What ${name} says is shown.`);
}

function listMentions() {
  if (mentions.length) list('Who spoke of you:', mentions.map(found));
  else note('Nobody has spoken of you since this page is open.');
}

function info() {
  note(`This is smolchat. ${[...names()].length} are here. You are ${self.name}. ${find('link').textContent}.`);
}

/** Begins, where talking is allowed. */
export function start() {
  if (isReadOnly) return;
  place.append(waiting, joinForm, sayForm, refusal);
  waiting.hidden = true;
  self.name = null;
  const isBack = all.get('name') && all.get('joined');
  nameField.value = all.get('name') || '';
  show(!isBack);
  setText(tab.get('draft') || '');
}
