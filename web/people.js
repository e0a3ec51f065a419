// Who is here, in order of arrival. One list of ten thousand would be laid out as a whole at each
// arrival and departure; lists of a hundred are skipped while they are out of sight.

import { find, make, hue, nameTag, full } from './base.js';

const LIST_ROWS = 100; // as the server divides them

const people = find('people');
const count = find('count');
const rows = new Map(); // name: { row, since }

export const names = () => rows.keys();
export const isHere = (name) => rows.has(name);

export function enter(name, since) {
  const known = rows.get(name);
  if (known) {
    known.since = since;
    return;
  }
  const row = make('li', hue(name), nameTag(name));
  rows.set(name, { row, since });
  seat(row);
}

export function exit(name) {
  const known = rows.get(name);
  if (known) takeOut(known.row);
  rows.delete(name);
}

function seat(row) {
  let list = people.lastElementChild;
  if (!list || list.childElementCount >= LIST_ROWS) {
    list = make('ul');
    list.setAttribute('role', 'list');
    people.append(list);
  }
  list.append(row);
}

function takeOut(row) {
  const list = row.parentNode;
  row.remove();
  if (list && !list.childElementCount) list.remove();
}

export function rename(name, newName) {
  const known = rows.get(name);
  if (!known || name === newName) return;
  exit(newName);
  rows.delete(name);
  rows.set(newName, known);
  known.row.className = hue(newName);
  known.row.replaceChildren(nameTag(newName));
}

/** Makes the list equal to the server's, touching only what differs. */
export function replace(users) {
  const now = new Set(users.map(({ name }) => name));
  for (const name of [...rows.keys()]) if (!now.has(name)) exit(name);
  let next = people.querySelector('li:not(.nobody)');
  for (const { name, since } of users) {
    let known = rows.get(name);
    if (known) known.since = since;
    else {
      known = { row: make('li', hue(name), nameTag(name)), since };
      rows.set(name, known);
    }
    const { row } = known;
    if (row === next) next = row.nextElementSibling || row.parentNode.nextElementSibling?.firstElementChild;
    else {
      if (row.parentNode) takeOut(row);
      if (next) next.before(row);
      else seat(row);
    }
  }
}

/** Shows how many they are, and which one is `me`. */
export function settle(me) {
  const nobody = people.querySelector('.nobody');
  if (rows.size && nobody) takeOut(nobody);
  else if (!rows.size && !nobody) seat(make('li', 'nobody', 'Nobody'));
  if (count.textContent !== String(rows.size)) count.textContent = rows.size;
  const mine = rows.get(me)?.row;
  const before = people.querySelector('.me');
  if (before !== mine) {
    before?.classList.remove('me');
    mine?.classList.add('me');
  }
}

// Since when somebody has been here, on hover.
people.addEventListener('pointerover', ({ target }) => {
  const row = target.closest('li');
  const known = row && rows.get(row.textContent);
  if (known?.since) row.title = `${row.textContent}\nsince ${full.format(new Date(known.since))}`;
});

for (const row of people.querySelectorAll('li')) {
  if (row.className !== 'nobody') rows.set(row.textContent, { row, since: '' });
}
