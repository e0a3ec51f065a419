// Makes the page live. The server has already put everything into the HTML; this keeps it so, lets
// one talk, and tells what is new.

import { find, isMention, ignores, self } from './base.js';
import * as people from './people.js';
import * as log from './log.js';
import { stayConnected, startAfter } from './link.js';
import * as talk from './talk.js';

const SPEAK_EVERY = 4e3; // to a screen reader
const MAX_PRIVATE = 1000; // numbers that are remembered; a stream begins with 200 at most
const MAX_DRAWN = 10000; // messages at once; of more, the newest, and what is above them is loaded as ever

const spoken = find('spoken');
const notice = find('notice');
const title = document.title;

// Frames: whatever arrives is applied together, once per drawn frame; a timer stands in for frames
// while the page is hidden.

let queue = [];
let frame = 0;
let timer = 0;
let hiddenCount = 0;

function later(kind, data) {
  queue.push({ kind, data });
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
  // Messages that would be out of sight at once are not drawn.
  const messages = events.filter(({ kind }) => kind === 'message' || kind === 'private').length;
  let undrawn = messages - MAX_DRAWN;
  if (undrawn > 0) log.restartAbove();
  for (const { kind, data } of events) {
    const isUnseen = document.hidden && (kind === 'message' || kind === 'private') && !ignores(data.source);
    if (isUnseen && !hiddenCount) log.markUnread();
    if (isUnseen) hiddenCount += 1;
    if (kind === 'joined') people.enter(data.name, data.time);
    else if (kind === 'left') people.exit(data.name);
    else if (kind === 'renamed') people.rename(data.name, data.new_name);
    else if (kind === 'people') people.replace(data);
    else if (kind === 'mark') log.mark(data);
    else if (kind === 'private') log.privately(data);
    else if (kind === 'message' && (undrawn -= 1) < 0) log.message(data);
    if (kind === 'joined' || kind === 'left' || kind === 'renamed') log.presence(kind, data);
  }
  people.settle(self.name);
  log.settle(messages);
  document.title = hiddenCount ? `(${hiddenCount}) ${title}` : title;
}

document.addEventListener('visibilitychange', () => {
  if (document.hidden) return;
  hiddenCount = 0;
  document.title = title;
});

// A screen reader gets at most one announcement every few seconds: a few messages in full, a flood
// as a number. (The log's own announcements are off.)

const unsaid = { message: 0, joined: 0, left: 0, renamed: 0, words: [] };
let speaking = 0;

function announce(kind, data) {
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

let { epoch, last } = find('log').dataset;
last = Number(last);
let isLost = false; // whether something is missing before the next snapshot
const shownPrivate = new Set(); // the numbers of private messages, oldest first

function tell(words) {
  notice.textContent = words || '';
  notice.hidden = !words;
}

function snapshot({ epoch: newEpoch, last: newLast, users, messages, notice: words }) {
  tell(words);
  if (newEpoch !== epoch) {
    later('mark', 'The server restarted');
    last = 0;
    log.restart(newEpoch);
  } else if (isLost && newLast > last) {
    later('mark', 'Some messages are missing here: the server does not keep them any more');
  }
  isLost = false;
  for (const data of messages) if (data.id > last) said(data);
  epoch = newEpoch;
  last = newLast;
  later('people', users);
}

function said(data) {
  later('message', data);
  talk.spoke(data.source);
  if (ignores(data.source)) return;
  if (isMention(data.source, data.message)) talk.mentioned(data);
}

function receive(kind, data) {
  if (kind === 'snapshot') snapshot(data);
  else if (kind === 'resumed') isLost = !data.complete;
  else if (kind === 'notice') tell(data.message);
  else if (kind === 'session') {
    talk.session(data);
    later('session');
  } else if (kind === 'error') log.note(data.message);
  else if (kind === 'private') {
    // Each stream begins with all of them.
    if (shownPrivate.has(data.id)) return;
    shownPrivate.add(data.id);
    if (shownPrivate.size > MAX_PRIVATE) shownPrivate.delete(shownPrivate.values().next().value);
    if (!data.own && ignores(data.source)) return;
    later(kind, data);
    talk.whispered(data);
    announce('message', data);
  } else if (data.id > last) {
    last = data.id; // an event of a kind unknown here has its number too
    if (kind === 'message') said(data);
    else if (kind === 'joined' || kind === 'left' || kind === 'renamed') later(kind, data);
    else return;
    if (kind === 'renamed') talk.renamed(data.name, data.new_name);
    if (kind !== 'message' || !ignores(data.source)) announce(kind, data);
  }
}

const isPast = document.body.dataset.kind === 'past';
log.takeOver(!isPast);
if (isPast) {
  find('link').hidden = true;
  document.querySelector('.marked')?.scrollIntoView({ block: 'center' });
} else {
  talk.start();
  startAfter(epoch, last);
  stayConnected(receive);
}
