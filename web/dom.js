// DOM elements, the colors of names, date formats and links. User text enters the page as text
// nodes only.

import { webAddresses } from './text.js';

export const find = (id) => document.getElementById(id);

export function make(tag, className, ...children) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...children);
  return element;
}

export function makeButton(className, ...children) {
  const button = make('button', className, ...children);
  button.type = 'button';
  return button;
}

const FAULT = 'This page has a fault. Reload it if something is missing';

/** Runs a function. A fault of the page is reported, and the page goes on. */
export function guarded(run) {
  try {
    run();
  } catch (error) {
    reportError(error);
    const notice = find('notice');
    notice.hidden = false;
    notice.textContent = `${FAULT} (${error.message})`;
  }
}

const utf8 = new TextEncoder();

/** Returns the color class of a name: FNV-1a of its UTF-8. The server uses the same hash. */
export function hue(name) {
  let hash = 0x811c9dc5;
  for (const byte of utf8.encode(name)) hash = Math.imul(hash ^ byte, 0x01000193);
  return `hue-${(hash >>> 0) % 12}`;
}

export const nameTag = (name, className) => make('bdi', className, name);
export const coloredName = (name) => nameTag(name, hue(name));

// Dates and times have the form of the browser's locale.
const timeFormat = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit' });
export const formatTime = (date) => timeFormat.format(date);
if (formatTime(new Date()).length > 5) document.documentElement.classList.add('long-times');
export const dayKey = (date) => `${date.getFullYear()}-${date.getMonth()}-${date.getDate()}`;
export const dateFormat = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium' });
export const dayFormat = new Intl.DateTimeFormat(undefined, { weekday: 'long', day: 'numeric', month: 'long', year: 'numeric' });
export const fullFormat = new Intl.DateTimeFormat(undefined, { dateStyle: 'full', timeStyle: 'long' });

/** Splits text into strings and link elements. */
export function linkify(text) {
  const parts = [];
  let end = 0;
  for (const { start, end: next, href } of webAddresses(text)) {
    const link = make('a', '', text.slice(start, next));
    link.href = href;
    link.rel = 'noopener noreferrer';
    link.target = '_blank';
    parts.push(text.slice(end, start), link);
    end = next;
  }
  return [...parts, text.slice(end)];
}
