// Joining, renaming and leaving. All tabs of a browser share one session.

import { make, makeButton } from './dom.js';
import { request, sleep } from './api.js';
import { profile, browserStorage } from './profile.js';
import { reconnect } from './stream.js';
import * as composer from './composer.js';
import { sendQueued, authorLeft, authorRenamed, startSession, continueSession } from './send_queue.js';

const HIDDEN_JOIN_DELAY = 1500;
const MAX_NAME_ATTEMPTS = 8;

const canJoin = document.body.dataset.kind === 'live';

const nameField = make('input');
Object.assign(nameField, { id: 'name', autocomplete: 'nickname', placeholder: 'Your name', required: true, maxLength: 512, enterKeyHint: 'go' });
nameField.dir = 'auto';
nameField.setAttribute('aria-describedby', 'error');
const joinButton = make('button', 'primary', 'Join');
const cancelButton = makeButton('', 'Keep name');
const label = make('label', '', 'Join as');
label.htmlFor = 'name';
export const joinForm = make('form', 'join-form', label, nameField, joinButton, cancelButton);

const tabs = 'BroadcastChannel' in window ? new BroadcastChannel('smolchat') : null;
if (tabs) tabs.onmessage = reconnect;

function showJoinForm(isJoining) {
  joinForm.hidden = !isJoining;
  cancelButton.hidden = !profile.name;
  joinButton.textContent = profile.name ? 'Rename' : 'Join';
  label.textContent = profile.name ? 'New name' : 'Join as';
  composer.show(!isJoining);
}

/** Shows the form that the user needs. */
export function start() {
  nameField.value = browserStorage.get('name') || '';
  showJoinForm(!(browserStorage.get('name') && browserStorage.get('joined')));
  // On a phone the focus would open the keyboard over the messages.
  if (document.activeElement !== document.body || !composer.hasKeyboard) return;
  if (joinForm.hidden) composer.focus();
  else nameField.focus();
}

let isJoining = false;

/** Joins, or changes the name. An automatic attempt leaves the focus where it is. */
export async function join(name, isAutomatic = false) {
  if (isJoining) return;
  isJoining = true;
  joinButton.disabled = true;
  // Without the word of the server this is a new session, which knows no nonce of the old one.
  const session = profile.name ? null : startSession();
  const response = await request('POST', '/api/session', { name });
  const isUnchanged = response.known || (response.problem && response.problem.code !== 'no-response');
  if (session && isUnchanged) continueSession(session);
  joinButton.disabled = false;
  isJoining = false;
  if (response.problem) {
    await joinFailed(name, response, isAutomatic);
    return;
  }
  composer.clearError();
  awaitedName = null;
  attempts = 0;
  browserStorage.set('name', response.name);
  browserStorage.set('joined', true);
  if (!profile.name) {
    tabs?.postMessage('joined');
    reconnect();
  }
  if (profile.name) authorRenamed(profile.name, response.name);
  profile.name = response.name;
  showJoinForm(false);
  if (!isAutomatic) composer.focus();
  sendQueued();
}

async function joinFailed(name, { problem, retryAfter }, isAutomatic) {
  composer.showError(problem.detail);
  if (isAutomatic && retryAfter) {
    await sleep(retryAfter);
    if (!profile.name && browserStorage.get('joined')) await join(name, true);
    return;
  }
  if (isAutomatic) browserStorage.set('joined', null);
  if (isAutomatic && problem.code === 'name-taken') {
    awaitedName = name;
    composer.showError(`${problem.detail}. You join as ${name} when that name is free`);
  }
  nameField.value = name;
  showJoinForm(true);
  if (!isAutomatic) nameField.focus();
}

let awaitedName = null; // the name of this browser, while another user has it
let attempts = 0;
const fold = (name) => name.normalize('NFKC').toLowerCase();

/** Joins again if the name of this browser may be free: `name`, or any name. */
export function nameFreed(name = awaitedName) {
  if (!awaitedName || profile.name || attempts >= MAX_NAME_ATTEMPTS) return;
  // The user is choosing another name.
  if (nameField.value !== awaitedName) awaitedName = null;
  else if (fold(name) === fold(awaitedName)) {
    attempts += 1;
    join(awaitedName, true);
  }
}

export async function leave() {
  // Cleared before the stream reports the end of the session, so that no tab joins again.
  browserStorage.set('joined', null);
  const { problem } = await request('DELETE', '/api/session', {});
  if (problem) {
    browserStorage.set('joined', true);
    composer.showError(problem.detail);
    return;
  }
  profile.name = null;
  authorLeft();
  tabs?.postMessage('left');
  reconnect();
  showJoinForm(true);
}

const isTypingName = () => !joinForm.hidden && document.activeElement === nameField;

/** Handles the stream's report of the user's name, or of null without a session. */
export function setSession(name) {
  if (!canJoin) return;
  if (profile.name && name) authorRenamed(profile.name, name);
  profile.name = name;
  if (name) {
    browserStorage.set('name', name);
    browserStorage.set('joined', true);
    showJoinForm(isTypingName() && !joinButton.disabled);
    sendQueued();
    return;
  }
  if (!browserStorage.get('joined')) authorLeft();
  const lastName = browserStorage.get('name');
  if (lastName && !nameField.value) nameField.value = lastName;
  if (!lastName || !browserStorage.get('joined')) showJoinForm(true);
  // A hidden tab waits, because one tab that joins is enough.
  else setTimeout(() => { if (!profile.name) join(lastName, true); }, document.hidden ? HIDDEN_JOIN_DELAY : 0);
}

/** Handles a new name of any user. */
export function userRenamed(name, newName) {
  if (name !== profile.name) return;
  authorRenamed(name, newName);
  profile.name = newName;
  browserStorage.set('name', newName);
  showJoinForm(isTypingName());
}

joinForm.addEventListener('submit', (event) => {
  event.preventDefault();
  join(nameField.value);
});
function cancel() {
  composer.clearError();
  showJoinForm(false);
  composer.focus();
}

cancelButton.addEventListener('click', cancel);
joinForm.addEventListener('keydown', (event) => {
  if (event.key === 'Escape' && profile.name) cancel();
});
composer.nameButton.addEventListener('click', () => {
  nameField.value = profile.name;
  showJoinForm(true);
  nameField.select();
});
