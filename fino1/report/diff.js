// In which words do two answers differ?
const DIFF_CELLS = 4e6; // words of one answer times words of the other; more would make the page wait

function difference(texts, names) {
  const box = el("details", { class: "inner" }, el("summary", {}, "Difference, word by word"));
  box.addEventListener("toggle", () => {
    if (box.open && box.children.length === 1) box.append(compared(...texts, names));
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
