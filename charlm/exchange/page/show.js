"use strict";
// What a person sees of the text: its tokens in colour, what comes next, and one unit.

const find = id => document.getElementById(id);
const QUANTITIES = {
  c: "memory, tanh(c)", a: "output a", Gamma_u: "update gate", Gamma_f: "forget gate", Gamma_o: "output gate",
  Gamma_r: "relevance gate", candidate: "candidate",
};

// Shows a session: the text in colour, what comes next, and one unit.
class Shown {
  constructor(facts) {
    this.facts = facts;
    this.isChosen = false; // whether a person has chosen a unit
    this.pinned = this.hovered = null; // the numbers of the steps that are looked at
  }

  get isRectified() {
    return this.facts.cell === "rnn-relu";
  }

  named(quantity) {
    return quantity === "a" && this.isRectified ? "output, tanh(a)" : QUANTITIES[quantity];
  }

  // Return a value in [-1, 1].
  drawn(value, quantity) {
    return quantity === "c" || (quantity === "a" && this.isRectified) ? Math.tanh(value) : value;
  }

  number(id) {
    const field = find(id), value = Math.round(Number(field.value) || 0);
    return Math.min(Number(field.max), Math.max(Number(field.min), value));
  }

  get layer() {
    return Number(find("layer").value);
  }

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
    const full = Math.max(...expected.map(one => Math.max(one.chance, Math.exp(one.logP))));
    const rows = expected.map(one => {
      const button = element("button", step?.part.id === one.id ? "taken" : "");
      const name = visible(one.id === EOS ? "\n" : this.facts.vocabulary[one.id]), P = Math.exp(one.logP);
      const bar = element("span", "bar"), fill = element("i"), mark = element("b");
      fill.style.width = `${100 * one.chance / full}%`;
      mark.style.left = `${100 * P / full}%`;
      bar.append(fill, mark);
      button.type = "button";
      button.ariaLabel = `${SPOKEN.get(name) ?? name}, ${percent(one.chance)}`;
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
const SIGNS = new Map([[" ", "\u2423"], ["\n", "\u21b5"], ["\t", "\u21e5"]]);
const SPOKEN = new Map([["\u2423", "space"], ["\u21b5", "end of line"], ["\u21e5", "tabulator"]]);
const visible = token => SIGNS.get(token) ?? printable(token);

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
