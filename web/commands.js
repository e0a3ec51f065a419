// The commands, which match those of the terminal client.

import { find, make, makeButton, coloredName, formatTime, dateFormat, dayKey, linkify } from './dom.js';
import { showAnswer, listOf, markWords } from './answer.js';
import { request } from './api.js';
import { profile, setIgnored } from './profile.js';
import { clear, markMentions, showLast, showMessage, updateIgnored } from './messages.js';
import { names } from './users.js';
import { reconnect } from './stream.js';
import { showError, hasKeyboard } from './composer.js';
import { send } from './send_queue.js';
import { join, leave } from './session.js';
import { allMentions, getReplyTarget } from './notifications.js';

const DEFAULT_HISTORY = 100; // messages
const MAX_NAMES = 500; // that /users shows
const SEARCH_RESULTS = 50;

// Name: [argument, help text, function]. A function returns false if the user has to correct the line.
const COMMANDS = {
  help: ['[COMMAND]', 'explains the commands, or one of them', help],
  setname: ['NAME', 'changes your name', (name) => join(name)],
  nick: ['NAME', 'changes your name', (name) => join(name)],
  users: ['', 'lists the connected users', users],
  history: ['[N]', 'scrolls to the last N messages (default 100)', history],
  search: ['WORDS', 'searches the messages', search],
  msg: ['NAME TEXT', 'sends a private message', privateMessage],
  reply: ['TEXT', 'replies to the last private message', reply],
  me: ['TEXT', 'sends an action: “/me waves”', (text) => send(text, { action: true })],
  ignore: ['NAME', 'hides messages from a user', (name) => ignore(name, true)],
  unignore: ['NAME', 'shows them again', (name) => ignore(name, false)],
  mentions: ['', 'lists mentions and private messages', listMentions],
  clear: ['', 'clears the page', () => clear()],
  info: ['', 'shows your name and the connection status', info],
  reconnect: ['', 'reconnects to the server', reconnect],
  quit: ['', 'leaves the chat', leave],
};

export const commandNames = Object.keys(COMMANDS);

