// The table of the matrix: its rows and places, sorting, and walking over it with the arrow keys.

const grid = byId("grid");
const body = grid.tBodies[0];
const LABELS = data.labels.length;
const rows = [...body.rows].map((tr, index) => ({
  tr,
  index,
  labels: [...tr.cells].slice(0, LABELS).map((th) => (th.querySelector(".full") ?? th).textContent),
  places: [...tr.cells].slice(LABELS),
  trivial: tr.className === "baseline",
}));
const heads = [...grid.tHead.rows[0].cells];

/** What is sorted by: -1 the order of the space, else a column of the table, labels first. */
const sorting = { by: -1, descending: false };

/** What rows are sorted by in a column; null stands last in both directions. */
function sortKey(row, by) {
  if (by < LABELS) return row.labels[by] === "–" || row.labels[by] === "" ? null : row.labels[by];
  return viewed(row, by - LABELS);
}

const collator = new Intl.Collator("en", { numeric: true });

function sortRows() {
  const { by, descending } = sorting;
  const turn = descending ? -1 : 1;
  const keyed = rows.map((row) => ({ row, key: by < 0 ? row.index : sortKey(row, by) }));
  keyed.sort((a, b) => {
    if (a.key === null || b.key === null) return (a.key === null) - (b.key === null) || a.row.index - b.row.index;
    const order = typeof a.key === "number" ? a.key - b.key : collator.compare(a.key, b.key);
    return turn * order || a.row.index - b.row.index;
  });
  body.append(...keyed.map(({ row }) => row.tr));
  heads.forEach((th, i) => {
    if (i === by) th.setAttribute("aria-sort", descending ? "descending" : "ascending");
    else th.removeAttribute("aria-sort");
  });
}

/** Whether the first click on a column sorts downwards: the best of a score first, the cheapest of a cost. */
const startsDescending = (by) => by >= LABELS && view.kind !== "cost" && data.columns[by - LABELS].better > 0;

function sortBy(by, descending) {
  sorting.by = by;
  sorting.descending = descending;
  sortRows();
  onChange();
}

/** A click on a heading: sorted, then the other way round, then as it was. */
function turnSorting(by) {
  const start = startsDescending(by);
  if (sorting.by !== by) sortBy(by, start);
  else if (sorting.descending === start) sortBy(by, !start);
  else sortBy(-1, false);
}

function makeSortable() {
  heads.forEach((th, by) => {
    const button = el("button", { type: "button", onclick: () => turnSorting(by) });
    button.append(...th.childNodes);
    th.append(button);
  });
}

// Walking: one place is in the tab order, arrow keys go to its neighbours that are shown.

let current = null;

function makeCurrent(td) {
  if (current === td) return;
  if (current) current.tabIndex = -1;
  current = td;
  if (td) td.tabIndex = 0; // the others can't be focused until they are walked to, or clicked
}

const visibleRows = () => [...body.rows].filter((tr) => !tr.hidden && tr.className !== "nothing");
const visiblePlaces = (tr) => [...tr.cells].filter((cell) => cell.tagName === "TD" && !cell.hidden);

function keepCurrent() {
  if (current && !current.hidden && !current.parentElement.hidden) return;
  const first = visibleRows()[0];
  makeCurrent(first ? visiblePlaces(first)[0] ?? null : null);
}

function walk(event) {
  const td = event.target.closest("td");
  if (!td || event.altKey || event.metaKey) return;
  const lines = visibleRows();
  const r = lines.indexOf(td.parentElement);
  const line = visiblePlaces(td.parentElement);
  const c = line.indexOf(td);
  if (r < 0 || c < 0) return;
  const to = {
    ArrowRight: [r, c + 1], ArrowLeft: [r, c - 1], ArrowDown: [r + 1, c], ArrowUp: [r - 1, c],
    Home: [event.ctrlKey ? 0 : r, 0], End: [event.ctrlKey ? lines.length - 1 : r, line.length - 1],
    PageDown: [Math.min(r + 10, lines.length - 1), c], PageUp: [Math.max(r - 10, 0), c],
  }[event.key];
  if (!to) return;
  event.preventDefault();
  const next = lines[to[0]] && visiblePlaces(lines[to[0]])[to[1]];
  if (next) {
    makeCurrent(next);
    next.focus();
    next.scrollIntoView({ block: "nearest", inline: "nearest" });
  } else if (event.key === "ArrowUp") heads[td.cellIndex].querySelector("button").focus();
}

function makeWalkable() {
  grid.setAttribute("role", "grid");
  body.addEventListener("keydown", walk);
  keepCurrent();
}

/** Sticky labels stand beside each other: each starts where those before it end. Too wide for that, they share one column. */
function makeSticky() {
  const style = el("style");
  document.head.append(style);
  let needed = 0;
  const put = () => {
    const widths = heads.slice(0, LABELS).map((th) => th.offsetWidth);
    if (!grid.classList.contains("stacked")) needed = widths.reduce((a, b) => a + b, 0);
    grid.classList.toggle("stacked", LABELS > 1 && needed > byId("frame").clientWidth * 0.5);
    let left = 0;
    const rules = widths.map((width, i) => {
      left += width;
      return `.heat .l${i} { left: ${left - width}px; }`;
    }).join("\n");
    if (style.textContent !== rules) style.textContent = rules;
  };
  const observer = new ResizeObserver(put);
  observer.observe(grid);
  observer.observe(byId("frame"));
}
