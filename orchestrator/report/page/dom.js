// Elements, numbers in words, and the data of the page. Texts from data become text nodes only.

const data = JSON.parse(document.getElementById("data").textContent);
const root = document.documentElement;
const byId = (id) => document.getElementById(id);

/** An element with attributes and children; a string among the children is text, never markup. */
function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return made;
}

/** A labelled choice among [value, text] pairs. */
function chooser(title, options, onchoice) {
  const select = el("select", { onchange: (event) => onchoice(event.target.value) }, options.map(([value, text]) => el("option", { value }, text)));
  return el("label", {}, `${title} `, select);
}

const SVG = "http://www.w3.org/2000/svg";
function shape(tag, attributes, ...children) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

const isNumber = (value) => typeof value === "number" && Number.isFinite(value);

/** About three digits of a number, as people read it. */
function digits(value) {
  const size = Math.abs(value);
  if (size === 0) return "0";
  if (size >= 100) return value.toFixed(0).replace(/\B(?=(\d{3})+$)/g, ",");
  if (size >= 10) return value.toFixed(1);
  if (size >= 1) return value.toFixed(2);
  return String(Number(value.toPrecision(2)));
}

function scaled(value, step, units) {
  let unit = 0;
  while (Math.abs(value) >= step && unit < units.length - 1) {
    value /= step;
    unit += 1;
  }
  return `${digits(value)}${units[unit] ? `\u202f${units[unit]}` : ""}`;
}

/** A cost in its unit. */
function cost(value, kind) {
  if (!isNumber(value)) return "–";
  if (kind === "bytes") return scaled(value, 1000, ["B", "kB", "MB", "GB", "TB"]);
  if (kind === "factor") return digits(value);
  if (kind === "count") return value < 10000 ? digits(value) : scaled(value, 1000, ["", "k", "M", "G", "T", "P", "E"]);
  if (value < 1) return `${digits(value * 1000)}\u202fms`;
  if (value < 600) return `${digits(value)}\u202fs`;
  if (value < 36000) return `${digits(value / 60)}\u202fmin`;
  return `${digits(value / 3600)}\u202fh`;
}

/** A value of a column in its unit, such as percent. */
const inColumn = (value, column) => (isNumber(value) ? (value * column.scale).toFixed(column.decimals).replace("-", "\u2212") : "–");
const signed = (value, column) => (value > 0 ? "+" : "") + inColumn(value, column);
const between = (low, high, column) => `${inColumn(low, column)} to ${inColumn(high, column)}`;

const field = (name) => data.fields.indexOf(name);
/** Whether a place has a score, and so every field. */
const whole = (place) => Boolean(place) && place.length === data.fields.length;
const significant = (p) => isNumber(p) && p < data.alpha;

/** What is known of a place of the matrix, by name; null where there is no cell. */
function placeOf(row, column) {
  const found = data.places[row]?.[column];
  return found ? Object.fromEntries(found.map((value, i) => [data.fields[i], value])) : null;
}

const said = (index) => (isNumber(index) ? data.texts[index] : "");
