// Tells the user of new messages: mentions, browser notifications and announcements for screen
// readers.

import { find } from './dom.js';

const MAX_MENTIONS = 100;
const MAX_TITLE_LENGTH = 80; // characters
const ANNOUNCEMENT_INTERVAL = 4e3;
const ANNOUNCEMENT_DELAY = 500; // collects what arrives together
const MAX_READ_OUT = 3; // messages; of more, the newest
const MAX_READ_OUT_LENGTH = 300; // characters

const mentions = []; // public mentions and received private messages
let replyTarget = null;

export const getReplyTarget = () => replyTarget;

function store(data) {
  if (mentions.some(({ id, time }) => id === data.id && Date.parse(time) === Date.parse(data.time))) return;
  mentions.push(data);
  if (mentions.length > MAX_MENTIONS) mentions.shift();
}

/** Returns the mentions with those that the page shows, oldest first. */
export function allMentions(shown) {
  shown.forEach(store);
  return mentions.sort((a, b) => Date.parse(a.time) - Date.parse(b.time));
}

export function addMention(data) {
  store(data);
  notify(data.source, data.message);
}

/** Adds a private message that this user has received or sent, perhaps in an earlier visit. */
export function addPrivate(data, isOld) {
  replyTarget = data.own ? data.target : data.source;
  if (data.own) return;
  store({ ...data, isPrivate: true });
  if (!isOld) notify(`${data.source} (private)`, data.message);
}

// Browsers of phones have notifications for service workers only: the constructor throws. The title
// of the page then says who wrote.

let unshown = '';
let isSupported = 'Notification' in window && isSecureContext;

export const unshownTitle = () => unshown;
export const clearUnshown = () => { unshown = ''; };

/** Returns whether the user can still allow notifications. */
export const canAsk = () => isSupported && Notification.permission === 'default';

function notify(title, body) {
  if (!document.hidden) return;
  const isAllowed = isSupported && Notification.permission === 'granted';
  if (!isAllowed || !showNotification(title, body)) unshown = `${title}: ${body}`.slice(0, MAX_TITLE_LENGTH);
}

function showNotification(title, body) {
  try {
    const notification = new Notification(title, { body, tag: 'smolchat' });
    notification.onclick = () => {
      window.focus();
      notification.close();
    };
    return true;
  } catch {
    isSupported = false;
    return false;
  }
}

// The message list is not a live region, because a screen reader would read out a flood of messages
// to its end. One announcement every few seconds reads out a few messages or their number.

const announcer = find('announcer');
const nothing = () => ({ message: 0, joined: 0, left: 0, renamed: 0, texts: [] });
let pending = nothing();
let timer = 0;

export function announce(kind, data) {
  pending[kind] += 1;
  if (kind === 'message') {
    const text = data.message.slice(0, MAX_READ_OUT_LENGTH);
    pending.texts.push(data.action ? `* ${data.source} ${text}` : `${data.source}: ${text}`);
    if (pending.texts.length > MAX_READ_OUT) pending.texts.shift();
  }
  if (!timer) timer = setTimeout(flushAnnouncement, ANNOUNCEMENT_DELAY);
}

function flushAnnouncement() {
  const parts = pending.texts;
  if (pending.message > MAX_READ_OUT) parts.unshift(`${pending.message} new messages, the last ${MAX_READ_OUT}`);
  if (pending.joined) parts.push(`${pending.joined} joined`);
  if (pending.left) parts.push(`${pending.left} left`);
  pending = nothing();
  announcer.textContent = parts.join('. ');
  timer = parts.length ? setTimeout(flushAnnouncement, ANNOUNCEMENT_INTERVAL) : 0;
}
