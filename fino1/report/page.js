// Which sample is looked at, and beside which other model's? Tables and charts stand in the page without this.
// What models and documents say becomes text nodes and nothing else: no markup is ever made of a string.
"use strict";
(() => {
const PAGE = 50; // rows of the list that are made at once
const DIFF_CELLS = 4e6; // words of one answer times words of the other; more would make the page wait
const data = JSON.parse(document.getElementById("samples-data").textContent);
const byId = (id) => document.getElementById(id);
const [taskBox, aBox, bBox, textBox] = ["task", "model-a", "model-b", "text"].map(byId);
const [outcomes, status, list, more, shortcuts] = ["outcomes", "status", "list", "more", "shortcuts"].map(byId);
let found = []; // questions that pass the filters, in the order of the data
let show = "all"; // the outcome asked for

function el(tag, attributes, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) made.setAttribute(name, value);
  made.append(...children.filter((child) => child !== null));
  return made;
}

// ---- Which questions?
const task = () => data.tasks[taskBox.value];
const modelA = () => Number(aBox.value);
const modelB = () => (bBox.value === "" || bBox.value === aBox.value ? null : Number(bBox.value));
const right = (answer) => answer.state === "right";

function asked() {
  const [a, b] = [modelA(), modelB()];
  return task().questions.filter((q) => q.answers[a] && (b === null || q.answers[b]));
}

// What may be asked for, in words, and which questions it holds. Two models are split as McNemar's test splits them.
function kinds() {
  const [a, b] = [modelA(), modelB()];
  if (b === null) {
    const state = (name) => [name, `${data.signs[name]} ${name}`, (q) => q.answers[a].state === name];
    return [["all", "All", () => true], ...Object.keys(data.signs).map(state)];
  }
  const split = (x, y) => (q) => right(q.answers[a]) === x && right(q.answers[b]) === y;
  return [
    ["all", "All", () => true],
    ["only_a", `Only ${task().models[a]} right`, split(true, false)],
    ["only_b", `Only ${task().models[b]} right`, split(false, true)],
    ["both", "Both right", split(true, true)],
    ["neither", "Neither right", split(false, false)],
  ];
}

function holds(q, words) {
  if (!words.length) return true;
  const answers = shown().map((model) => q.answers[model].parts.map((part) => part[1]).join("\n"));
  const text = [q.id, q.question, q.target, ...answers].join("\n").toLowerCase();
  return words.every((word) => text.includes(word));
}

const shown = () => (modelB() === null ? [modelA()] : [modelA(), modelB()]);

function update() {
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
  const words = textBox.value.toLowerCase().split(/\s+/).filter(Boolean);
  found = questions.filter(test).filter((q) => holds(q, words));
  const who = shown().map((model) => task().models[model]).join(" against ");
  const n = (value) => value.toLocaleString("en");
  status.textContent = `${n(found.length)} of ${n(questions.length)} questions: ${task().task}, ${who}.`;
  list.replaceChildren();
  extend();
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

function chip(model, answer, named) {
  const name = named ? ` ${task().models[model]}:` : "";
  return el("span", { class: `chip ${answer.state}` }, `${data.signs[answer.state]}${name} ${answer.state}`);
}

function row(q, number) {
  const chips = shown().map((model) => chip(model, q.answers[model], modelB() !== null));
  const button = el(
    "button",
    { type: "button", "aria-expanded": "false", "aria-controls": `sample-${number}` },
    el("span", { class: "id" }, q.id),
    el("span", { class: "q", dir: "auto" }, q.question),
    el("span", { class: "chips" }, ...chips),
  );
  const panel = el("div", { id: `sample-${number}`, class: "body", role: "region", "aria-label": `Sample ${q.id}` });
  panel.hidden = true;
  return el("li", { class: "sample" }, el("h3", {}, button), panel);
}

function extend() {
  const start = list.children.length;
  list.append(...found.slice(start, start + PAGE).map((q, i) => row(q, start + i)));
  more.hidden = list.children.length >= found.length;
  more.textContent = `Show ${Math.min(PAGE, found.length - list.children.length)} more`;
}

const buttonOf = (item) => item.querySelector("button");
const panelOf = (item) => item.querySelector(".body");
const openItem = () => [...list.children].find((item) => !panelOf(item).hidden) || null;

// One sample is open at a time, so that the next one starts where the eye is.
function open(item) {
  const before = openItem();
  if (before && before !== item) close(before);
  panelOf(item).replaceChildren(...content(found[[...list.children].indexOf(item)]));
  panelOf(item).hidden = false;
  buttonOf(item).setAttribute("aria-expanded", "true");
}

function close(item) {
  panelOf(item).hidden = true;
  panelOf(item).replaceChildren();
  buttonOf(item).setAttribute("aria-expanded", "false");
}

// ---- One sample

function content(q) {
  const models = shown();
  const prompts = [...new Set(models.map((model) => q.answers[model].prompt))];
  const nodes = [el("p", {}, el("b", {}, "Target: "), el("bdi", {}, q.target))];
  for (const prompt of prompts) {
    const whose = prompts.length > 1 ? task().models[models.find((m) => q.answers[m].prompt === prompt)] : "";
    nodes.push(...asking(task().prompts[prompt], whose));
  }
  nodes.push(el("div", { class: "answers" }, ...models.map((model) => said(model, q.answers[model]))));
  if (models.length > 1) nodes.push(difference(q, models));
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

function said(model, answer) {
  const facts = data.labels.flatMap((label, i) =>
    answer.facts[i] ? [el("dt", {}, label), el("dd", {}, el("bdi", {}, answer.facts[i]))] : [],
  );
  const parts = answer.parts.flatMap(([title, text]) => [
    el("h5", {}, title),
    text ? el("pre", { dir: "auto", tabindex: "0" }, text) : el("p", { class: "small" }, "None."),
  ]);
  const head = el("h4", {}, el("span", {}, task().models[model]), chip(model, answer, false));
  return el("div", { class: "answer" }, head, el("dl", {}, ...facts), ...parts);
}

// ---- The difference of two answers

function difference(q, models) {
  const [a, b] = models.map((model) => q.answers[model].parts.map((part) => part[1]).join("\n"));
  const names = models.map((model) => task().models[model]);
  const box = el("details", { class: "inner" }, el("summary", {}, "Difference, word by word"));
  box.addEventListener("toggle", () => {
    if (box.open && box.children.length === 1) box.append(compared(a, b, names));
  });
  return box;
}

function compared(a, b, names) {
  const [x, y] = [a, b].map((text) => text.split(/\s+/).filter(Boolean));
  if (x.join(" ") === y.join(" ")) return el("p", { class: "diff" }, "The two answers are the same, word for word.");
  if (x.length * y.length > DIFF_CELLS) return el("p", { class: "diff" }, "The answers are too long for this.");
  // A and B, not − and +: signs beside figures would be read as theirs.
  const mark = (sign, text) =>
    sign === "-" ? el("del", {}, el("b", {}, "A"), ` ${text}`) : el("ins", {}, el("b", {}, "B"), ` ${text}`);
  const runs = words(x, y).flatMap(([sign, run]) => [sign === "=" ? run.join(" ") : mark(sign, run.join(" ")), " "]);
  const key = el("p", { class: "small" }, mark("-", `only ${names[0]}`), " ", mark("+", `only ${names[1]}`));
  return el("div", { class: "diff" }, key, el("p", { dir: "auto" }, ...runs));
}

// Runs of words in both (=), only in x (-), only in y (+), by a longest common subsequence.
function words(x, y) {
  const width = y.length + 1;
  const length = new Uint16Array((x.length + 1) * width);
  for (let i = x.length - 1; i >= 0; i--)
    for (let j = y.length - 1; j >= 0; j--)
      length[i * width + j] =
        x[i] === y[j]
          ? length[(i + 1) * width + j + 1] + 1
          : Math.max(length[(i + 1) * width + j], length[i * width + j + 1]);
  const runs = [];
  const add = (sign, word) => (runs.at(-1)?.[0] === sign ? runs.at(-1)[1].push(word) : runs.push([sign, [word]]));
  for (let i = 0, j = 0; i < x.length || j < y.length; ) {
    if (i < x.length && j < y.length && x[i] === y[j]) add("=", x[(j++, i++)]);
    else if (j === y.length || (i < x.length && length[(i + 1) * width + j] >= length[i * width + j + 1])) add("-", x[i++]);
    else add("+", y[j++]);
  }
  return runs;
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
  item.scrollIntoView({ block: "nearest" });
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
})();
