// Runs the scripts of exported pages without a browser. Standard input: a JSON list of requests, each with
//   page: the path of a page
//   inputs: sequences of ids, the first of which is x<1>; the answer has `logP` of each next id in the sequence
//   lines: texts; the answer has the `ids` of each
//   prompts: texts; the answer has the `written` text of each, `length` tokens at temperature 0
//   joins: pairs of a prompt and ids; the answer has the `joined` text of each
// Standard output: a JSON list of answers.
const fs = require("fs");
const vm = require("vm");

let definitions = "";

function load(path) {
  const blocks = {}, scripts = [];
  for (const [, attributes, text] of fs.readFileSync(path, "utf8").matchAll(/<script([^>]*)>([^]*?)<\/script>/g)) {
    if (attributes.includes("type=")) blocks[/id="([^"]*)"/.exec(attributes)[1]] = text;
    else scripts.push(text);
  }
  if (definitions === "") {
    definitions = scripts.slice(0, 3).join("\n");
    vm.runInThisContext(`${definitions}\nglobalThis.of_page = { decoded, score, Network, Text, Writer, Session };`);
  }
  const facts = JSON.parse(blocks.facts);
  const matrix = name => (name in blocks ? of_page.decoded(facts.arrays[name], facts.precision, blocks[name]) : null);
  return { text: new of_page.Text(facts), network: new of_page.Network(facts, matrix) };
}

function answer({ page, inputs = [], lines = [], prompts = [], joins = [], length = 0, first = -1 }) {
  const { text, network } = load(page);
  const { score, Session, Writer } = of_page;
  const written = prompts.map(prompt => {
    const session = new Session(network, text, { prompt, first, seed: 1, temperature: 0 });
    for (let i = 0; i < length && !session.isAtEnd; i++) session.write();
    return session.toString();
  });
  const joined = joins.map(([prompt, ids]) => {
    const writer = new Writer(text, text.parts(prompt));
    return prompt + ids.map(id => text.drawn(id, writer).text).join("");
  });
  return { logP: inputs.map(ids => score(network, ids.slice(1), ids[0])), ids: lines.map(line => text.encoded(line)), written, joined };
}

console.log(JSON.stringify(JSON.parse(fs.readFileSync(0, "utf8")).map(answer)));
