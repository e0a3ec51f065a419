// Web addresses and mentions in a text, by the rules of the terminal client
// (`src/client/terminal/recognition.rs`); tests/cases/recognition.json has cases for both.

// Scripts that do not separate words by spaces, and Korean, whose particles follow a word directly.
const UNSPACED = ['Han', 'Hira', 'Kana', 'Hang', 'Bopo', 'Yiii', 'Thai', 'Laoo', 'Khmr', 'Mymr', 'Java', 'Bali', 'Lana', 'Talu', 'Tale', 'Tavt', 'Tang', 'Nshu']
  .map((script) => `\\p{sc=${script}}`).join('') + 'ー';
const INVISIBLE = '\\p{Cf}\\p{DI}\\u{16FE4}\\u{13441}\\u{13442}';
const SCHEME = /^[Hh][Tt][Tt][Pp][Ss]?:\/\//;
// The scheme and all that may belong to an address: ASCII without quotes, and letters of scripts
// with spaces.
const ADDRESS = new RegExp(
  '(?<![A-Za-z0-9])(?:[Hh][Tt][Tt][Pp][Ss]?://|(?<![-.@/:])[Ww][Ww][Ww]\\.)'
  + `(?:(?![${UNSPACED}${INVISIBLE}])[!#-;=?-\\[\\]-_a-z{-~\\p{Alphabetic}\\p{M}\\p{N}])+`,
  'gu',
);
const CLOSING = { '(': ')', '[': ']', '{': '}' };
const SENTENCE_ENDS = ".,:;!?'*_~";

/** Drops the punctuation and the unbalanced brackets that end the sentence around an address. */
function withoutSentenceEnd(address) {
  // Counted once: an address of thousands of brackets must not occupy the page.
  const surplus = { ')': 0, ']': 0, '}': 0 };
  for (const character of address) {
    if (character in surplus) surplus[character] += 1;
    else if (character in CLOSING) surplus[CLOSING[character]] -= 1;
  }
  let end = address.length;
  for (; end > 0; end -= 1) {
    const last = address[end - 1];
    if (surplus[last] > 0) surplus[last] -= 1;
    else if (!SENTENCE_ENDS.includes(last)) break;
  }
  return address.slice(0, end);
}

/** Returns the web addresses of a text as { start, end, href }. */
export function webAddresses(text) {
  const found = [];
  for (const { 0: match, index: start } of text.matchAll(ADDRESS)) {
    const address = withoutSentenceEnd(match);
    const hasScheme = SCHEME.test(address);
    const host = address.replace(SCHEME, '').split(/[/?#]/)[0];
    const isHost = /^(?:\[[\da-fA-F:.]+\]|[\da-zA-Z])[!-~]*$/.test(host);
    if (!isHost || (!hasScheme && !/^www\.[^.]+\../i.test(host))) continue;
    found.push({ start, end: start + address.length, href: hasScheme ? address : `https://${address}` });
  }
  return found;
}

const WORD = /^[\p{Alphabetic}\p{M}\p{N}_]$/u;
const IS_UNSPACED = new RegExp(`^[${UNSPACED}]$`, 'u');
const isSpaced = (character) => WORD.test(character) && !IS_UNSPACED.test(character);

const fold = (string) => string.normalize('NFC').toLowerCase();

/** Returns whether a text contains a name, in any case, and not inside a word of a spaced script. */
export function mentionsName(text, name) {
  const [folded, wanted] = [fold(text), fold(name)];
  if (!wanted) return false;
  const joins = (inside, outside) => outside !== undefined && isSpaced(inside) && isSpaced(outside);
  for (let at = folded.indexOf(wanted); at >= 0; at = folded.indexOf(wanted, at + 1)) {
    const end = at + wanted.length;
    const before = [...folded.slice(Math.max(at - 2, 0), at)].at(-1);
    const after = [...folded.slice(end, end + 2)][0];
    const characters = [...wanted];
    if (!joins(characters[0], before) && !joins(characters.at(-1), after)) return true;
  }
  return false;
}
