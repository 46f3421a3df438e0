// Which rows and columns are shown; and the view in the address, so that it can be shared.

/** What is chosen: for each filter the wanted values, empty for all. */
const filters = [];
const find = byId("find");

function makeFilter(title, name, values, hides) {
  const filter = { title, name, wanted: new Set(), values, hides, boxes: [] };
  const summary = el("summary", {}, title);
  const choices = values.map((value) => {
    const box = el("input", { type: "checkbox", value });
    box.addEventListener("change", () => {
      filter.wanted[box.checked ? "add" : "delete"](value);
      applyFilters();
    });
    filter.boxes.push(box);
    return el("label", {}, box, value);
  });
  const choice = el("fieldset", {}, el("legend", { class: "unseen" }, `Show only these: ${title}`), choices);
  const menu = el("details", { class: "filter" }, summary, choice);
  menu.addEventListener("toggle", () => {
    if (!menu.open) return;
    choice.style.left = "0"; // below its button, but never beyond the edge of the page
    const beyond = choice.getBoundingClientRect().right + 8 - root.clientWidth;
    if (beyond > 0) choice.style.left = `${-beyond}px`;
  });
  menu.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !menu.open) return;
    menu.open = false;
    summary.focus();
  });
  menu.addEventListener("focusout", (event) => {
    if (event.relatedTarget && !menu.contains(event.relatedTarget)) menu.open = false;
  });
  filter.show = () => {
    filter.boxes.forEach((box) => (box.checked = filter.wanted.has(box.value)));
    summary.textContent = filter.wanted.size ? `${title}: ${[...filter.wanted].join(", ")}` : title;
    menu.toggleAttribute("data-on", filter.wanted.size > 0);
  };
  filters.push(filter);
  byId("filters").append(menu);
}

function makeFilters() {
  data.labels.forEach((title, i) => {
    const values = [...new Set(rows.filter((row) => !row.trivial).map((row) => row.labels[i]))].sort(collator.compare);
    if (values.length > 1) makeFilter(title, title, values, (row, wanted) => !wanted.has(row.labels[i]));
  });
  const titles = data.columns.map((column) => column.title);
  if (titles.length > 1) makeFilter("columns", "columns", [...new Set(titles)], () => false);
  const statuses = [...new Set(rows.flatMap((row) => row.places.map(statusOf)))].filter((status) => status !== "absent" && status !== "none");
  if (statuses.length > 1) makeFilter("status", "status", statuses, (row, wanted) => !row.places.some((td) => !td.hidden && wanted.has(statusOf(td))));
  document.addEventListener("pointerdown", (event) => {
    for (const menu of document.querySelectorAll(".filter[open]")) if (!menu.contains(event.target)) menu.open = false;
  });
}

const positions = new Map(rows.flatMap((row) => row.places.map((td, c) => [td, [row.index, c]])));

function statusOf(td) {
  const [r, c] = positions.get(td);
  const known = data.places[r][c];
  if (!known) return rows[r].trivial ? "none" : "absent";
  const status = said(known[0]);
  return status === "ok" ? "finished" : status;
}

function applyFilters() {
  const columns = filters.find((filter) => filter.name === "columns");
  data.columns.forEach((column, c) => {
    const hidden = Boolean(columns?.wanted.size) && !columns.wanted.has(column.title);
    if (heads[LABELS + c].hidden === hidden) return;
    heads[LABELS + c].hidden = hidden;
    for (const row of rows) row.places[c].hidden = hidden;
  });
  const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
  const active = filters.filter((filter) => filter.wanted.size);
  let shown = 0;
  for (const row of rows) {
    const text = row.labels.join(" ").toLowerCase();
    const hidden = !row.trivial && (active.some((filter) => filter.hides(row, filter.wanted)) || words.some((word) => !text.includes(word)));
    if (row.tr.hidden !== hidden) row.tr.hidden = hidden;
    if (!row.trivial && !hidden) shown += 1;
  }
  const all = rows.filter((row) => !row.trivial).length;
  byId("shown").textContent = `${shown} of ${all} ${all === 1 ? "row" : "rows"} shown${shown ? "" : ": nothing fits these filters"}`;
  for (const filter of filters) filter.show();
  keepCurrent();
  onChange();
}

function clearAll() {
  for (const filter of filters) filter.wanted.clear();
  find.value = "";
  Object.assign(sorting, { by: -1, descending: false });
  showView("score");
  sortRows();
  applyFilters();
}

// The address says what is shown: #sort=asr&view=difference&codebook=200.

function headName(by) {
  return by < LABELS ? data.labels[by] : String(by - LABELS);
}

function writeAddress() {
  const said = new URLSearchParams();
  if (view.name !== "score") said.set("view", view.name);
  if (sorting.by >= 0) said.set("sort", `${headName(sorting.by)}.${sorting.descending ? "down" : "up"}`);
  if (find.value) said.set("find", find.value);
  for (const filter of filters) for (const value of filter.wanted) said.append(`is.${filter.name}`, value);
  const hash = said.toString() ? `#${said}` : location.pathname + location.search;
  if (!said.toString() && !location.hash.includes("=")) return;
  try {
    history.replaceState(null, "", hash);
  } catch {
    if (said.toString()) location.hash = said.toString();
  }
}

function readAddress() {
  if (!location.hash.includes("=")) return false;
  const said = new URLSearchParams(location.hash.slice(1));
  view = VIEWS.find((one) => one.name === said.get("view")) ?? VIEWS[0];
  const [, name, way] = said.get("sort")?.match(/^(.*)\.(up|down)$/) ?? [];
  sorting.by = heads.findIndex((_, by) => headName(by) === name);
  sorting.descending = way === "down";
  find.value = said.get("find") ?? "";
  for (const filter of filters) filter.wanted = new Set(said.getAll(`is.${filter.name}`).filter((value) => filter.values.includes(value)));
  return true;
}
