// Which models and tasks are shown, in which order, and as which CSV? Everything stands in the page without this.
// What models and documents say becomes text nodes and nothing else: no markup is ever made of a string.
"use strict";
const byId = (id) => document.getElementById(id);

function el(tag, attributes, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) made.setAttribute(name, value);
  made.append(...children.filter((child) => child !== null));
  return made;
}

// ---- Filters: a row names its models (data-model), it or what is around it its table (data-table).

const [tableFilter, modelFilter, filterStatus] = ["only-table", "only-model", "filter-status"].map(byId);

function filterBoard() {
  const wanted = modelFilter.value.toLowerCase().split(",").map((name) => name.trim()).filter(Boolean);
  const matches = (row) => !wanted.length || wanted.some((name) => row.dataset.model.toLowerCase().includes(name));
  const inTable = (node) => !tableFilter.value || node.closest("[data-table]").dataset.table === tableFilter.value;
  for (const part of document.querySelectorAll("[data-table]")) part.hidden = !inTable(part);
  const rows = [...document.querySelectorAll("[data-model]")];
  for (const row of rows) row.hidden = !(matches(row) && inTable(row));
  const kept = rows.filter((row) => row.matches("#accuracy-tables tr"));
  const left = kept.filter((row) => !row.hidden).length;
  filterStatus.textContent = `${left.toLocaleString("en")} of ${kept.length.toLocaleString("en")} results are shown.`;
}

// ---- Order: a click on a heading sorts by its column, from the largest number on; another turns it round.

const NUMBER = /^[<≈+]? ?[−-]?[\d,]*\.?\d+/;
const valueOf = (cell) => {
  const text = cell.textContent.trim();
  return NUMBER.test(text) ? Number(text.match(NUMBER)[0].replace("−", "-").replace(/[^-\d.]/g, "")) : text.toLowerCase();
};

function sortBy(head) {
  const table = head.closest("table");
  const column = [...head.parentElement.children].indexOf(head);
  const rows = [...table.tBodies[0].rows].map((row) => [valueOf(row.cells[column]), row]);
  const falls = rows.some(([value]) => typeof value === "number");
  const before = head.getAttribute("aria-sort");
  const order = before ? (before === "ascending" ? "descending" : "ascending") : falls ? "descending" : "ascending";
  for (const other of head.parentElement.children) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", order);
  const sign = order === "ascending" ? 1 : -1;
  rows.sort(([x], [y]) => (x === y ? 0 : sign * (typeof x === typeof y ? (x < y ? -1 : 1) : typeof x < typeof y ? -1 : 1)));
  table.tBodies[0].append(...rows.map(([, row]) => row));
}

// ---- The tables as they are shown, as CSV

function csvOf(tables) {
  const quoted = (text) => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const line = (row) => [...row.cells].map((cell) => quoted(cell.innerText.trim().replace(/\s+/g, " "))).join(",");
  const rows = tables.flatMap((table, i) => [...(i ? [] : table.tHead.rows), ...table.tBodies[0].rows]);
  return rows.filter((row) => !row.hidden).map(line).join("\n") + "\n";
}

if (byId("board-controls")) {
  byId("board-controls").hidden = false;
  tableFilter.addEventListener("change", filterBoard);
  modelFilter.addEventListener("input", filterBoard);
  for (const head of document.querySelectorAll("table.sorted thead th")) {
    const button = el("button", { type: "button", class: "sort" }, ...head.childNodes);
    button.addEventListener("click", () => sortBy(head));
    head.append(button);
  }
  byId("csv").addEventListener("click", () => {
    const tables = [...document.querySelectorAll("#accuracy-tables > div:not([hidden]) table")];
    const url = URL.createObjectURL(new Blob([csvOf(tables)], { type: "text/csv" }));
    el("a", { href: url, download: "leaderboard-shown.csv" }).click();
    setTimeout(() => URL.revokeObjectURL(url), 1000);
  });
  filterBoard();
}
