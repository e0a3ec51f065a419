// The list of connected users, in order of arrival. Lists of a hundred users each let the browser
// skip the layout of those out of sight; with one list, each change would lay out all users.

import { find, make, makeButton, hue, nameTag, fullFormat } from './dom.js';

const USERS_PER_LIST = 100; // as in the server's HTML

const container = find('users');
const count = find('count');
const users = new Map(); // name: { item, since }

export const names = () => users.keys();
export const isConnected = (name) => users.has(name);

export function add(name, since) {
  const user = users.get(name);
  if (user) {
    user.since = since;
    return;
  }
  append(create(name, since));
}

export function remove(name) {
  const user = users.get(name);
  if (user) detach(user.item);
  users.delete(name);
}

function create(name, since) {
  const item = make('li', hue(name), nameTag(name));
  users.set(name, { item, since });
  return item;
}

function append(item) {
  let list = container.lastElementChild;
  if (!list || list.childElementCount >= USERS_PER_LIST) {
    list = make('ul');
    list.setAttribute('role', 'list');
    container.append(list);
  }
  list.append(item);
}

function detach(item) {
  const list = item.parentNode;
  item.remove();
  if (list && !list.childElementCount) list.remove();
}

export function rename(name, newName) {
  const user = users.get(name);
  if (!user || name === newName) return;
  remove(newName);
  users.delete(name);
  users.set(newName, user);
  user.item.className = hue(newName);
  user.item.replaceChildren(nameTag(newName));
}

/** Makes the list equal to the server's. Changes only the items that differ. */
export function replace(newUsers) {
  const newNames = new Set(newUsers.map(({ name }) => name));
  for (const name of [...users.keys()]) if (!newNames.has(name)) remove(name);
  let next = container.querySelector('li:not(.empty)');
  for (const { name, since } of newUsers) {
    const user = users.get(name);
    if (user) user.since = since;
    const item = user ? user.item : create(name, since);
    if (item === next) next = item.nextElementSibling || item.parentNode.nextElementSibling?.firstElementChild;
    else {
      if (item.parentNode) detach(item);
      if (next) next.before(item);
      else append(item);
    }
  }
}

/** Updates the number of users and marks the user with the name `ownName`. */
export function update(ownName) {
  const placeholder = container.querySelector('.empty');
  if (users.size && placeholder) detach(placeholder);
  else if (!users.size && !placeholder) append(make('li', 'empty', 'No users'));
  if (count.textContent !== String(users.size)) count.textContent = users.size;
  const own = users.get(ownName)?.item;
  const previous = container.querySelector('.me');
  if (previous !== own) {
    previous?.classList.remove('me');
    own?.classList.add('me');
  }
}

// Thousands of tooltips would cost memory, so an item gets its tooltip on the first hover.
container.addEventListener('pointerover', ({ target }) => {
  const item = target.closest('li');
  const user = item && users.get(item.textContent);
  if (user?.since) item.title = `${item.textContent}\nonline since ${fullFormat.format(new Date(user.since))}`;
});

for (const item of container.querySelectorAll('li:not(.empty)')) {
  users.set(item.textContent, { item, since: '' });
}

// On a narrow page the users are one row, which a button opens.
const aside = container.closest('aside');
const openButton = makeButton('open-users', 'All');
openButton.setAttribute('aria-expanded', 'false');
openButton.title = 'Show all users';
openButton.addEventListener('click', () => {
  openButton.setAttribute('aria-expanded', aside.classList.toggle('open'));
});
aside.querySelector('h2').after(openButton);
