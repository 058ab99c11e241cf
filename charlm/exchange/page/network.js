"use strict";
// The network of this page: the equations of the lecture notes, one token at a time.
// A vector is a Float64Array. A matrix has its numbers row by row.

const EOS = 0; // ends a line
const UNK = 1; // stands for every unknown token
const NOTHING = -1; // x<1> = 0, before the first token

// ---- vectors and matrices

const sigma = z => z.map(value => 1 / (1 + Math.exp(-value)));
const tanh = z => z.map(Math.tanh);
const ReLU = z => z.map(value => Math.max(0, value));
const plus = (x, y) => x.map((value, i) => value + y[i]);
const times = (x, y) => x.map((value, i) => value * y[i]);
const oneMinus = x => x.map(value => 1 - value);

// Return W x, where W is the part of a matrix that begins at `row` and `column`. It has n rows.
function product({ values, columns }, x, row, column, n) {
  const y = new Float64Array(n), end = x.length - x.length % 4;
  for (let i = 0; i < n; i++) {
    const first = (row + i) * columns + column;
    // Four sums at a time: the processor need not wait for one to be added.
    let s0 = 0, s1 = 0, s2 = 0, s3 = 0;
    for (let j = 0, at = first; j < end; j += 4, at += 4) {
      s0 += values[at] * x[j];
      s1 += values[at + 1] * x[j + 1];
      s2 += values[at + 2] * x[j + 2];
      s3 += values[at + 3] * x[j + 3];
    }
    for (let j = end; j < x.length; j++) s0 += values[first + j] * x[j];
    y[i] = s0 + s1 + s2 + s3;
  }
  return y;
}

// Return n numbers of a column, from `row` on.
function column({ values, columns }, number, row, n) {
  const y = new Float64Array(n);
  for (let i = 0; i < n; i++) y[i] = values[(row + i) * columns + number];
  return y;
}

const row = ({ values, columns }, number) => Float64Array.from(values.subarray(number * columns, (number + 1) * columns));
const affine = ({ W, b }, x) => plus(product(W, x, 0, 0, W.rows), column(b, 0, 0, W.rows));

// ---- cells

// A cell reads x<t> and the states before the step. It returns the states after it, and the values of its gates.
// `of` has the weights: W_a("u", a) is W_ua a, W_x("u", x) is W_ux x, b("u") is b_u, and z is the sum of the three.
// In the gated recurrent units the memory c is the output a.
const CELLS = {
  "rnn-tanh": { gates: "a", step: (of, x, { a }) => ({ a: tanh(of.z("a", x, a)) }) },
  "rnn-relu": { gates: "a", step: (of, x, { a }) => ({ a: ReLU(of.z("a", x, a)) }) },
  "gru-simple": { gates: "uc", step(of, x, { a: c }) {
    return renewed(c, { Gamma_u: sigma(of.z("u", x, c)), candidate: tanh(of.z("c", x, c)) });
  } },
  "gru-after": { gates: "urc", step(of, x, { a: c }) {
    const Gamma_u = sigma(of.z("u", x, c)), Gamma_r = sigma(of.z("r", x, c));
    const z_ca = plus(of.W_a("c", c), of.b_ca());
    const candidate = tanh(plus(times(Gamma_r, z_ca), plus(of.W_x("c", x), of.b("c"))));
    return renewed(c, { Gamma_u, Gamma_r, candidate });
  } },
  "gru-before": { gates: "urc", step(of, x, { a: c }) {
    const Gamma_u = sigma(of.z("u", x, c)), Gamma_r = sigma(of.z("r", x, c));
    return renewed(c, { Gamma_u, Gamma_r, candidate: tanh(of.z("c", x, times(Gamma_r, c))) });
  } },
  "gru-both": { gates: "urc", step(of, x, { a: c }) {
    const Gamma_u = sigma(of.z("u", x, c)), Gamma_r = sigma(of.z("r", x, c));
    const candidate = tanh(plus(times(Gamma_r, plus(of.W_a("c", c), of.W_x("c", x))), of.b("c")));
    return renewed(c, { Gamma_u, Gamma_r, candidate });
  } },
  "lstm": { gates: "ufoc", step(of, x, { a, c }) {
    const Gamma_u = sigma(of.z("u", x, a)), Gamma_f = sigma(of.z("f", x, a)), Gamma_o = sigma(of.z("o", x, a));
    return remembered(c, { Gamma_u, Gamma_f, Gamma_o, candidate: tanh(of.z("c", x, a)) });
  } },
  "lstm-relevance": { gates: "uforc", step(of, x, { a, c }) {
    const Gamma_u = sigma(of.z("u", x, a)), Gamma_f = sigma(of.z("f", x, a)), Gamma_o = sigma(of.z("o", x, a));
    const Gamma_r = sigma(of.z("r", x, a));
    const candidate = tanh(plus(times(Gamma_r, plus(of.W_a("c", a), of.W_x("c", x))), of.b("c")));
    return remembered(c, { Gamma_u, Gamma_f, Gamma_o, Gamma_r, candidate });
  } },
  "lstm-peephole": { gates: "ufoc", step(of, x, { a, c }) {
    const Gamma = gate => sigma(plus(of.z(gate, x, a), times(of.P(gate), c)));
    const candidate = tanh(of.z("c", x, a));
    return remembered(c, { Gamma_u: Gamma("u"), Gamma_f: Gamma("f"), Gamma_o: Gamma("o"), candidate });
  } },
};

