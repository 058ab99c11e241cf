"use strict";
// The text so far, what the network computed of each token, and how it goes on.

const SHOWN = 10; // candidates for the next token

// A text that the network reads and continues. A step is a part of the text with what was computed of it.
class Session {
  // how: prompt, seed, temperature, and first, the id that the network reads before the prompt
  // before: an earlier session, whose steps are taken over as far as the prompts agree
  constructor(network, text, how, before = null) {
    const { first, temperature } = how;
    Object.assign(this, { network, text, first, temperature, steps: [] });
    this.random = generator(how.seed);
    this.prompt = text.parts(how.prompt);
    this.apply(network.read(first, network.zero()));
    this.readPrompt(before?.first === first ? before.given : []);
    this.given = [...this.steps];
    this.opening = { states: this.states, logP: this.logP };
    this.writer = new Writer(text, this.prompt);
  }

  readPrompt(known) {
    const differs = this.prompt.findIndex((part, i) => part.text !== known[i]?.part.text || part.id !== known[i].part.id);
    this.steps.push(...known.slice(0, differs < 0 ? this.prompt.length : differs));
    const last = this.read.at(-1);
    if (last) this.apply(this.network.read(last.part.id, last.before));
    for (const part of this.prompt.slice(this.steps.length)) this.push(part, true);
  }

  apply({ states, logP }) {
    Object.assign(this, { states, logP });
    this.expect(this.temperature);
  }

  // Compute what is drawn from at a temperature.
  expect(temperature) {
    this.temperature = temperature;
    // After the end of a line another one begins.
    const logP = this.isAtEnd ? this.opening.logP : this.logP, best = [];
    this.P = distribution(logP, temperature);
    for (let id = 0; id < logP.length; id++) {
      if (id === UNK || (best.length === SHOWN && logP[id] <= logP[best.at(-1)])) continue;
      const place = best.findIndex(other => logP[other] < logP[id]);
      best.splice(place < 0 ? best.length : place, 0, id);
      if (best.length > SHOWN) best.pop();
    }
    this.expected = best.map(id => ({ id, logP: logP[id], chance: this.P[id] }));
  }

  // Read a part of the text. White space between words is not read.
  push(part, isGiven, logP = this.logP[part.id]) {
    const step = { part, isGiven };
    this.steps.push(step);
    if (part.id === undefined) return;
    Object.assign(step, { bits: -logP / Math.LN2, expected: this.expected, before: this.states });
    this.apply(this.network.read(part.id, this.states));
    step.states = this.states;
  }

  // Whether a line has ended.
  get isAtEnd() {
    return !this.text.isStream && this.steps.at(-1)?.part.id === EOS;
  }

  // The steps with states.
  get read() {
    return this.steps.filter(step => step.states);
  }

  // Begin another text with the same prompt.
  again() {
    this.steps.push(...this.given);
    this.apply(this.opening);
    this.writer = new Writer(this.text, this.prompt);
  }

  // End a text that has no end, and begin another one.
  cut() {
    this.push({ text: "\n" }, false);
    this.again();
  }

  // Write a token; without an id draw one.
  write(id = null) {
    if (this.isAtEnd) this.again();
    this.put(id ?? draw(this.P, this.random()));
  }

  put(id, logP = this.logP[id]) {
    const part = this.text.drawn(id, this.writer);
    if (part.text.startsWith(" ") && part.token !== part.text) this.push({ text: " " }, false);
    this.push({ ...part, text: part.token }, false, logP);
    if (id === EOS) this.writer = new Writer(this.text, []);
  }

  // Replace a step and all after it by a token that was expected there.
  replace(at, { id, logP }) {
    const { before, expected } = this.steps[at];
    while (at > 0 && this.steps[at - 1].part.id === undefined && !this.steps[at - 1].isGiven) at--;
    this.steps.length = at;
    Object.assign(this, { states: before, expected });
    this.writer = new Writer(this.text, this.steps.map(step => step.part));
    this.put(id, logP);
  }

  toString() {
    return this.steps.map(step => step.part.text).join("");
  }
}
