// Sorting, filtering, and what a row opens.
const rows = all("table.rows > tbody");
const paper = new Map(rows.map((row, place) => [row, place]));

// A large page has the figures of its rows alone. The rest lies in files beside it, so many rows in each: scripts
// that call `loaded`, as a page that is opened as a file may fetch nothing. They come as rows come into sight.
const { files, each } = document.body.dataset, asked = new Map();

function load(row) {
  const number = Math.floor(paper.get(row) / each);
  if (!asked.has(number)) asked.set(number, new Promise(done => {
    const script = document.createElement("script");
    script.src = `${files}/${number}.js`;
    script.onload = done;
    script.onerror = () => { document.querySelector(".alone").hidden = false; done(); };
    document.head.append(script);
  }));
  return asked.get(number);
}

function loaded(number, found) {
  Object.assign(curves, found.curves);
  found.rows.forEach((lines, at) => {
    const row = rows[number * each + at];
    row.innerHTML = lines;
    row.setAttribute("role", "rowgroup");
  });
}

if (files) {
  const sight = new IntersectionObserver(entries => entries.filter(entry => entry.isIntersecting).forEach(entry => {
    sight.unobserve(entry.target);
    load(entry.target);
  }), { rootMargin: "50%" });
  rows.forEach(row => sight.observe(row));
}

// A column's first click sorts it up, its second down, its third restores the paper's order.
const next = { none: "ascending", ascending: "descending", descending: "none" };
const order = all(".chip").map(chip => chip.dataset.word);
const textOf = cell => cell.dataset.value ?? cell.textContent.trim();

// What is shown in a column: a verdict by its place among the verdicts, a figure, or a text; null where there is none.
function keyOf(row, head) {
  const cell = row.rows[0].cells[head.cellIndex], text = textOf(cell);
  const word = order.findIndex(name => cell.classList.contains(name));
  if (word >= 0) return word;
  if (!head.classList.contains("n")) return ["", "–", "−"].includes(text) ? null : text;
  const number = parseFloat(text.replace("−", "-"));
  return Number.isNaN(number) ? null : number;
}

function compare(a, b) {
  if (typeof a === "number" && typeof b === "number") return a - b;
  return String(a).localeCompare(String(b), "en", { numeric: true });
}

function sort(head) {
  const table = head.closest("table"), order = next[head.ariaSort];
  all("th[aria-sort]", table).forEach(other => { other.ariaSort = other === head ? order : "none"; });
  const sign = order === "descending" ? -1 : 1;
  const keyed = [...table.tBodies].map(row => [row, order === "none" ? paper.get(row) : keyOf(row, head)]);
  // What has no value stands last, in either direction; equal ones keep the paper's order.
  keyed.sort(([rowA, a], [rowB, b]) =>
    (a === null) - (b === null) || (a === null ? 0 : sign * compare(a, b)) || paper.get(rowA) - paper.get(rowB));
  table.append(...keyed.map(([row]) => row));
}

all("button.sort").forEach(button => button.addEventListener("click", () => sort(button.closest("th"))));

// Filtering: every word of the search, and any of the verdicts pressed.
const find = document.getElementById("find"), shown = document.getElementById("shown");
const texts = new Map();

function searched(row) {
  if (!texts.has(row)) {
    const [student, teacher] = row.rows[0].cells;
    texts.set(row, [row.id, row.dataset.loss, textOf(student), textOf(teacher)].join(" ").toLowerCase());
  }
  return texts.get(row);
}

function filter() {
  const wanted = find.value.toLowerCase().split(/\s+/).filter(Boolean);
  const words = all(".chip[aria-pressed=true]").map(chip => chip.dataset.word);
  let count = 0;
  for (const row of rows) {
    const cells = words.length ? [...row.rows[0].cells] : [];
    const fits = wanted.every(text => searched(row).includes(text))
      && (!words.length || cells.some(cell => words.some(word => cell.classList.contains(word))));
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

async function open(row, wanted) {
  if (files) await load(row);
  const button = row.querySelector("button.open");
  if (!button) return;
  const more = row.querySelector("tr.more"), figure = more.querySelector("figure.curve");
  more.hidden = !wanted;
  button.ariaExpanded = String(wanted);
  if (wanted && !figure.hasChildNodes()) draw(figure);
}

// A click on a row's line opens it and closes it again; one on a link, or that ends a selection of text, does not.
document.addEventListener("click", event => {
  const line = event.target.closest("table.rows > tbody > tr:first-child");
  const inside = event.target.closest("button, a");
  if (!line || (inside ? !inside.matches(".open") : String(getSelection()))) return;
  open(line.parentNode, line.querySelector(".open")?.ariaExpanded !== "true");
});

// page.html#suite/table/student opens that row.
async function follow() {
  let name = location.hash.slice(1);
  try { name = decodeURIComponent(name); } catch { /* a stray % is a name too */ }
  const row = document.getElementById(name);
  if (!row || !rows.includes(row)) return;
  await open(row, true);
  // The table's name above it stays in sight where both fit into the window; else the row comes first.
  const title = row.closest("section").querySelector("h2");
  const both = row.rows[0].getBoundingClientRect().bottom - title.getBoundingClientRect().top;
  (both < innerHeight / 2 ? title : row).scrollIntoView({ block: "start" });
}
addEventListener("hashchange", follow);
follow();