// c<t> = Gamma_u<t> * c~<t> + (1 - Gamma_u<t>) * c<t-1>, a<t> = c<t>
function renewed(c, gates) {
  return { a: plus(times(gates.Gamma_u, gates.candidate), times(oneMinus(gates.Gamma_u), c)), ...gates };
}

// c<t> = Gamma_u<t> * c~<t> + Gamma_f<t> * c<t-1>, a<t> = Gamma_o<t> * tanh(c<t>)
function remembered(before, gates) {
  const c = plus(times(gates.Gamma_u, gates.candidate), times(gates.Gamma_f, before));
  return { a: times(gates.Gamma_o, tanh(c)), c, ...gates };
}

// Return the weights of a layer as functions. W = [W_a | W_x | b] has a block of H rows for each gate.
function weights(gates, H, W, b_ca, P) {
  const first = gate => gates.indexOf(gate) * H;
  const W_a = (gate, a) => product(W, a, first(gate), 0, H);
  const b = gate => column(W, W.columns - 1, first(gate), H);
  const W_x = (gate, x) => {
    if (x === NOTHING) return new Float64Array(H);
    // A product with a one-hot vector is a column of W_x.
    return typeof x === "number" ? column(W, H + x, first(gate), H) : product(W, x, first(gate), H, H);
  };
  const z = (gate, x, a) => plus(plus(W_a(gate, a), W_x(gate, x)), b(gate));
  return { W_a, W_x, b, z, b_ca: () => column(b_ca, 0, 0, H), P: gate => column(P, 0, first(gate), H) };
}

// ---- the network

class Network {
  // facts: what the page knows of the model; matrix: function of a name that returns a matrix
  constructor(facts, matrix) {
    const cell = CELLS[facts.cell];
    this.units = facts.units;
    this.step = cell.step;
    this.E = facts.embedding ? matrix("input.E") : null;
    this.layers = Array.from({ length: facts.layers }, (_, l) =>
      weights(cell.gates, facts.units, ...["W", "b_ca", "P"].map(name => matrix(`layer${l}.${name}`))));
    this.g = facts.activation === "relu" ? ReLU : tanh;
    this.dense = facts.dense.map((_, i) => ({ W: matrix(`dense${i}.W`), b: matrix(`dense${i}.b`) }));
    // Tied weights: a row of E for each token of the vocabulary.
    const W = facts.tied ? { ...this.E, rows: facts.vocabulary.length } : matrix("head.W_y");
    this.head = { W, b: matrix("head.b_y") };
  }

