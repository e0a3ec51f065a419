// Makes the server's HTML live: hands the events of the stream to the modules of the page.

import { find, guarded } from './dom.js';
import { profile, browserStorage, isIgnored, isMention } from './profile.js';
import * as users from './users.js';
import * as messages from './messages.js';
import * as stream from './stream.js';
import * as composer from './composer.js';
import { unsentList, refusedList, sendQueued } from './send_queue.js';
import * as session from './session.js';
import * as notifications from './notifications.js';
import { commandNames, submit, search } from './commands.js';
import { markWords } from './answer.js';

const MAX_DRAWN = 10000; // messages that wait; scrolling up loads the others
const MAX_DRAWN_IN_FRAME = 200; // events, so that a flood does not freeze the page
const HIDDEN_INTERVAL = 500; // between batches while the page is hidden
const MAX_PRIVATE_IDS = 1000; // remembered; a stream starts with at most 200 private messages

const notice = find('notice');
const { title } = document;

// Changes of the page wait in a queue and are drawn together, once per animation frame. A hidden
// page has no frames, so a timer draws them.

let queue = [];
let frame = 0;
let timer = 0;
let unseenCount = 0;
let markedName = null; // whose mentions are marked

function enqueue(kind, data) {
  queue.push({ kind, data });
  if (!frame) scheduleDrawing();
}

function scheduleDrawing() {
  frame = requestAnimationFrame(drawQueue);
  timer = setTimeout(drawQueue, HIDDEN_INTERVAL);
}

const isMessage = (kind) => kind === 'message' || kind === 'private';
const isPresence = (kind) => kind === 'joined' || kind === 'left' || kind === 'renamed';

function drawQueue() {
  cancelAnimationFrame(frame);
  clearTimeout(timer);
  frame = 0;
  if (queue.length > MAX_DRAWN) {
    queue = queue.filter(({ kind }, i) => kind !== 'message' || i >= queue.length - MAX_DRAWN);
    messages.clear(true);
  }
  const events = queue.splice(0, document.hidden ? queue.length : MAX_DRAWN_IN_FRAME);
  const count = events.filter(({ kind }) => isMessage(kind)).length;
  for (const { kind, data } of events) guarded(() => draw(kind, data));
  if (queue.length) scheduleDrawing();
  users.update(profile.name);
  messages.flush(count);
  if (profile.name && profile.name !== markedName) {
    markedName = profile.name;
    messages.markMentions();
  }
  showTitle();
}

function draw(kind, data) {
  const isUnseen = document.hidden && isMessage(kind) && !data.isOld && !isIgnored(data.source);
  if (isUnseen && !unseenCount) messages.markUnread();
  if (isUnseen) unseenCount += 1;
  if (kind === 'message') messages.addMessage(data);
  else if (kind === 'private') messages.addPrivate(data);
  else if (kind === 'joined') users.add(data.name, data.time);
  else if (kind === 'left') users.remove(data.name);
  else if (kind === 'renamed') users.rename(data.name, data.new_name);
  else if (kind === 'users') users.replace(data);
  else if (kind === 'divider') messages.addDivider(data);
  if (isPresence(kind)) messages.addPresence(kind, data);
}

function showTitle() {
  const unseen = unseenCount ? `(${unseenCount}) ` : '';
  document.title = unseen + (notifications.unshownTitle() || title);
}

document.addEventListener('visibilitychange', () => {
  if (document.hidden) return;
  unseenCount = 0;
  notifications.clearUnshown();
  showTitle();
});

// Events of the stream

const { epoch: pageEpoch, last: pageLast } = find('log').dataset;
let epoch = pageEpoch;
let lastId = Number(pageLast);
let isIncomplete = false; // events are missing before the next snapshot
const privateIds = new Set(); // of received private messages, oldest first
const lastPrivateId = browserStorage.get('private') || 0; // of an earlier visit

function showNotice(text) {
  notice.textContent = text || '';
  notice.hidden = !text;
}

function receiveSnapshot(snapshot) {
  showNotice(snapshot.notice);
  if (snapshot.epoch !== epoch) {
    enqueue('divider', 'The server restarted');
    lastId = 0;
    messages.setEpoch(snapshot.epoch);
  } else if (isIncomplete && snapshot.last > lastId) {
    enqueue('divider', 'Some messages are missing here because the server no longer stores them');
  }
  isIncomplete = false;
  for (const data of snapshot.messages) if (data.id > lastId) receiveMessage(data);
  epoch = snapshot.epoch;
  lastId = snapshot.last;
  enqueue('users', snapshot.users);
  sendQueued();
  session.nameFreed(); // it may have become free among the events that are missing
}

function receiveMessage(data) {
  enqueue('message', data);
  composer.addAuthor(data.source);
  if (!isIgnored(data.source) && isMention(data.source, data.message)) notifications.addMention(data);
}

function receivePrivate(data) {
  // Each stream starts with the newest private messages, which may have arrived before.
  if (privateIds.has(data.id)) return;
  privateIds.add(data.id);
  if (privateIds.size > MAX_PRIVATE_IDS) privateIds.delete(privateIds.values().next().value);
  if (!data.own && isIgnored(data.source)) return;
  const isOld = data.id <= lastPrivateId;
  enqueue('private', { ...data, isOld });
  notifications.addPrivate(data, isOld);
  if (isOld) return;
  browserStorage.set('private', data.id);
  notifications.announce('message', data);
}

function receivePublic(kind, data) {
  if (!(data.id > lastId)) return;
  lastId = data.id; // events of unknown kinds have numbers too
  if (kind === 'message') receiveMessage(data);
  else if (isPresence(kind)) enqueue(kind, data);
  else return;
  if (kind === 'renamed') session.userRenamed(data.name, data.new_name);
  if (kind === 'renamed' || kind === 'left') session.nameFreed(data.name);
  if (kind !== 'message' || !isIgnored(data.source)) notifications.announce(kind, data);
}

function receive(kind, data) {
  if (kind === 'snapshot') receiveSnapshot(data);
  else if (kind === 'resumed') isIncomplete = !data.complete;
  else if (kind === 'notice') showNotice(data.message);
  else if (kind === 'error') messages.addNote(data.message);
  else if (kind === 'private') receivePrivate(data);
  else if (kind === 'session') {
    session.setSession(data.name);
    enqueue('session'); // draws the user's own name
  } else receivePublic(kind, data);
}

const { kind: pageKind } = document.body.dataset;
messages.adoptServerLines(pageKind !== 'history');
if (pageKind === 'history') {
  find('status').hidden = true;
  document.querySelector('.marked')?.scrollIntoView({ block: 'center' });
  for (const text of document.querySelectorAll('.text')) markWords(text, find('q').value);
} else {
  find('q').form.addEventListener('submit', (event) => {
    event.preventDefault();
    search(find('q').value.trim());
  });
  if (pageKind === 'live') {
    composer.start(submit, commandNames, [refusedList, unsentList, session.joinForm]);
    session.start();
  }
  messages.restorePlace();
  stream.setLastEvent(epoch, lastId);
  stream.run(receive, composer.showLink);
}
