"use strict";
// The page: what a person types and moves, and what is shown of the network.

const find = id => document.getElementById(id);
const MOST_STEPS = 3000; // tokens that are kept with all states
const FRAME = 12; // milliseconds of computing before the page is drawn again

const QUANTITIES = {
  c: "memory, tanh(c)", a: "output a", Gamma_u: "update gate", Gamma_f: "forget gate", Gamma_o: "output gate",
  Gamma_r: "relevance gate", candidate: "candidate",
};

class Page {
  constructor(facts, network) {
    Object.assign(this, { facts, network, text: new Text(facts), plan: null, pinned: null, hovered: null });
    this.width = facts.level === "char" ? 1 : 2; // bits of a level of shading
    this.unit = facts.level === "char" ? "character" : "word";
    this.isChosen = false; // whether a person has chosen a unit
    this.build();
    this.restart();
    this.listen();
    this.start(false);
  }

  // ---- what is on it

  build() {
    const { facts } = this;
    find("code").textContent = find("network").textContent.trim();
    find("next").classList.toggle("words", !this.text.isChar);
    find("prompt").rows = this.text.isStream ? 3 : 1;
    for (const [id, kinds] of [["bits-legend", "012345678"], ["values-legend", "654321"]]) {
      const kind = [...kinds].map(level => (id === "bits-legend" ? `s${level}` : `m${level}`));
      if (id === "values-legend") kind.push("s0", ...[...kinds].reverse().map(level => `p${level}`));
      find(id).firstElementChild.after(...kind.map(one => element("i", one)));
    }
    fill("label", facts.labels.map((label, at) => [at, label]));
    find("label-field").hidden = !facts.labels.length;
    find("texts-field").hidden = this.text.isStream;
    fill("layer", Array.from({ length: facts.layers }, (_, l) => [l, l]));
    find("number").max = facts.units - 1;
    const known = this.network.read(NOTHING, this.network.zero()).states[0];
    this.main = "c" in known ? "c" : "a";
    fill("quantity", Object.keys(QUANTITIES).filter(name => name in known).map(name => [name, this.named(name)]));
    for (const id of ["write", "step", "more", "copy"]) find(id).disabled = false;
  }

  named(quantity) {
    return quantity === "a" && this.facts.cell === "rnn-relu" ? "output, tanh(a)" : QUANTITIES[quantity];
  }

  // Return a value in [-1, 1].
  drawn(value, quantity) {
    return quantity === "c" || (quantity === "a" && this.facts.cell === "rnn-relu") ? Math.tanh(value) : value;
  }

