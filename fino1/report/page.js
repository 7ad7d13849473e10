// Which sample is looked at, and beside which other model's?
const PAGE = 50; // rows of the list that are made at once
const data = JSON.parse(byId("samples-data").textContent);
const [taskBox, aBox, bBox, textBox] = ["task", "model-a", "model-b", "text"].map(byId);
const [outcomes, status, list, more, shortcuts] = ["outcomes", "status", "list", "more", "shortcuts"].map(byId);
let found = []; // numbers of the questions that pass the filters, in the order of the data
let show = "all"; // the outcome asked for
let turn = 0; // counts changes of the filters: what is unpacked for an earlier one is too late

// ---- What is packed: the answers of a model, the prompts of a task

const unpacked = new Map();

async function unpack(number) {
  const bytes = Uint8Array.from(atob(byId(`part-${number}`).textContent), (character) => character.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"))).json();
}

function part(number) {
  if (!unpacked.has(number)) unpacked.set(number, unpack(number));
  return unpacked.get(number);
}

const parts = () => [task().prompts, ...shown().map((model) => task().answers[model])];

// ---- Which questions?
const task = () => data.tasks[taskBox.value];
const modelA = () => Number(aBox.value);
const modelB = () => (bBox.value === "" || bBox.value === aBox.value ? null : Number(bBox.value));
const k = () => task().k; // answers to each question
const states = (model, i) => task().states[model].slice(i * k(), (i + 1) * k());
const rights = (model, i) => states(model, i).replaceAll(/[^r]/g, "").length;
const OUTCOMES = { r: "right", w: "wrong", u: "unparsed", t: "truncated" };
const shown = () => (modelB() === null ? [modelA()] : [modelA(), modelB()]);

function asked() {
  return task().questions.map((_, i) => i).filter((i) => shown().every((model) => states(model, i)[0] !== "-"));
}

// What may be asked for, in words, and which questions it holds. Two models are split as the paired test splits them.
function kinds() {
  const all = ["all", "All", () => true];
  return [all, ...(modelB() === null ? kindsOfOne(modelA()) : kindsOfTwo(modelA(), modelB()))];
}

function kindsOfOne(a) {
  const holding = ([letter, name]) => [name, `${data.signs[name]} ${name}`, (i) => states(a, i).includes(letter)];
  if (k() === 1) return Object.entries(OUTCOMES).map(holding);
  return [
    ["always", "Always right", (i) => rights(a, i) === k()],
    ["sometimes", "Sometimes right", (i) => rights(a, i) > 0 && rights(a, i) < k()],
    ["never", "Never right", (i) => rights(a, i) === 0],
    ...Object.entries(OUTCOMES).slice(2).map(holding),
  ];
}

function kindsOfTwo(a, b) {
  const [first, second] = [a, b].map((model) => task().models[model]);
  const ahead = (sign) => (i) => Math.sign(rights(a, i) - rights(b, i)) === sign;
  const even = (test) => (i) => ahead(0)(i) && test(rights(a, i));
  if (k() > 1)
    return [
      ["only_a", `${first} right more often`, ahead(1)],
      ["only_b", `${second} right more often`, ahead(-1)],
      ["even", "Right equally often", ahead(0)],
    ];
  return [
    ["only_a", `Only ${first} right`, ahead(1)],
    ["only_b", `Only ${second} right`, ahead(-1)],
    ["both", "Both right", even((count) => count === 1)],
    ["neither", "Neither right", even((count) => count === 0)],
  ];
}

const textOf = (answer) => answer.parts.map((each) => each[1]).join("\n");

function holds(i, wanted, answers) {
  const said = answers.flatMap((of) => of[i].map(textOf));
  const text = [...task().questions[i], ...said].join("\n").toLowerCase();
  return wanted.every((word) => text.includes(word));
}

async function update() {
  const mine = ++turn;
  const questions = asked();
  const all = kinds();
  if (!all.some(([name]) => name === show)) show = "all";
  all.forEach(([name, label, test], i) => {
    const button = outcomes.children[i] || outcomes.appendChild(el("button", { type: "button" }));
    button.dataset.show = name;
    button.setAttribute("aria-pressed", String(name === show));
    button.replaceChildren(label, " ", el("b", {}, questions.filter(test).length.toLocaleString("en")));
  });
  const test = all.find(([name]) => name === show)[2];
  const wanted = textBox.value.toLowerCase().split(/\s+/).filter(Boolean);
  found = questions.filter(test);
  if (wanted.length) {
    const answers = await Promise.all(shown().map((model) => part(task().answers[model])));
    if (mine !== turn) return;
    found = found.filter((i) => holds(i, wanted, answers));
  }
  const who = shown().map((model) => task().models[model]).join(" against ");
  const n = (value) => value.toLocaleString("en");
  status.textContent = `${n(found.length)} of ${n(questions.length)} questions: ${task().task}, ${who}.`;
  list.replaceChildren();
  extend();
  setTimeout(() => mine === turn && parts().forEach(part), 50); // so that the first sample opens at once
}

function fill(box, names, kept) {
  box.replaceChildren(...names.map(([value, name]) => el("option", { value }, name)));
  if (names.some(([value]) => String(value) === kept)) box.value = kept;
}

function chooseTask(index, a, b) {
  taskBox.value = index;
  const models = task().models.map((name, i) => [i, name]);
  fill(aBox, models, String(a ?? 0));
  fill(bBox, [["", "no other"], ...models], String(b ?? (models.length > 1 ? models.length - 1 : "")));
  update();
}

// ---- The list

function chip(name, owner) {
  return el("span", { class: `chip ${name}` }, `${data.signs[name]}${owner && ` ${owner}:`} ${name}`);
}

// Of several answers it says how many are right.
function chipOf(model, i) {
  const owner = modelB() === null ? "" : task().models[model];
  if (k() === 1) return chip(OUTCOMES[states(model, i)], owner);
  const count = rights(model, i);
  const kind = count === k() ? "right" : count ? "some" : "wrong";
  return el("span", { class: `chip ${kind}` }, `${owner && `${owner}: `}${count} of ${k()} right`);
}

function row(i, number) {
  const [id, question] = task().questions[i];
  const chips = shown().map((model) => chipOf(model, i));
  const button = el(
    "button",
    { type: "button", "aria-expanded": "false", "aria-controls": `sample-${number}` },
    el("span", { class: "id" }, id),
    el("span", { class: "q", dir: "auto" }, question),
    el("span", { class: "chips" }, ...chips),
  );
  const panel = el("div", { id: `sample-${number}`, class: "body", role: "region", "aria-label": `Sample ${id}` });
  panel.hidden = true;
  return el("li", { class: "sample" }, el("h3", {}, button), panel);
}

function extend() {
  const start = list.children.length;
  list.append(...found.slice(start, start + PAGE).map((at, i) => row(at, start + i)));
  more.hidden = list.children.length >= found.length;
  more.textContent = `Show ${Math.min(PAGE, found.length - list.children.length)} more`;
}

const buttonOf = (item) => item.querySelector("button");
const panelOf = (item) => item.querySelector(".body");
const openItem = () => [...list.children].find((item) => !panelOf(item).hidden) || null;

// One sample is open at a time, so that the next one starts where the eye is.
async function open(item) {
  const before = openItem();
  if (before && before !== item) close(before);
  panelOf(item).hidden = false;
  buttonOf(item).setAttribute("aria-expanded", "true");
  const [i, mine] = [found[[...list.children].indexOf(item)], turn];
  const [prompts, ...answers] = await Promise.all(parts().map(part));
  if (mine === turn && !panelOf(item).hidden) panelOf(item).replaceChildren(...content(i, prompts, answers));
  item.scrollIntoView({ block: "nearest" });
}

function close(item) {
  panelOf(item).hidden = true;
  panelOf(item).replaceChildren();
  buttonOf(item).setAttribute("aria-expanded", "false");
}

// ---- One sample

function content(i, prompts, answers) {
  const models = shown();
  const names = models.map((model) => task().models[model]);
  const said = answers.map((of) => of[i]);
  const nodes = [el("p", {}, el("b", {}, "Target: "), el("bdi", {}, task().questions[i][2]))];
  const sent = [...new Set(said.map(([first]) => first.prompt))];
  for (const number of sent) {
    const whose = sent.length > 1 ? names[said.findIndex(([first]) => first.prompt === number)] : "";
    nodes.push(...asking(prompts[number], whose));
  }
  const told = models.map((model, m) => said[m].map((answer, number) => tell(model, i, answer, number)));
  for (const cards of k() > 1 ? told : [told.flat()]) nodes.push(el("div", { class: "answers" }, ...cards));
  const [here, all] = [said[0].length, k()];
  if (here < all) nodes.push(el("p", { class: "small" }, `${here} of ${all} answers are in this page; samples.jsonl has all.`));
  if (models.length > 1 && all === 1) nodes.push(difference(said.map(([first]) => textOf(first)), names));
  return nodes;
}

function asking(pieces, whose) {
  const tables = pieces.filter(Array.isArray);
  const text = pieces.map((p) => (Array.isArray(p) ? p.map((cells) => cells.join("|")).join("\n") : p)).join("\n");
  const counted = tables.length === 1 ? "1 table" : `${tables.length} tables`;
  const size = `${text.length.toLocaleString("en")} characters, ${counted}`;
  const prompt = el("details", { class: "inner" }, el("summary", {}, `Prompt${whose && " of " + whose}, as sent: ${size}`));
  prompt.append(el("pre", { dir: "auto", tabindex: "0" }, text || "—"));
  return [...tables.map((rows, i) => table(rows, `Table ${i + 1} of the prompt${whose && " of " + whose}`)), prompt];
}

function table(rows, name) {
  const figures = /^[-−(]?\s*[$€£¥]?\s*[-−(]?\s*[\d.]/;
  const cell = (text, i) =>
    i ? el("td", figures.test(text.trim()) ? { class: "n" } : {}, text.trim()) : el("th", { scope: "row" }, text.trim());
  const head = el("tr", {}, ...rows[0].map((text) => el("th", { scope: "col" }, text.trim())));
  const body = rows.slice(1).map((cells) => el("tr", {}, ...cells.map(cell)));
  const made = el("table", {}, el("caption", {}, name), el("thead", {}, head), el("tbody", {}, ...body));
  return el("div", { class: "scroll given", role: "region", "aria-label": name, tabindex: "0" }, made);
}

function tell(model, i, answer, number) {
  const facts = data.labels.flatMap((label, i) =>
    answer.facts[i] ? [el("dt", {}, label), el("dd", {}, el("bdi", {}, answer.facts[i]))] : [],
  );
  const texts = answer.parts.flatMap(([title, text]) => [
    el("h5", {}, title),
    text ? el("pre", { dir: "auto", tabindex: "0" }, text) : el("p", { class: "small" }, "None."),
  ]);
  const name = task().models[model] + (k() > 1 ? `, answer ${number + 1} of ${k()}` : "");
  const head = el("h4", {}, el("span", {}, name), chip(OUTCOMES[states(model, i)[number]], ""));
  return el("div", { class: "answer" }, head, el("dl", {}, ...facts), ...texts);
}

// ---- Keys and clicks

function step(by) {
  const items = [...list.children];
  const opened = openItem();
  const at = items.findIndex((item) => item === opened || item.contains(document.activeElement));
  const next = at < 0 ? 0 : at + by;
  if (next >= items.length && next < found.length) extend();
  const item = list.children[next];
  if (!item) return;
  if (opened) open(item);
  buttonOf(item).focus({ preventScroll: true });
  item.scrollIntoView({ block: opened ? "start" : "nearest" });
}

function pressed(event) {
  const at = event.target;
  const onRow = at.matches(".sample h3 button");
  if (event.ctrlKey || event.metaKey || event.altKey || at.matches("input:not([type=checkbox]), select, textarea")) return;
  const keys = { j: 1, J: 1, k: -1, K: -1, ArrowDown: 1, ArrowUp: -1 };
  if (event.key === "Escape" && openItem()) {
    const item = openItem();
    close(item);
    buttonOf(item).focus();
  } else if (event.key in keys && (event.key.length === 1 ? shortcuts.checked : onRow)) {
    step(keys[event.key]);
  } else if (event.key === "/" && shortcuts.checked) {
    textBox.focus();
  } else {
    return;
  }
  event.preventDefault();
}

list.addEventListener("click", (event) => {
  const button = event.target.closest("h3 button");
  if (!button) return;
  const item = button.closest("li");
  (panelOf(item).hidden ? open : close)(item);
});
outcomes.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  show = button.dataset.show;
  update();
});
more.addEventListener("click", () => {
  const next = list.children.length;
  extend();
  buttonOf(list.children[next]).focus();
});
// A count in the table of paired tests opens the questions it counts; without this it leads to the section.
document.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-show]");
  if (!link) return;
  const index = data.tasks.findIndex((one) => one.task === link.dataset.task);
  const [a, b] = [link.dataset.a, link.dataset.b].map((name) => data.tasks[index].models.indexOf(name));
  show = link.dataset.show;
  textBox.value = "";
  chooseTask(index, a, b);
});
document.addEventListener("keydown", pressed);
taskBox.addEventListener("change", () => chooseTask(taskBox.value));
for (const box of [aBox, bBox]) box.addEventListener("change", update);
textBox.addEventListener("input", update);
if (data.tasks.length) {
  fill(taskBox, data.tasks.map((one, i) => [i, one.task]), "0");
  byId("browser").hidden = false;
  chooseTask(0);
}
