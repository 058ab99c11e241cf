"use strict";
// What a person types, moves and presses.

const MOST_STEPS = 3000; // tokens that are kept with all states
const FRAME = 12; // milliseconds of computing before the page is drawn again

class Page extends Shown {
  constructor(facts, network) {
    super(facts);
    Object.assign(this, { network, text: new Text(facts), plan: null });
    this.width = facts.level === "char" ? 1 : 2; // bits of a level of shading
    this.unit = facts.level === "char" ? "character" : "word";
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
      on(id, "keydown", event => this.move(event));
    }
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
    find("unknown").replaceChildren(...(unknown.size ? ["Unknown to the model, read as <UNK>: ", ...shown] : []));
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
    const shown = session.steps.length;
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
