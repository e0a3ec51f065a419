// The form in which the user writes: text field, draft, completion and error text.

import { find, make, makeButton, coloredName } from './dom.js';
import { profile, tabStorage } from './profile.js';
import { scrollByPages } from './messages.js';
import { names, isConnected } from './users.js';
import { canAsk } from './notifications.js';

const MAX_HEIGHT = 12; // rem
const MAX_RECALLED = 50; // lines that Up brings back
const MAX_SUGGESTIONS = 6;
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
const form = make('form', 'message-form', nameButton, field, make('button', 'primary', 'Send'));

const link = make('p', 'link');
link.hidden = true;
const suggestions = make('div', 'suggestions');
suggestions.setAttribute('aria-label', 'Suggestions');
suggestions.setAttribute('role', 'group');

/** Whether Enter sends and the focus opens no keyboard on the screen. */
export const hasKeyboard = !matchMedia('(pointer: coarse)').matches;
if (!hasKeyboard) field.enterKeyHint = 'enter';

const remaining = make('p', 'remaining');
remaining.setAttribute('role', 'status');

let onSubmit = null;
let commandNames = [];

/** Adds the form to the page. `submit` returns whether it accepts the text. */
export function start(submit, commands, elements) {
  onSubmit = submit;
  commandNames = commands;
  find('status').after(notifyButton);
  find('composer').append(link, ...elements, suggestions, form, remaining, error);
  setText(tabStorage.get('draft') || '');
}

/** Shows the state of the connection where the user writes. */
export function showLink(state, text) {
  const isLost = state !== 'live' && text !== 'Connecting';
  link.hidden = !isLost;
  link.textContent = isLost ? `${text}. Messages wait here until the connection is back.` : '';
  document.body.dataset.link = isLost ? 'lost' : state;
}

export const showError = (text) => { error.textContent = text; };
export const clearError = () => showError('');

export function show(isVisible) {
  form.hidden = !isVisible;
  notifyButton.hidden = !isVisible || !canAsk();
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
  showSuggestions();
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
  field.style.height = `${Math.min(field.scrollHeight + field.offsetHeight - field.clientHeight, MAX_HEIGHT * rem)}px`;
}

// The form changes its width with the window and with the name, and has none while it is hidden.
new ResizeObserver(grow).observe(form);

field.addEventListener('input', () => {
  saveDraft();
  clearError();
  completion = null;
  recalled = null;
  showSuggestions();
});

function submit() {
  if (!field.value.trim()) return;
  clearError();
  if (lengthError()) {
    showError(lengthError());
    return;
  }
  const line = field.value;
  if (!onSubmit(line)) return;
  said = [...said.filter((other) => other !== line), line].slice(-MAX_RECALLED);
  tabStorage.set('said', said);
  recalled = null;
  setText('');
}

form.addEventListener('submit', (event) => {
  event.preventDefault();
  submit();
});

field.addEventListener('keydown', (event) => {
  // Safari ends a composition before the key that confirms it, which has the code 229.
  if (event.isComposing || event.keyCode === 229) return;
  if (event.key === 'Enter' && !event.shiftKey && hasKeyboard) submit();
  else if (event.key === 'ArrowUp' || event.key === 'ArrowDown') {
    if (event.shiftKey || !recall(event.key === 'ArrowUp' ? -1 : 1)) return;
  }
  else if (event.key === 'PageUp') scrollByPages(-0.9);
  else if (event.key === 'PageDown') scrollByPages(0.9);
  else if (event.key !== 'Tab' || event.shiftKey || !complete()) return;
  event.preventDefault();
});

// Lines said before. Up brings them back into an empty field.

let said = tabStorage.get('said') || []; // oldest first
let recalled = null; // place in `said`

function recall(step) {
  if (recalled === null && (field.value || step > 0 || !said.length)) return false;
  recalled = Math.max(0, (recalled ?? said.length) + step);
  if (recalled >= said.length) recalled = null;
  field.value = recalled === null ? '' : said[recalled];
  completion = null;
  saveDraft();
  return true;
}

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
  if (!word) return null;
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

/** Shows what can follow `@`, or `/` at the start, as buttons: a phone has no Tab key. */
function showSuggestions() {
  const before = field.value.slice(0, field.selectionStart);
  const found = /(^\/|(^|\s)@)\S*$/.test(before) ? findCompletion() : null;
  suggestions.replaceChildren(...(found?.matches ?? []).slice(0, MAX_SUGGESTIONS).map((match, i) => {
    const button = makeButton('', match);
    button.tabIndex = -1;
    button.addEventListener('click', () => {
      completion = { ...found, next: i };
      complete();
      suggestions.replaceChildren();
      focus();
    });
    return button;
  }));
}

// A click on a user begins a line to that user.
find('users').addEventListener('click', ({ target }) => {
  const name = target.closest('li:not(.empty)')?.textContent;
  if (!name || form.hidden) return;
  field.setRangeText(field.value ? `${name} ` : `${name}: `, field.selectionStart, field.selectionEnd, 'end');
  saveDraft();
  focus();
});
