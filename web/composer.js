// The form in which the user writes: text field, draft, completion and error text.

import { find, make, makeButton, coloredName } from './dom.js';
import { profile, tabStorage } from './profile.js';
import { scrollByPages } from './messages.js';
import { names, isConnected } from './users.js';
import { canAsk } from './notifications.js';

const MAX_HEIGHT = 12; // rem
const COUNTED_FROM = .8; // of the longest message
const maxBytes = Number(find('composer').dataset.limit);

const error = make('p', 'error');
error.id = 'error';
error.setAttribute('role', 'alert');

export const nameButton = makeButton('own-name');
nameButton.title = 'Change your name';
const field = make('textarea');
Object.assign(field, { id: 'text', rows: 1, placeholder: 'Write a message', enterKeyHint: 'send' });
field.dir = 'auto';
field.setAttribute('aria-describedby', error.id);
const notifyButton = makeButton('notify', 'Notify me');
notifyButton.title = 'Show a notification for mentions and private messages while this page is hidden';
const form = make('form', 'message-form', nameButton, field, notifyButton, make('button', 'primary', 'Send'));

const remaining = make('p', 'remaining');
remaining.setAttribute('role', 'status');

let onSubmit = null;
let commandNames = [];

/** Adds the form to the page. `submit` returns whether it accepts the text. */
export function start(submit, commands, elements) {
  onSubmit = submit;
  commandNames = commands;
  find('composer').append(...elements, form, remaining, error);
  setText(tabStorage.get('draft') || '');
}

export const showError = (text) => { error.textContent = text; };
export const clearError = () => showError('');

export function show(isVisible) {
  form.hidden = !isVisible;
  notifyButton.hidden = !canAsk();
  if (profile.name) {
    nameButton.replaceChildren(coloredName(profile.name));
    nameButton.setAttribute('aria-label', `You are ${profile.name}; change your name`);
    field.setAttribute('aria-label', `Message as ${profile.name}`);
  }
}

export const text = () => field.value;
export const focus = () => field.focus();

notifyButton.addEventListener('click', async () => {
  await Notification.requestPermission();
  show(true);
  focus();
});

// Text and draft

export function setText(text) {
  field.value = text;
  completion = null;
  saveDraft();
}

function saveDraft() {
  tabStorage.set('draft', field.value || null);
  const bytes = byteCount();
  remaining.textContent = bytes < COUNTED_FROM * maxBytes ? '' : lengthError() || `${maxBytes - bytes} bytes left`;
  remaining.classList.toggle('error', bytes > maxBytes);
  grow();
}

const utf8 = new TextEncoder();
const byteCount = () => utf8.encode(field.value.replace(/^\/(me\s+|(?=\/))/, '')).length;

/** Returns what is wrong with the length of the message, if anything. */
function lengthError() {
  const bytes = byteCount();
  if (bytes <= maxBytes) return '';
  return `The message has ${bytes} bytes, more than the ${maxBytes} allowed; shorten it`;
}

/** Makes the field as high as its text. A hidden field cannot be measured. */
function grow() {
  if (!field.offsetWidth) return;
  field.style.height = 'auto';
  const rem = parseFloat(getComputedStyle(document.documentElement).fontSize);
  field.style.height = `${Math.min(field.scrollHeight + 2, MAX_HEIGHT * rem)}px`;
}

// The form changes its width with the window and with the name, and has none while it is hidden.
new ResizeObserver(grow).observe(form);

field.addEventListener('input', () => {
  saveDraft();
  clearError();
  completion = null;
});

function submit() {
  if (!field.value.trim()) return;
  clearError();
  if (lengthError()) showError(lengthError());
  else if (onSubmit(field.value)) setText('');
}

form.addEventListener('submit', (event) => {
  event.preventDefault();
  submit();
});

field.addEventListener('keydown', (event) => {
  if (event.isComposing) return;
  if (event.key === 'Enter' && !event.shiftKey) submit();
  else if (event.key === 'PageUp') scrollByPages(-0.9);
  else if (event.key === 'PageDown') scrollByPages(0.9);
  else if (event.key !== 'Tab' || event.shiftKey || !complete()) return;
  event.preventDefault();
});

// Completion of commands at the start of the text, elsewhere of names, most recent authors first.
// Each further press of Tab inserts the next candidate.

const authors = new Set(); // most recent last
let completion = null;

export function addAuthor(name) {
  authors.delete(name);
  authors.add(name);
}

function findCompletion() {
  const before = field.value.slice(0, field.selectionStart);
  const [word] = /\S*$/.exec(before);
  const prefix = word.replace(/^@/, '');
  if (!prefix) return null;
  const start = before.length - prefix.length;
  const isFirst = before.length === word.length;
  const isCommand = isFirst && word.startsWith('/');
  const candidates = isCommand
    ? commandNames.map((name) => `/${name}`)
    : [...new Set([...[...authors].reverse(), ...names()])].filter((name) => name !== profile.name && isConnected(name));
  const matches = candidates.filter((name) => name.toLowerCase().startsWith(prefix.toLowerCase()));
  const suffix = isFirst && !isCommand ? ': ' : ' ';
  return matches.length ? { matches, next: 0, start, end: before.length, suffix } : null;
}

function complete() {
  completion ??= findCompletion();
  if (!completion) return false;
  const { matches, next, start, end, suffix } = completion;
  const text = matches[next % matches.length] + suffix;
  field.setRangeText(text, start, end, 'end');
  completion = { ...completion, next: next + 1, end: start + text.length };
  saveDraft();
  return true;
}
