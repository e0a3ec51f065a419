// Messages that the server has not accepted yet. The queue survives a reload of the tab. A message
// is sent again with the same nonce until the server responds, so it is published once. Only the
// session that an attempt belongs to knows its nonce.

import { make, makeButton } from './dom.js';
import { request, sleep } from './api.js';
import { profile, tabStorage, browserStorage } from './profile.js';
import { scrollToEnd } from './messages.js';
import { reconnect, isLive } from './stream.js';
import { showError, setText, text, focus } from './composer.js';

const MAX_UNSENT = 100;
const MAX_RETRY_DELAY = 15e3;
const SLOW_AFTER = 200; // an unsent message is shown from then on

export const unsentList = make('ul', 'unsent');
unsentList.setAttribute('aria-label', 'Unsent messages');
unsentList.hidden = true;

// Messages that are set aside stay until the user takes them back, sends them again or discards
// them: the server has refused them, or the session has ended.

export const refusedList = make('ul', 'refused');
refusedList.setAttribute('aria-label', 'Messages not sent');

// Each item has `author`, the name of the user who wrote it, and after an attempt without a
// response `session`, to which that attempt belongs.
let queue = tabStorage.get('outbox') || [];
let refused = tabStorage.get('refused') || []; // { item, typed, reason, isDoubtful }
let state = ''; // slow or failed
let isSending = false;

const newNonce = () => [...crypto.getRandomValues(new Uint8Array(12))].map((byte) => byte.toString(16).padStart(2, '0')).join('');

// The tabs of a browser share a session, and its name in their storage.
const currentSession = () => browserStorage.get('session') || 'first';
export const continueSession = (session) => browserStorage.set('session', session);

/** Begins another session. Returns the one before. */
export function startSession() {
  const session = currentSession();
  continueSession(newNonce());
  return session;
}

/** Returns the line that the user typed for a message. */
function asTyped({ message, target, action }) {
  if (target) return `/msg "${target}" ${message}`;
  if (action) return `/me ${message}`;
  return message.startsWith('/') ? `/${message}` : message;
}

function setRefused(rows) {
  refused = rows;
  tabStorage.set('refused', rows.length ? rows : null);
  refusedList.hidden = !rows.length;
  refusedList.replaceChildren(...rows.map(refusedRow));
}

function refusedRow(row) {
  const { typed, reason, isDoubtful } = row;
  const take = makeButton('', isDoubtful ? 'Send again' : 'Edit');
  const discard = makeButton('', isDoubtful ? 'Drop' : 'Discard');
  take.addEventListener('click', () => (isDoubtful ? sendAgain(row) : edit(row)));
  discard.addEventListener('click', () => {
    setRefused(refused.filter((other) => other !== row));
    focus();
  });
  const what = make('span', 'what', `${isDoubtful ? 'May have been sent' : 'Not sent'}: ${typed}`);
  return make('li', '', what, make('span', 'reason', reason), take, discard);
}

function edit(row) {
  // What the field has now takes the place of the row.
  const draft = text().trim() ? [{ typed: text(), reason: 'Set aside' }] : [];
  setRefused(refused.flatMap((other) => (other === row ? draft : [other])));
  setText(row.typed);
  showError('');
  focus();
}

function sendAgain(row) {
  setRefused(refused.filter((other) => other !== row));
  const { message, target, action } = row.item;
  send(message, { target, action });
  focus();
}
setRefused(refused);

/** Takes messages out of the queue and leaves it to the user what becomes of them. */
function setAside(items, reason) {
  queue = queue.filter((item) => !items.includes(item));
  setRefused([...refused, ...items.map((item) => (
    { item, typed: asTyped(item), reason, isDoubtful: Boolean(item.session) }
  ))]);
  update();
}

/** Sets all messages aside, because their author has left. */
export function authorLeft() {
  if (queue.length) setAside(queue, 'You are no longer in the chat');
}

/** Makes the messages those of the user's new name. */
export function authorRenamed(name, newName) {
  for (const item of queue) if (item.author === name) item.author = newName;
}

/** Stores the queue, and shows it if sending is slow or has failed. */
function update(newState = state) {
  state = queue.length ? newState : '';
  tabStorage.set('outbox', queue.length ? queue : null);
  unsentList.replaceChildren(...queue.map((item) => make('li', '', asTyped(item))));
  unsentList.hidden = !state;
  unsentList.dataset.state = state;
}

/** Queues a message. Returns false if the queue is full. */
export function send(message, options) {
  if (queue.length + refused.length >= MAX_UNSENT) {
    showError(`${MAX_UNSENT} messages are unsent; wait until some are sent, or discard those that were set aside`);
    return false;
  }
  queue.push({ message, nonce: newNonce(), author: profile.name, ...options });
  update();
  scrollToEnd();
  sendQueued();
  return true;
}

function post({ message, nonce, target, action }) {
  return target
    ? request('POST', '/api/private', { target, message, nonce })
    : request('POST', '/api/messages', { message, nonce, action });
}

/** Returns why the user has to decide what becomes of a message, if there is a reason. */
function reasonToAsk({ author, session }) {
  if (session && session !== currentSession()) return 'The server does not know the session that sent it';
  return author && author !== profile.name ? `Written as ${author}` : '';
}

/** Sends the queued messages in order. Stops while the user has not joined, or the link is lost: an
 * attempt that gets no response could not be repeated in another session. */
export async function sendQueued() {
  if (isSending) return;
  isSending = true;
  let failures = 0;
  while (queue.length && profile.name && isLive()) {
    const [item] = queue;
    if (reasonToAsk(item)) {
      setAside([item], reasonToAsk(item));
      continue;
    }
    const { session } = item;
    item.session = currentSession();
    update();
    const slowTimer = setTimeout(() => update('slow'), SLOW_AFTER);
    const { problem, retryAfter } = await post(item);
    clearTimeout(slowTimer);
    // With any other problem, this attempt had no effect.
    if (problem && problem.code !== 'no-response') item.session = session;
    if (!problem) {
      failures = 0;
      queue = queue.filter((other) => other !== item);
      setRefused(refused.filter((row) => row.item !== item));
      update();
    } else if (!queue.includes(item)) {
      setRefused(refused.map((row) => (row.item === item ? { ...row, isDoubtful: Boolean(item.session) } : row)));
    } else if (problem.code === 'no-session') {
      // The next connection of the stream tells the user's name, and sending continues.
      profile.name = null;
      reconnect();
    } else if (retryAfter) {
      update('failed');
      const delay = Math.min(MAX_RETRY_DELAY, retryAfter * 2 ** Math.min(failures, 5));
      failures += 1;
      await sleep(delay * (0.5 + Math.random() / 2));
    } else {
      // The server would reject the message again, so the user gets it back.
      setAside([item], problem.detail);
    }
  }
  isSending = false;
  update('failed');
}
