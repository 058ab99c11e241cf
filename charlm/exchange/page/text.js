"use strict";
// Text to tokens and ids, and tokens to text, as charlm does it.

const SPACE = "\\s\\x1c-\\x1f\\x85";
// A word is a run of letters, digits, underscores, marks and joiners. Above U+1F000 all are symbols, mostly emoji.
const LETTER = "(?![\\u{1f000}-\\u{1ffff}])[_\\p{L}\\p{N}\\p{M}\\p{Cf}\\p{Co}\\p{Cn}\\p{Cs}\\u{20000}-\\u{10ffff}]";
const WITHIN = "['\\u2019\\-\\u2010\\u2011.,]"; // between letters these do not end a word
const SYMBOL = `(?!${LETTER})[^${SPACE}]`;
const MARKS = "[\\p{M}\\u{1f3fb}-\\u{1f3ff}\\u{e0020}-\\u{e007f}]*";
const FLAG = "[\\u{1f1e6}-\\u{1f1ff}]{2}";
const PATTERNS = {
  char: /[^]/gu,
  whitespace: /[^ \t\n\v\f\r]+/gu,
  punct: new RegExp(
    `(?:${LETTER})+(?:${WITHIN}(?:${LETTER})+)*|<unk>|<UNK>|<EOS>`
    + `|(?:${FLAG}|[^${SPACE}])${MARKS}(?:\\u200d${SYMBOL}${MARKS})*`, "gu"),
};
const RESERVED = ["<unk>", "<UNK>", "<EOS>"]; // no text can end a line by spelling it

class Text {
  // facts: what the page knows of the model
  constructor(facts) {
    this.facts = facts;
    this.isChar = facts.level === "char";
    this.isStream = facts.unit === "stream";
    this.pattern = PATTERNS[this.isChar ? "char" : facts.split];
    this.ids = new Map(facts.vocabulary.map((token, id) => [token, id]));
    if (!this.isChar) for (const word of RESERVED) this.ids.set(word, UNK);
  }

  // Return a text as the tokens spell it.
  spelled(text) {
    const normalized = one => (this.facts.normalize === "none" ? one : one.normalize(this.facts.normalize.toUpperCase()));
    return this.facts.lowercase ? normalized(normalized(text).toLowerCase()) : normalized(text);
  }

  // Return the parts of a text, which together are the text. A part between words has no id. A newline is <EOS>.
  parts(text) {
    const spelled = this.spelled(text);
    // What looks the same is shown as it was typed.
    const shown = spelled.length === text.length ? text : spelled, parts = [];
    let start = 0;
    for (const line of spelled.split("\n")) {
      if (start) parts.push({ token: "\n", text: "\n", id: EOS });
      let at = start;
      for (const { 0: token, index } of line.matchAll(this.pattern)) {
        if (start + index > at) parts.push({ text: shown.slice(at, start + index) });
        at = start + index + token.length;
        parts.push({ token, text: shown.slice(start + index, at), id: this.ids.get(token) ?? UNK });
      }
      if (start + line.length > at) parts.push({ text: shown.slice(at, start + line.length) });
      start += line.length + 1;
    }
    return parts;
  }

  // Return the ids of a line with <EOS> at its end.
  encoded(line) {
    return [...this.parts(line).filter(part => part.token).map(part => part.id), EOS];
  }

  split(text) {
    return text.match(this.pattern) ?? [];
  }

  // Return the part of a drawn token; writer: what has been written of the line before it, see `Writer`.
  drawn(id, writer) {
    const token = this.facts.vocabulary[id];
    return id === EOS ? { token: "\n", text: "\n", id } : { token, text: writer.add(token), id };
  }
}

// Joins tokens of a line, with a space where the training text had one. parts: of the text before, see `Text.parts`
class Writer {
  constructor(text, parts) {
    this.text = text;
    const line = parts.slice(parts.findLastIndex(part => part.text === "\n") + 1);
    this.joiner = new (text.isChar ? Attached : text.facts.split === "whitespace" ? Apart
      : text.facts.spacing ? Learned : English)(text);
    for (const part of line) if (part.token) this.joiner.space(part.token);
    const last = line.at(-1)?.text ?? "";
    // White space at the end of a prompt separates its last word from the next one.
    this.hasSpace = last !== "" && !text.split(last.at(-1)).length;
  }

