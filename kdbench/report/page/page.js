"use strict";
// Sorting, filtering, and the learning curves of a row when it is opened. Nothing is fetched.
const all = (selector, of = document) => [...of.querySelectorAll(selector)];
const rows = all("table.rows > tbody");
const curves = JSON.parse(document.getElementById("curves").textContent);

// A column's first click sorts it up, its second down, its third restores the paper's order.
const paper = new Map(rows.map((row, place) => [row, place]));
const next = { none: "ascending", ascending: "descending", descending: "none" };

function keyOf(row, column) {
  const value = row.rows[0].cells[column].dataset.value;
  const number = Number(value);
  return value === undefined || value === "" ? null : Number.isNaN(number) ? value : number;
}

function compare(a, b) {
  if (typeof a === "number" && typeof b === "number") return a - b;
  return String(a).localeCompare(String(b), "en", { numeric: true });
}

function sort(head) {
  const table = head.closest("table"), column = head.cellIndex, order = next[head.ariaSort];
  all("th[aria-sort]", table).forEach(other => { other.ariaSort = other === head ? order : "none"; });
  const sign = order === "descending" ? -1 : 1;
  const keyed = [...table.tBodies].map(row => [row, order === "none" ? paper.get(row) : keyOf(row, column)]);
  // What has no value stands last, in either direction; equal ones keep the paper's order.
  keyed.sort(([rowA, a], [rowB, b]) =>
    (a === null) - (b === null) || (a === null ? 0 : sign * compare(a, b)) || paper.get(rowA) - paper.get(rowB));
  table.append(...keyed.map(([row]) => row));
}

all("button.sort").forEach(button => button.addEventListener("click", () => sort(button.closest("th"))));

// Filtering: every word of the search, and any of the verdicts pressed.
const find = document.getElementById("find"), shown = document.getElementById("shown");

function filter() {
  const texts = find.value.toLowerCase().split(/\s+/).filter(Boolean);
  const words = all(".chip[aria-pressed=true]").map(chip => chip.dataset.word);
  let count = 0;
  for (const row of rows) {
    const has = row.dataset.words.split(" ");
    const fits = texts.every(text => row.dataset.text.includes(text)) && (!words.length || words.some(word => has.includes(word)));
    row.hidden = !fits;
    count += fits;
  }
  all("section.table").forEach(part => { part.hidden = !part.querySelector("table.rows > tbody:not([hidden])"); });
  shown.textContent = count === rows.length ? `${count} rows` : `${count} of ${rows.length} rows`;
}

find.addEventListener("input", filter);
all(".chip").forEach(chip => chip.addEventListener("click", () => {
  chip.ariaPressed = chip.ariaPressed === "true" ? "false" : "true";
  filter();
}));
find.form.addEventListener("submit", event => event.preventDefault());
filter();

// The curves: base64 of hundredths of a percent, 16 bits each, low byte first.
function curve(id) {
  if (!(id in curves)) return null;
  const bytes = Uint8Array.from(atob(curves[id]), char => char.charCodeAt(0));
  return Array.from({ length: bytes.length / 2 }, (_, at) => (bytes[2 * at] + 256 * bytes[2 * at + 1]) / 100);
}

function element(name, attributes, ...inside) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  Object.entries(attributes).forEach(([key, value]) => made.setAttribute(key, value));
  made.append(...inside);
  return made;
}

const mean = lines => lines[0].map((_, at) => lines.reduce((sum, line) => sum + line[at], 0) / lines.length);

function ticks(low, high) {
  const rough = (high - low) / 4, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map(size => size * power).find(size => size >= rough);
  const first = Math.ceil(low / step - 1e-9), last = Math.floor(high / step + 1e-9);
  return Array.from({ length: last - first + 1 }, (_, at) => +((first + at) * step).toFixed(6));
}

// The first tenth of the epochs climbs from nothing: it may leave the picture, so that the end can be read.
function extent(lines, printed) {
  const late = lines.flatMap(line => line.slice(Math.min(line.length - 1, Math.floor(line.length / 10))));
  const values = printed === null ? late : [...late, printed];
  const low = Math.min(...values), high = Math.max(...values), room = Math.max((high - low) * 0.06, 0.05);
  return [Math.max(0, low - room), Math.min(100, high + room)];
}

