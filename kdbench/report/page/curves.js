"use strict";
// The learning curves of rows. Nothing is fetched.
const all = (selector, of = document) => [...of.querySelectorAll(selector)];
const curves = JSON.parse(document.getElementById("curves").textContent);

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
  const rest = [own.length && ["own", "mean and seeds"], theirs.length && ["author", "author runs"], base.length && ["base", "baseline"], printed !== null && ["print", figure.dataset.against]].filter(Boolean);
  const keys = rest.map(([name, text]) => { const item = document.createElement("span"); item.className = `key-${name}`; item.textContent = text; return item; });
  caption.append("Test accuracy, %: ", ...keys);
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
