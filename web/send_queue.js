// Messages that the server has not accepted yet. The queue survives a reload of the tab. A message
// is sent again with the same nonce until the server responds, so it is published once.

import { make } from './dom.js';
import { request, sleep } from './api.js';
import { profile, tabStorage } from './profile.js';
import { scrollToEnd } from './messages.js';
import { reconnect } from './stream.js';
import { showError, setText, isEmpty } from './composer.js';

const MAX_UNSENT = 100;
const MAX_RETRY_DELAY = 15e3;
const SLOW_AFTER = 1e3; // an unsent message is shown from then on

export const unsentList = make('ul', 'unsent');
unsentList.setAttribute('aria-label', 'Unsent messages');
unsentList.hidden = true;

const queue = tabStorage.get('outbox') || [];
let isSending = false;

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
  if (queue.length >= MAX_UNSENT) {
    showError(`${MAX_UNSENT} messages are unsent; wait until some of them are sent`);
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
      showError(problem.detail);
      if (isEmpty()) setText(item.target ? `/msg "${item.target}" ${item.message}` : item.message);
    }
  }
  isSending = false;
  update(queue.length ? 'failed' : '');
}