/** Runs a command or sends a message. Returns false if the user has to correct the text. */
export function submit(text) {
  if (!text.startsWith('/') || text.startsWith('//')) return send(text.replace(/^\/\//, '/'));
  const [, word, argument] = /^\/(\S*)\s*([^]*)$/.exec(text);
  const name = word.toLowerCase();
  if (!Object.hasOwn(COMMANDS, name)) return fail(unknownCommand(word));
  const [expected, , run] = COMMANDS[name];
  const isRequired = expected && !expected.startsWith('[');
  if (isRequired && !argument.trim()) return fail(`/${word} needs ${expected}`);
  if (!expected && argument.trim()) return fail(`/${word} takes no argument`);
  return run(argument.trim()) !== false;
}

function fail(text) {
  showError(text);
  return false;
}

function unknownCommand(word) {
  // In a short word, two mistakes leave too little to guess from.
  const maxDistance = Math.min(2, word.length / 2);
  const similar = commandNames.find((name) => editDistance(name, word.toLowerCase()) <= maxDistance);
  return `Unknown command /${word}${similar ? `; did you mean /${similar}?` : '.'} /help lists all commands; //${word} sends /${word} as a message`;
}

/** Returns the Levenshtein distance of two words. */
function editDistance(a, b) {
  let row = [...Array(b.length + 1).keys()];
  for (let i = 1; i <= a.length; i += 1) {
    const next = [i];
    for (let j = 1; j <= b.length; j += 1) {
      next[j] = Math.min(next[j - 1] + 1, row[j] + 1, row[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1));
    }
    row = next;
  }
  return row[b.length];
}

function help(argument) {
  const name = argument.replace('/', '');
  const shown = Object.entries(COMMANDS).filter(([command]) => !name || command === name);
  if (!shown.length) return fail(unknownCommand(name));
  showAnswer(
    name ? `Help for /${name}` : 'Commands',
    make('p', '', hasKeyboard
      ? 'Enter sends, Shift+Enter inserts a line break, Tab completes, Up brings back what you said.'
      : 'The button sends, Enter inserts a line break; @ and / suggest names and commands.'),
    listOf(shown.map(([command, [expected, text]]) => [make('code', '', `/${command} ${expected}`.trim()), ` ${text}`])),
  );
  return true;
}

function users() {
  const all = [...names()];
  const shown = all.slice(0, MAX_NAMES).flatMap((name, i) => [i ? ', ' : '', coloredName(name)]);
  showAnswer(`${all.length} online`, ...shown, all.length > MAX_NAMES ? ' …' : '');
}

function history(argument) {
  const count = argument ? Number(argument) : DEFAULT_HISTORY;
  if (!Number.isInteger(count) || count < 1) return fail(`/history takes a number of at least 1, not “${argument}”`);
  showLast(count);
  return true;
}

function messageParts({ id, time, source, message, isPrivate, action }) {
  const date = new Date(time);
  const isToday = dayKey(date) === dayKey(new Date());
  const tag = make(isPrivate ? 'span' : 'a', 'when', isToday ? formatTime(date) : `${dateFormat.format(date)} ${formatTime(date)}`);
  if (!isPrivate) tag.href = `/m/${id}`;
  const verb = isPrivate ? ' (private): ' : ': ';
  return [tag, action ? ' * ' : ' ', coloredName(source), action ? ' ' : verb, make('span', 'found', ...linkify(message))];
}

/** Shows the newest messages that match, and older ones on demand. */
export async function search(words) {
  const heading = `Search results for “${words}”`;
  const list = listOf([]);
  const olderButton = makeButton('', 'Older results');
  const page = async (before) => {
    const { messages, more, problem } = await request('GET', `/api/messages?q=${encodeURIComponent(words)}&limit=${SEARCH_RESULTS}${before}`);
    if (problem) {
      showAnswer(heading, make('p', '', problem.detail));
      return;
    }
    const results = listOf(messages.reverse().map(messageParts));
    for (const found of results.querySelectorAll('.found')) markWords(found, words);
    list.append(...results.children);
    olderButton.hidden = !more;
    olderButton.onclick = () => page(`&before=${messages.at(-1).id}`);
    if (before) return;
    if (messages.length) showAnswer(heading, list, olderButton);
    else showAnswer(heading, make('p', '', `No messages found for “${words}”.`));
  };
  await page('');
}

// A result that the page can scroll to is no reason to leave it.
document.addEventListener('click', async (event) => {
  const link = event.target.closest('.answer a.when');
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  const [, id] = /\/m\/(\d+)$/.exec(link.href);
  if (!await showMessage(Number(id))) location.assign(link.href);
});

function privateMessage(argument) {
  // A name may have spaces, so the longest name of a connected user counts.
  const candidates = [...names()].filter((name) => argument.toLowerCase().startsWith(`${name.toLowerCase()} `));
  const longest = candidates.sort((a, b) => b.length - a.length)[0];
  const [, quoted, text] = (!longest && /^"([^"]+)"\s+([^]*)$/.exec(argument)) || [];
  const target = quoted || longest || argument.split(/\s/)[0];
  const message = (quoted ? text : argument.slice(target.length)).trim();
  return message ? send(message, { target }) : fail('/msg needs NAME TEXT');
}

function reply(message) {
  const target = getReplyTarget();
  return target ? send(message, { target }) : fail('There is no private message to reply to');
}

function ignore(name, isIgnored) {
  setIgnored(name, isIgnored);
  updateIgnored();
  const isHere = [...names()].some((other) => other.toLowerCase() === name.toLowerCase());
  const hint = isIgnored && !isHere ? ' No user of that name is here; the name stays ignored.' : '';
  showAnswer('Ignored users', `Messages from ${name} are ${isIgnored ? 'hidden' : 'shown'}.${hint}`);
}

function listMentions() {
  const mentions = allMentions(markMentions());
  const heading = 'Mentions and private messages';
  if (mentions.length) showAnswer(heading, listOf(mentions.map(messageParts)));
  else showAnswer(heading, 'No mentions in the messages that this page shows.');
}

function info() {
  showAnswer('Connection', `smolchat, ${[...names()].length} online. You are ${profile.name}. ${find('status').textContent}.`);
}
