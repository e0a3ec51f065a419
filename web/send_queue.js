// Messages that the server has not accepted yet. The queue survives a reload of the tab. A message
// is sent again with the same nonce until the server responds, so it is published once.

import { make, makeButton } from './dom.js';
import { request, sleep } from './api.js';
import { profile, tabStorage } from './profile.js';
import { scrollToEnd } from './messages.js';
import { reconnect } from './stream.js';
import { showError, setText, text, focus } from './composer.js';

const MAX_UNSENT = 100;
const MAX_RETRY_DELAY = 15e3;
const SLOW_AFTER = 200; // an unsent message is shown from then on

export const unsentList = make('ul', 'unsent');
unsentList.setAttribute('aria-label', 'Unsent messages');
unsentList.hidden = true;

// Messages that the server has refused stay until the user takes them back or discards them.

export const refusedList = make('ul', 'refused');
refusedList.setAttribute('aria-label', 'Messages not sent');

const queue = tabStorage.get('outbox') || [];
let refused = tabStorage.get('refused') || []; // { typed, reason }
let isSending = false;

/** Returns the line that the user typed for a message. */
function asTyped({ message, target, action }) {
  if (target) return `/msg "${target}" ${message}`;
  if (action) return `/me ${message}`;
  return message.startsWith('/') ? `/${message}` : message;
}

function setRefused(items) {
  refused = items;
  tabStorage.set('refused', items.length ? items : null);
  refusedList.hidden = !items.length;
  refusedList.replaceChildren(...items.map(refusedRow));
}

function refusedRow(item) {
  const edit = makeButton('', 'Edit');
  const discard = makeButton('', 'Discard');
  edit.addEventListener('click', () => {
    // What the field has now takes the place of the row.
    const draft = text().trim() ? [{ typed: text(), reason: 'Set aside' }] : [];
    setRefused(refused.flatMap((other) => (other === item ? draft : [other])));
    setText(item.typed);
    showError('');
    focus();
  });
  discard.addEventListener('click', () => {
    setRefused(refused.filter((other) => other !== item));
    focus();
  });
  const what = make('span', 'what', `Not sent: ${item.typed}`);
  return make('li', '', what, make('span', 'reason', item.reason), edit, discard);
}
setRefused(refused);

/** Stores the queue, and shows it if there is a `state`: slow or failed. */
function update(state = '') {
  tabStorage.set('outbox', queue.length ? queue : null);
  unsentList.replaceChildren(...queue.map(({ message }) => make('li', '', message)));
  unsentList.hidden = !queue.length || !state;
  unsentList.dataset.state = state;
}

const newNonce = () => [...crypto.getRandomValues(new Uint8Array(12))].map((byte) => byte.toString(16).padStart(2, '0')).join('');

/** Queues a message. Returns false if the queue is full. */
export function send(message, options) {
  if (queue.length + refused.length >= MAX_UNSENT) {
    showError(`${MAX_UNSENT} messages are unsent; wait until some are sent, or discard those that were refused`);
    return false;
  }
  queue.push({ message, nonce: newNonce(), ...options });
  update();
  scrollToEnd();
  sendQueued();
  return true;
}

function post({ target, ...item }) {
  return target ? request('POST', '/api/private', { target, ...item }) : request('POST', '/api/messages', item);
}

/** Sends the queued messages in order. Stops while the user has not joined. */
export async function sendQueued() {
  if (isSending) return;
  isSending = true;
  let failures = 0;
  while (queue.length && profile.name) {
    const [item] = queue;
    const slowTimer = setTimeout(() => update('slow'), SLOW_AFTER);
    const { problem, retryAfter } = await post(item);
    clearTimeout(slowTimer);
    if (!problem) {
      failures = 0;
      queue.shift();
      update();
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
      queue.shift();
      update();
      setRefused([...refused, { typed: asTyped(item), reason: problem.detail }]);
    }
  }
  isSending = false;
  update(queue.length ? 'failed' : '');
}
