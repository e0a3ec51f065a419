// The answers to commands and searches, in a panel of their own between the messages and the field.

import { find, make, makeButton } from './dom.js';

const title = make('h2', '');
title.id = 'answer-title';
const closeButton = makeButton('close', 'Close');
const content = make('div', 'content');
content.tabIndex = 0;
content.setAttribute('role', 'group');
content.setAttribute('aria-labelledby', title.id);
const panel = make('section', 'answer', title, closeButton, content);
panel.id = 'answer';
panel.hidden = true;
panel.setAttribute('aria-labelledby', title.id);
const main = find('composer').parentNode;
main.insertBefore(panel, find('composer'));

/** Shows an answer in place of the one before. */
export function showAnswer(heading, ...parts) {
  title.textContent = heading;
  content.replaceChildren(...parts);
  panel.hidden = false;
  content.scrollTop = 0;
}

/** Returns a list with one item for each array of strings and elements. */
export const listOf = (items) => make('ul', '', ...items.map((parts) => make('li', '', ...parts)));

function close() {
  panel.hidden = true;
  content.replaceChildren();
  find('text')?.focus();
}

closeButton.addEventListener('click', close);
document.addEventListener('keydown', (event) => {
  if (event.key === 'Escape' && !panel.hidden && !event.isComposing) close();
});

// Marks on what was found

const fold = (text) => text.normalize('NFD').replace(/\p{M}/gu, '').toLowerCase();
const SPACELESS = /[\p{sc=Han}\p{sc=Hiragana}\p{sc=Katakana}\p{sc=Thai}\p{sc=Lao}\p{sc=Khmer}\p{sc=Myanmar}]/u;

/** Marks the words of a query in an element, at the starts of words where the script has spaces. */
export function markWords(element, query) {
  const words = fold(query).match(/[\p{L}\p{N}_]+/gu);
  if (!words) return;
  const patterns = words.map((word) => (SPACELESS.test(word) ? word : `(?<![\\p{L}\\p{N}_])${word}`));
  const pattern = new RegExp(patterns.join('|'), 'gu');
  const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
  const nodes = [];
  while (walker.nextNode()) nodes.push(walker.currentNode);
  for (const node of nodes) markNode(node, pattern);
}

function markNode(node, pattern) {
  // Folding changes the number of characters, so each place in the folded text has its origin.
  let folded = '';
  const origins = [];
  let at = 0;
  for (const character of node.data) {
    const part = fold(character);
    for (let i = 0; i < part.length; i += 1) origins.push(at);
    folded += part;
    at += character.length;
  }
  origins.push(at);
  for (const { 0: match, index } of [...folded.matchAll(pattern)].reverse()) {
    const range = document.createRange();
    range.setStart(node, origins[index]);
    range.setEnd(node, origins[index + match.length]);
    range.surroundContents(make('mark'));
  }
}
