// Sorting, filtering, and the learning curves of a row when it is opened.
const rows = all("table.rows > tbody");

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
