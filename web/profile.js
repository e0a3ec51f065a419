// What this browser knows of its user: stored values, the name and the ignored users.

import { mentionsName } from './text.js';

function storage(area) {
  return {
    get(key) {
      try {
        return JSON.parse(window[area].getItem(`smolchat.${key}`));
      } catch {
        return null;
      }
    },
    set(key, value) {
      try {
        if (value === null) window[area].removeItem(`smolchat.${key}`);
        else window[area].setItem(`smolchat.${key}`, JSON.stringify(value));
      } catch {
        // Without storage the value is lost when the page closes.
      }
    },
  };
}
export const tabStorage = storage('sessionStorage');
export const browserStorage = storage('localStorage');

/** The name is null until the user has joined. Ignored names are in lower case. */
export const profile = { name: null, ignored: new Set(browserStorage.get('ignored') || []) };

export const isIgnored = (name) => profile.ignored.has(name.toLowerCase());

export function setIgnored(name, ignored) {
  if (ignored) profile.ignored.add(name.toLowerCase());
  else profile.ignored.delete(name.toLowerCase());
  browserStorage.set('ignored', [...profile.ignored]);
}

/** Returns whether another user's message mentions this user. */
export function isMention(source, text) {
  return Boolean(profile.name) && source !== profile.name && mentionsName(text, profile.name);
}