  // Return the text of the next token.
  add(token) {
    const space = this.joiner.space(token);
    const text = this.hasSpace ? token : space + token;
    this.hasSpace = false;
    return text;
  }
}

class Attached {
  space() { return ""; }
}

class Apart {
  constructor() { this.between = ""; }

  space() {
    const space = this.between;
    this.between = " ";
    return space;
  }
}

const isWord = token => !/^(?!_)[\p{P}\p{S}]/u.test(token) || ([...token].length > 3 && token[0] === "<");

// As the training text was spelled. `spacing` says in which contexts, from general to specific, tokens are attached.
class Learned {
  constructor(text) {
    this.text = text;
    this.left = null;
    this.stands = "";
    this.open = new Set();
    this.run = [];
  }

  space(token) {
    const attached = this.left !== null && this.isAttached(this.contexts(token))
      // Attached tokens must not become another token, as "well", "-", "known" would.
      && equal(this.text.split(this.run.join("") + token), [...this.run, token]);
    const space = attached || this.left === null ? "" : " ";
    this.stands = this.left === null ? "first" : attached ? "attached" : "apart";
    this.left = token;
    if (!isWord(token) && !this.open.delete(token)) this.open.add(token);
    this.run = attached ? [...this.run.slice(-1), token] : [token];
    return space;
  }

  contexts(right) {
    const left = this.left, leftWord = isWord(left), rightWord = isWord(right);
    if (leftWord && rightWord) return [];
    const kind = one => (/\p{Nd}|[\xb2\xb3\xb9\u2070-\u2089]/u.test(one) ? "digit" : /\p{Uppercase}/u.test(one) ? "capital" : "letter");
    const openness = mark => (this.open.has(mark) ? " open" : " closed");
    const state = (leftWord ? "" : ` ${this.stands}${openness(left)}`) + (rightWord ? "" : openness(right));
    const pair = `${leftWord ? kind([...left].at(-1)) : left} ${rightWord ? kind([...right][0]) : right}`;
    return [rightWord ? `${left} -` : `- ${right}`, pair, pair + state, `${left} ${right}${state}`];
  }

  isAttached(contexts) {
    const spacing = this.text.facts.spacing;
    for (let level = contexts.length - 1; level >= 0; level--) {
      const found = Object.hasOwn(spacing[level], contexts[level]) ? spacing[level][contexts[level]] : null;
      if (found !== null) return found;
    }
    return false;
  }
}

const equal = (a, b) => a.length === b.length && a.every((one, i) => one === b[i]);

// As English is written: for models of older releases, which have learned no spaces.
const BOTH_SIDES = "\u2014/\u3001\u3002\u3003\u3008\u3009\u300a\u300b\u300c\u300d\u300e\u300f\u3010\u3011\u3014\u3015"
  + "\u3016\u3017\u3018\u3019\u301a\u301b\u30fb\uff01\uff08\uff09\uff0c\uff0e\uff1a\uff1b\uff1f\uff3b\uff3d\uff5b\uff5d\uff5e";
const NO_SPACE_BEFORE = new Set(".,;:!?)]}%\u2026\u2019\u201d\u00bb\u203a\u060c\u061b\u061f\u0964" + BOTH_SIDES);
const NO_SPACE_AFTER = new Set("([{$#@\u201c\u2018\u201e\u201a\u00ab\u2039\u00bf\u00a1\u00a3\u20ac\u00a5" + BOTH_SIDES);

class English {
  constructor() {
    this.left = null;
    this.open = new Set();
    this.gluesNext = true;
  }

  space(token) {
    let left = NO_SPACE_BEFORE.has(token) || (token === "-" && this.left === "-"), right = NO_SPACE_AFTER.has(token);
    if (token === '"' || token === "'") {
      left = this.open.delete(token);
      right = !left;
      if (right) this.open.add(token);
    }
    const glued = left || (this.gluesNext && !/^[\p{M}\p{Cf}\p{Sk}]/u.test(token));
    const space = glued || this.left === null ? "" : " ";
    this.left = token;
    this.gluesNext = right;
    return space;
  }
}

// Return a text in which control characters and marks of direction are visible.
function printable(text) {
  return text.replace(/[\p{Cc}\p{Cs}\p{Bidi_Control}\u2028\u2029]/gu, one =>
    one === "\n" || one === "\t" ? one : `\\u{${one.codePointAt(0).toString(16)}}`);
}