  listen() {
    const on = (id, event, run) => find(id).addEventListener(event, run);
    on("controls", "submit", event => (event.preventDefault(), this.start()));
    on("stop", "click", () => this.stop());
    on("step", "click", () => this.take());
    on("more", "click", () => this.run(1));
    on("copy", "click", () => this.copy());
    on("prompt", "input", () => this.preview());
    on("label", "change", () => this.preview());
    on("seed", "input", () => (find("fresh").checked = false));
    on("temperature", "input", () => this.warm());
    for (const id of ["layer", "number", "quantity"]) on(id, "input", () => this.choose(true));
    for (const id of ["text", "strip"]) {
      on(id, "pointerover", event => this.look("hovered", event.target.step ?? null));
      on(id, "pointerleave", () => this.look("hovered", null));
      on(id, "click", event => this.look("pinned", event.target.step === this.pinned ? null : event.target.step ?? null));
    }
    for (const id of ["text", "strip"]) on(id, "keydown", event => this.move(event));
    document.addEventListener("keydown", event => {
      if (event.key === "Escape") this.plan ? this.stop() : this.look("pinned", null);
      const isPrompt = event.target.id === "prompt" && !this.text.isStream && !event.isComposing;
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey || isPrompt)) {
        event.preventDefault();
        this.start();
      }
    });
  }

  // ---- writing

  number(id) {
    const field = find(id), value = Math.round(Number(field.value) || 0);
    return Math.min(Number(field.max), Math.max(Number(field.min), value));
  }

  get layer() {
    return Number(find("layer").value);
  }

  get temperature() {
    return Number(find("temperature").value);
  }

  // Read the prompt with a new session.
  restart() {
    const { facts, text } = this, field = find("prompt");
    if (!text.isStream && field.value.includes("\n")) field.value = field.value.replaceAll("\n", " ");
    const first = facts.labels.length ? facts.vocabulary.length + Number(find("label").value) : NOTHING;
    this.plan = null;
    const how = { prompt: field.value, first, seed: this.number("seed"), temperature: this.temperature };
    this.session = new Session(this.network, text, how, this.session);
    const unknown = new Set(this.session.prompt.filter(part => part.id === UNK).map(part => part.token));
    const shown = [...unknown].slice(0, 12).flatMap((one, at) => [at ? " " : "", element("b", "", visible(one))]);
    find("unknown").replaceChildren(...(unknown.size ? [`Unknown to the model, read as <UNK>: `, ...shown] : []));
    this.pinned = this.hovered = null;
    this.redraw(0);
  }

  preview() {
    this.restart();
    this.finish();
  }

  start(isNew = find("fresh").checked) {
    if (isNew) find("seed").value = Math.floor(Math.random() * 2 ** 32);
    this.restart();
    this.run(this.text.isStream ? 1 : this.number("texts"));
  }

  run(texts) {
    const length = this.number("length");
    const plan = { texts, length, left: length, began: performance.now(), from: this.session.read.length };
    this.plan = plan;
    find("stop").disabled = false;
    find("summary").textContent = "Writing.";
    this.look("pinned", null);
    const frame = () => {
      if (this.plan !== plan) return;
      const shown = this.session.steps.length, until = performance.now() + FRAME;
      let goesOn = true;
      while (goesOn && performance.now() < until) goesOn = this.advance(plan);
      this.redraw(shown);
      if (goesOn) requestAnimationFrame(frame);
      else this.stop();
    };
    frame();
  }

  // Write a token; return whether another one is to be written.
  advance(plan) {
    const { session } = this;
    if (session.steps.length >= MOST_STEPS) return false;
    if (plan.left === 0) {
      session.cut();
      plan.left = plan.length;
    }
    session.write();
    plan.left--;
    if (session.isAtEnd) plan.left = plan.length;
    const isOver = session.isAtEnd || plan.left === 0;
    if (isOver) plan.texts--;
    return !(isOver && plan.texts === 0);
  }

  stop() {
    if (this.plan === null) return;
    const { began, from } = this.plan, seconds = (performance.now() - began) / 1000;
    this.plan = null;
    const rate = (this.session.read.length - from) / seconds;
    this.finish(` ${Math.round(rate).toLocaleString("en")} ${this.unit}s a second.`);
  }

  // Write one token: a given candidate, or a drawn one.
  take(candidate = null) {
    this.stop();
    const at = this.place, { session } = this;
    if (session.steps.length >= MOST_STEPS) return;
    const shown = Math.max(0, session.steps.length - 1);
    if (candidate !== null && at !== null) {
      session.replace(at, candidate);
      this.pinned = this.hovered = null;
      this.redraw(0);
    } else {
      session.write(candidate?.id);
      this.redraw(shown);
    }
    this.finish();
  }

  finish(speed = "") {
    find("stop").disabled = true;
    const read = this.session.read, bits = read.reduce((sum, step) => sum + step.bits, 0);
    const count = `${read.length.toLocaleString("en")} ${this.unit}${read.length === 1 ? "" : "s"}`;
    const full = this.session.steps.length >= MOST_STEPS ? " The page is full." : "";
    find("summary").textContent = read.length
      ? `${count}, ${(bits / read.length).toFixed(2)} bits a ${this.unit}.${speed}${full}` : "Type a prompt, or write.";
    this.rank();
  }

  warm() {
    find("degrees").textContent = this.temperature.toFixed(2);
    this.session.expect(this.temperature);
    this.showNext();
  }

  async copy() {
    const text = this.session.toString().replace(/\n$/, "");
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      // Some browsers refuse the clipboard to a file.
      const area = document.body.appendChild(element("textarea"));
      area.value = text;
      area.select();
      document.execCommand("copy");
      area.remove();
    }
    find("copied").textContent = "Copied.";
    setTimeout(() => (find("copied").textContent = ""), 2000);
  }

  // ---- showing

  // Show all steps from a number on.
  redraw(from) {
    for (const id of ["text", "strip"]) {
      const box = find(id), isAtBottom = box.scrollHeight - box.scrollTop - box.clientHeight < 40;
      while (box.childElementCount > from) box.lastElementChild.remove();
      const spans = this.session.steps.slice(from).map((step, i) => {
        const span = element("span", "", printable(step.part.text));
        span.step = step.states ? from + i : null;
        this.paint(span, step, id);
        return span;
      });
      box.append(...spans);
      if (isAtBottom) box.scrollTop = box.scrollHeight;
    }
    this.showNext();
    this.showValues();
  }

  paint(span, step, id) {
    if (!step.states) return;
    const isEnd = step.part.id === EOS ? "e" : "";
    if (id === "text") {
      const level = Math.min(8, Math.max(0, Math.floor(step.bits / this.width)));
      span.className = [`s${level}`, step.isGiven ? "given" : "", step.part.id === UNK ? "u" : "", isEnd].join(" ").trim();
      span.title = `${step.bits.toFixed(2)} bits`;
    } else {
      const value = this.value(step), level = Math.min(6, Math.floor(Math.abs(value) * 6 + 0.5));
      span.className = `${level ? (value < 0 ? "m" : "p") + level : ""} ${isEnd}`.trim();
      span.title = signed(value);
    }
  }

  value(step) {
    const quantity = find("quantity").value;
    return this.drawn(step.states[this.layer][quantity][this.number("number")], quantity);
  }

  // Choose the unit of the fields.
  choose(isChosen) {
    this.isChosen ||= isChosen;
    for (const [i, span] of [...find("strip").children].entries()) this.paint(span, this.session.steps[i], "strip");
    for (const button of find("busy").querySelectorAll("button")) {
      const isShown = button.textContent === `${find("layer").value}:${find("number").value}`;
      button.setAttribute("aria-pressed", isShown);
    }
    this.mark();
    this.showValues();
  }

  // Name the units that vary most over the text, by standard deviation.
  rank() {
    const { layers, units } = this.facts, read = this.session.read, found = [];
    if (read.length < 2) return;
    for (let l = 0; l < layers; l++) {
      for (let u = 0; u < units; u++) {
        let sum = 0, squares = 0;
        for (const step of read) {
          const value = this.drawn(step.states[l][this.main][u], this.main);
          sum += value;
          squares += value * value;
        }
        found.push({ l, u, variance: squares / read.length - (sum / read.length) ** 2 });
      }
    }
    found.sort((a, b) => b.variance - a.variance);
    const set = ({ l, u }) => Object.assign(find("layer"), { value: l }) && Object.assign(find("number"), { value: u });
    const buttons = found.slice(0, 6).map(one => {
      const button = element("button", "", `${one.l}:${one.u}`);
      button.type = "button";
      button.addEventListener("click", () => (set(one), this.choose(true)));
      return button;
    });
    find("busy").replaceChildren(element("span", "dim small", "busiest"), ...buttons);
    if (!this.isChosen) set(found[0]);
    this.choose(false);
  }

  // The step that is looked at, null for the end of the text.
  get place() {
    return this.hovered ?? this.pinned;
  }

  look(how, step) {
    if (this[how] === step) return;
    this[how] = step;
    this.mark();
    this.showNext();
    this.showValues();
  }

  mark() {
    for (const one of document.querySelectorAll(".at")) one.classList.remove("at");
    if (this.place !== null) for (const id of ["text", "strip"]) find(id).children[this.place]?.classList.add("at");
  }

  move(event) {
    const steps = this.session.steps, way = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (way === undefined) return;
    event.preventDefault();
    let at = (this.pinned ?? (way < 0 ? steps.length : -1)) + way;
    while (at >= 0 && at < steps.length && !steps[at].states) at += way;
    if (at < 0 || at >= steps.length) return;
    this.look("pinned", at);
    event.currentTarget.children[at].scrollIntoView({ block: "nearest" });
  }

  showNext() {
    const at = this.place, step = at === null ? null : this.session.steps[at];
    const expected = step?.expected ?? this.session.expected;
    find("next-title").textContent = step ? "What was expected" : "What comes next";
    find("where").textContent = step ? `Where the text has ${visible(step.part.token)}: ${step.bits.toFixed(2)} bits.`
      : this.session.isAtEnd ? "The text has ended. The next one goes on with:" : "";
    const rows = expected.map(one => {
      const button = element("button", step?.part.id === one.id ? "taken" : "");
      const name = visible(one.id === EOS ? "\n" : this.facts.vocabulary[one.id]), P = Math.exp(one.logP);
      const bar = element("span", "bar"), fill = element("i"), mark = element("b");
      fill.style.width = `${100 * one.chance}%`;
      mark.style.left = `${100 * P}%`;
      bar.append(fill, mark);
      button.type = "button";
      button.title = `P = ${P.toPrecision(3)}, ${(-one.logP / Math.LN2).toFixed(2)} bits`;
      button.append(element("span", "name", name), bar, element("span", "figure", percent(one.chance)));
      button.addEventListener("click", () => this.take(one));
      const item = element("li");
      item.append(button);
      return item;
    });
    find("next").replaceChildren(...rows);
  }

  showValues() {
    const step = this.session.steps[this.place ?? this.session.steps.findLastIndex(one => one.states)];
    if (!step) return find("values").replaceChildren();
    const of = step.states[this.layer], unit = this.number("number");
    const pairs = Object.keys(QUANTITIES).filter(name => name in of).map(name => {
      const pair = element("div");
      const [letter, index] = name.replace("Gamma", "\u0393").replace("candidate", "c\u0303").split("_");
      const symbol = element("dt");
      symbol.append(element("i", "", letter), element("sub", "", index ?? ""));
      pair.append(symbol, element("dd", "", signed(of[name][unit])));
      return pair;
    });
    const after = element("div");
    after.append(element("dt", "", "after"), element("dd", "", visible(step.part.token)));
    find("values").replaceChildren(after, ...pairs);
  }
}

const percent = value => (value >= 0.9995 ? "100 %" : value < 0.0005 ? "<0.1 %" : `${(100 * value).toFixed(1)} %`);
const signed = value => value.toFixed(3).replace("-", "\u2212");
const visible = token => ({ " ": "\u2423", "\n": "\u21b5", "\t": "\u21e5" })[token] ?? printable(token);

function element(name, kind = "", text = "") {
  const made = document.createElement(name);
  if (kind) made.className = kind;
  if (text) made.textContent = text;
  return made;
}

// Fill a list with pairs of a value and a name.
function fill(id, pairs) {
  find(id).replaceChildren(...pairs.map(([value, name]) => Object.assign(element("option", "", String(name)), { value })));
}

// The page is drawn once before the weights are read.
requestAnimationFrame(() => setTimeout(() => {
  const facts = JSON.parse(find("facts").textContent);
  const matrix = name => {
    const block = find(name);
    return block && decoded(facts.arrays[name], facts.precision, block.textContent);
  };
  window.page = new Page(facts, new Network(facts, matrix));
}));