  // Return the states before the first step: a<0> = 0 and c<0> = 0.
  zero() {
    const H = this.units;
    return this.layers.map(() => ({ a: new Float64Array(H), c: new Float64Array(H) }));
  }

  // Read a token. Return the states after it, by layer, and ln P of every next token.
  read(id, before) {
    let x = this.E === null ? id : id === NOTHING ? new Float64Array(this.E.columns) : row(this.E, id);
    const states = [];
    for (const [l, of] of this.layers.entries()) {
      states.push(this.step(of, x, before[l]));
      x = states[l].a;
    }
    for (const layer of this.dense) x = this.g(affine(layer, x));
    return { states, logP: logSoftmax(affine(this.head, x)) };
  }
}

function logSoftmax(z) {
  const largest = z.reduce((a, b) => Math.max(a, b));
  const logSum = largest + Math.log(z.reduce((sum, value) => sum + Math.exp(value - largest), 0));
  return z.map(value => value - logSum);
}

// Return ln P of each token of a line, given those before it. first: the id that the network reads before them
function score(network, ids, first) {
  let { states, logP } = network.read(first, network.zero());
  return ids.map(id => {
    const found = logP[id];
    ({ states, logP } = network.read(id, states));
    return found;
  });
}

// ---- the next token

// Return P of every next token at a temperature. <UNK> is never drawn. At temperature 0 the likeliest token is certain.
function distribution(logP, temperature) {
  const scores = Float64Array.from(logP);
  scores[UNK] = -Infinity;
  const best = scores.reduce((a, b) => Math.max(a, b));
  if (temperature === 0) {
    const likeliest = scores.indexOf(best);
    return scores.map((_, id) => (id === likeliest ? 1 : 0));
  }
  const P = scores.map(value => Math.exp((value - best) / temperature));
  const sum = P.reduce((a, b) => a + b);
  return P.map(value => value / sum);
}

// Return an id drawn with these probabilities. u: a random number in [0, 1)
function draw(P, u) {
  let sum = 0, last = 0;
  for (let id = 0; id < P.length; id++) {
    if (P[id] === 0) continue;
    sum += P[id];
    last = id;
    if (u < sum) return id;
  }
  return last;
}

// Return a function that returns random numbers in [0, 1), the same ones for the same seed.
// Source: mulberry32 of Tommy Ettinger, public domain.
function generator(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t = (t + Math.imul(t ^ (t >>> 7), t | 61)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

// ---- reading the weights of this page

// Return a matrix of the page, undefined if the network has none of this name.
// shape: rows and columns; precision: float32 or float16; text: the numbers in base64
function decoded([rows, columns], precision, text) {
  const bytes = new Uint8Array(rows * columns * (precision === "float16" ? 2 : 4));
  // In parts: a string of all bytes would take several times their memory.
  const part = 1 << 20;
  for (let at = 0, to = 0; at < text.length; at += part) {
    const piece = atob(text.slice(at, at + part));
    for (let i = 0; i < piece.length; i++) bytes[to++] = piece.charCodeAt(i);
  }
  const values = precision === "float16" ? floats(new Uint16Array(bytes.buffer)) : new Float32Array(bytes.buffer);
  return { rows, columns, values };
}

// Return numbers of 16 bits as numbers of 32. IEEE 754: a sign, 5 bits of exponent, 10 bits of fraction.
function floats(halves) {
  const all = Float32Array.from({ length: 1 << 16 }, (_, bits) => {
    const sign = bits >> 15 ? -1 : 1, exponent = (bits >> 10) & 31, fraction = (bits & 1023) / 1024;
    return sign * (exponent ? (1 + fraction) * 2 ** (exponent - 15) : fraction * 2 ** -14);
  });
  return Float32Array.from(halves, bits => all[bits]);
}
