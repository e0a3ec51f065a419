// Builds the lines of the message list. The classes match those in the server's HTML.

import { make, hue, coloredName, nameTag, formatTime, dayFormat, linkify } from './dom.js';
import { isIgnored, isMention } from './profile.js';

const NAMES_SHOWN = 6; // of each kind of presence change in one line

export function timeTag(date, id) {
  const time = make('time', '', formatTime(date));
  time.dateTime = date.toISOString();
  const tag = make(id ? 'a' : 'span', 'time', time, ' ');
  if (id) tag.href = `/m/${id}`;
  if (id) tag.tabIndex = -1;
  return tag;
}

function textLine(date, source, text, id, isAction) {
  const body = make('span', 'text', ...linkify(text));
  body.dir = 'auto';
  const name = [nameTag(source, 'author'), make('span', 'colon', isAction ? ' ' : ': ')];
  if (isAction) name.unshift(make('span', 'colon', '* '));
  return make('li', `line message ${hue(source)}`, timeTag(date, id), ...name, body);
}

export function messageLine({ id, time, source, message, action }) {
  const line = textLine(new Date(time), source, message, id, action);
  line.id = `m${id}`;
  if (action) line.classList.add('action');
  if (isMention(source, message)) line.classList.add('mention');
  if (isIgnored(source)) line.classList.add('ignored');
  return line;
}

export function privateLine({ time, source, target, message, own }) {
  const line = textLine(new Date(time), source, message);
  line.classList.add('private');
  line.lastChild.prepend(make('span', 'recipient', '(private to ', own ? coloredName(target) : 'you', ') '));
  return line;
}

export function dayLine(date, day) {
  const line = make('li', 'day', make('h3', '', dayFormat.format(date)));
  line.dataset.day = day;
  return line;
}

export const idOf = (line) => Number(line?.id.slice(1)) || null;
export const dateOf = (line) => new Date(line.querySelector('time').dateTime);
export const authorOf = (line) => line.querySelector('.author').textContent;

/** Returns the author under whose name the next line can stand. An action always shows its own. */
export const groupAuthorOf = (line) => (line.classList.contains('action') ? null : authorOf(line));

/** Converts a message line in the server's HTML to local time and makes its links work. */
export function localize(line) {
  line.querySelector('time').textContent = formatTime(dateOf(line));
  const text = line.querySelector('.text');
  text.replaceChildren(...linkify(text.textContent));
}

/** Marks a line whose author, or author and minute, are those of the line above. */
export function groupWith(above, line, author, minute) {
  const isSameAuthor = author !== null && author === above.author;
  line.classList.toggle('same-author', isSameAuthor);
  line.classList.toggle('same-minute', isSameAuthor && minute === above.minute);
}

/** Adds a presence event to net changes, a map from the newest name to { before, isPresent }. */
export function addPresenceChange(changes, kind, { name, new_name: newName }) {
  const change = changes.get(name) || { before: kind === 'joined' ? null : name };
  changes.delete(name);
  change.isPresent = kind !== 'left';
  changes.set(kind === 'renamed' ? newName : name, change);
}

/** Describes net presence changes as strings and name elements. */
export function presenceText(changes) {
  const groups = { joined: [], left: [], 'joined and left': [], 'left and rejoined': [] };
  const renames = [];
  for (const [name, { before, isPresent }] of changes) {
    if (isPresent && before !== null && before !== name) renames.push([before, name]);
    else if (isPresent) groups[before === null ? 'joined' : 'left and rejoined'].push(name);
    else groups[before === null ? 'joined and left' : 'left'].push(name);
  }
  const parts = [];
  for (const [kind, names] of Object.entries(groups)) {
    if (names.length) parts.push([...enumerate(names), ` ${kind}`]);
  }
  for (const [before, name] of renames.slice(0, NAMES_SHOWN)) {
    parts.push([coloredName(before), ' is now ', coloredName(name)]);
  }
  if (renames.length > NAMES_SHOWN) parts.push([`${renames.length - NAMES_SHOWN} more changed names`]);
  return parts.flatMap((part, i) => (i ? [' · ', ...part] : part));
}

function enumerate(names) {
  const parts = [];
  const shown = names.length > NAMES_SHOWN + 1 ? NAMES_SHOWN : names.length;
  for (let i = 0; i < shown; i += 1) {
    if (i) parts.push(i === names.length - 1 ? ' and ' : ', ');
    parts.push(coloredName(names[i]));
  }
  if (shown < names.length) parts.push(` and ${names.length - shown} more`);
  return parts;
}