function draw(figure) {
  const found = ids => (ids || "").split(" ").map(curve).filter(Boolean);
  const own = found(figure.dataset.runs), base = found(figure.dataset.baseline), theirs = found(figure.dataset.authors);
  const printed = figure.dataset.printed === undefined ? null : Number(figure.dataset.printed);
  if (!own.length && !theirs.length) { figure.textContent = "No run of this row has a result yet: there is no curve."; return; }
  const W = Math.max(300, Math.min(680, figure.clientWidth)), H = Math.round(120 + W / 4), left = 44, right = 12, top = 12, bottom = 34;
  const epochs = Math.max(...own.map(line => line.length), ...base.map(line => line.length), ...theirs.map(line => line.length));
  const [low, high] = extent([...own, ...base, ...theirs], printed);
  const x = epoch => left + (epochs === 1 ? 0.5 : (epoch - 1) / (epochs - 1)) * (W - left - right);
  const y = value => top + (high - value) / (high - low) * (H - top - bottom);
  const path = (line, name) => element("path", { class: name, d: "M" + line.map((v, at) => `${x(at + 1).toFixed(1)} ${y(v).toFixed(1)}`).join("L") });
  const clip = `clip${draw.count = (draw.count || 0) + 1}`;
  const svg = element("svg", { viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": `Test accuracy after each of ${epochs} epochs, ${own.length} seeds${theirs.length ? `, ${theirs.length} author runs` : ""}` },
    element("clipPath", { id: clip }, element("rect", { x: left, y: top, width: W - left - right, height: H - top - bottom })));
  for (const at of ticks(low, high)) svg.append(
    element("path", { class: "grid", d: `M${left} ${y(at)}H${W - right}` }),
    element("text", { class: "tick end", x: left - 8, y: y(at) + 4 }, String(at)));
  for (const at of new Set([1, ...ticks(1, Math.max(epochs, 2)).map(Math.round).filter(at => at >= 1 && at <= epochs), epochs])) {
    if (at !== epochs && at !== 1 && x(epochs) - x(at) < 30) continue;
    svg.append(element("text", { class: "tick middle", x: x(at), y: H - 16 }, String(at)));
  }
  svg.append(element("text", { class: "tick middle", x: (left + W - right) / 2, y: H - 2 }, "epoch"));
  const inside = element("g", { "clip-path": `url(#${clip})` });
  if (printed !== null) inside.append(element("path", { class: "printed", d: `M${left} ${y(printed)}H${W - right}` }));
  base.forEach(line => inside.append(path(line, "seed base")));
  own.forEach(line => inside.append(path(line, "seed")));
  theirs.forEach(line => inside.append(path(line, "author")));
  if (base.length) inside.append(path(mean(base), "mean base"));
  if (own.length) inside.append(path(mean(own), "mean"));
  const cursor = element("path", { class: "cursor" });
  svg.append(inside, cursor);
  const caption = document.createElement("figcaption");
  const rest = [own.length && ["own", "mean and seeds"], theirs.length && ["author", "author runs"], base.length && ["base", "baseline"], printed !== null && ["print", "printed"]].filter(Boolean);
  const told = () => rest.map(([name, text]) => { const item = document.createElement("span"); item.className = `key-${name}`; item.textContent = text; return item; });
  caption.append("Test accuracy, %: ", ...told());
  const readout = document.createElement("output");
  caption.append(readout);
  svg.addEventListener("pointermove", event => {
    const box = svg.getBoundingClientRect();
    const share = ((event.clientX - box.left) / box.width * W - left) / (W - left - right);
    const epoch = Math.min(epochs, Math.max(1, Math.round(1 + share * (epochs - 1))));
    const value = lines => lines.length && lines[0].length >= epoch ? (lines.reduce((sum, line) => sum + line[epoch - 1], 0) / lines.length).toFixed(2) : null;
    cursor.setAttribute("d", `M${x(epoch)} ${top}V${H - bottom}`);
    const parts = [own.length && `${value(own)}`, base.length && `baseline ${value(base)}`, theirs.length && `author runs ${value(theirs)}`];
    readout.textContent = `epoch ${epoch}: ${parts.filter(Boolean).join(", ")}`;
  });
  svg.addEventListener("pointerleave", () => { cursor.removeAttribute("d"); readout.textContent = ""; });
  figure.replaceChildren(svg, caption);
}

function open(row, wanted) {
  const button = row.querySelector("button.open"), more = row.querySelector("tr.more");
  more.hidden = !wanted;
  button.ariaExpanded = String(wanted);
  const figure = more.querySelector("figure.curve");
  if (wanted && !figure.hasChildNodes()) draw(figure);
}

all("button.open").forEach(button => button.addEventListener("click", () => {
  open(button.closest("tbody"), button.ariaExpanded !== "true");
}));
rows.forEach(row => row.rows[0].addEventListener("click", event => {
  if (!event.target.closest("button, a") && !String(getSelection())) row.querySelector("button.open").click();
}));

// page.html#suite/table/student opens that row.
function follow() {
  let name = location.hash.slice(1);
  try { name = decodeURIComponent(name); } catch { /* a stray % is a name too */ }
  const row = document.getElementById(name);
  if (!row || !rows.includes(row)) return;
  open(row, true);
  // The table's name above it stays in sight where both fit into the window; else the row comes first.
  const title = row.closest("section").querySelector("h2");
  const both = row.rows[0].getBoundingClientRect().bottom - title.getBoundingClientRect().top;
  (both < innerHeight / 2 ? title : row).scrollIntoView({ block: "start" });
}
addEventListener("hashchange", follow);
follow();
