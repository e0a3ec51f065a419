// Tells the user of new messages: mentions, browser notifications and announcements for screen
// readers.

import { find } from './dom.js';

const MAX_MENTIONS = 100;
const ANNOUNCEMENT_INTERVAL = 4e3;
const ANNOUNCEMENT_DELAY = 500; // collects what arrives together
const MAX_READ_OUT = 3; // messages
const MAX_READ_OUT_LENGTH = 300; // characters

export const mentions = []; // mentions and received private messages, oldest first
let replyTarget = null;

export const getReplyTarget = () => replyTarget;

export function addMention(data, title = data.source) {
  mentions.push(data);
  if (mentions.length > MAX_MENTIONS) mentions.shift();
  notify(title, data.message);
}

/** Adds a private message that this user has received or sent. */
export function addPrivate(data) {
  replyTarget = data.own ? data.target : data.source;
  if (!data.own) addMention(data, `${data.source} (private)`);
}

function notify(title, body) {
  if (!document.hidden || !('Notification' in window) || Notification.permission !== 'granted') return;
  const notification = new Notification(title, { body, tag: 'smolchat' });
  notification.onclick = () => {
    window.focus();
    notification.close();
  };
}

// The message list is not a live region, because a screen reader would read out a flood of messages
// to its end. One announcement every few seconds reads out a few messages or their number.

const announcer = find('announcer');
const nothing = () => ({ message: 0, joined: 0, left: 0, renamed: 0, texts: [] });
let pending = nothing();
let timer = 0;

export function announce(kind, data) {
  pending[kind] += 1;
  if (kind === 'message' && pending.message <= MAX_READ_OUT) {
    pending.texts.push(`${data.source}: ${data.message.slice(0, MAX_READ_OUT_LENGTH)}`);
  }
  if (!timer) timer = setTimeout(flushAnnouncement, ANNOUNCEMENT_DELAY);
}

function flushAnnouncement() {
  const parts = pending.message > MAX_READ_OUT ? [`${pending.message} new messages`] : pending.texts;
  if (pending.joined) parts.push(`${pending.joined} joined`);
  if (pending.left) parts.push(`${pending.left} left`);
  pending = nothing();
  announcer.textContent = parts.join('. ');
  timer = parts.length ? setTimeout(flushAnnouncement, ANNOUNCEMENT_INTERVAL) : 0;
}
