// The page as a whole: theme, controls of the matrix, saving figures; and what happens as it opens.

const themeButton = byId("theme");
const prefersDark = matchMedia("(prefers-color-scheme: dark)");

const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : prefersDark.matches);

function showTheme() {
  themeButton.textContent = isDark() ? "Light" : "Dark";
  themeButton.setAttribute("aria-label", `${isDark() ? "Light" : "Dark"} theme`);
}

function makeTheme() {
  themeButton.hidden = false;
  themeButton.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    showTheme();
  });
  prefersDark.addEventListener("change", showTheme);
  showTheme();
}

/** Controls follow whatever changed the matrix. */
function onChange() {
  byId("view").value = view.name;
  byId("sort").value = String(sorting.by);
  const direction = byId("direction");
  direction.disabled = sorting.by < 0;
  direction.textContent = sorting.by < 0 ? "–" : sorting.descending ? "▼" : "▲";
  direction.setAttribute("aria-label", sorting.by < 0 ? "Direction of sorting" : `Sorted ${sorting.descending ? "downwards" : "upwards"}: turn round`);
  writeAddress();
}

function makeControls() {
  byId("view").append(...VIEWS.map((one) => el("option", { value: one.name }, one.title)));
  const titles = [...data.labels, ...data.columns.map((column) => `${column.title} ${column.heading}`)];
  byId("sort").append(el("option", { value: "-1" }, "the space's order"), ...titles.map((title, by) => el("option", { value: String(by) }, title)));
  byId("view").addEventListener("change", (event) => {
    showView(event.target.value);
    sortRows();
    onChange();
  });
  byId("sort").addEventListener("change", (event) => sortBy(Number(event.target.value), startsDescending(Number(event.target.value))));
  byId("direction").addEventListener("click", () => sortBy(sorting.by, !sorting.descending));
  find.addEventListener("input", applyFilters);
  byId("clear").addEventListener("click", clearAll);
  byId("controls").addEventListener("submit", (event) => event.preventDefault());
  byId("controls").hidden = false;
}

/** The place in which a cell stands; null where there is none of that id. */
function placeOfCell(id) {
  const has = (place) => place && (place[field("problems")].some(([, cell]) => cell === id) || (whole(place) && place[field("cells")].includes(id)));
  for (const row of rows) {
    const c = id ? data.places[row.index].findIndex(has) : -1;
    if (c >= 0) return row.places[c];
  }
  return null;
}

/** Shows what the address says; false where it says nothing of the matrix. */
function fromAddress() {
  const cell = new URLSearchParams(location.hash.slice(1)).get("cell"); // before the address is written anew
  if (!readAddress()) return false;
  showView(view.name);
  sortRows();
  applyFilters();
  byId("matrix").scrollIntoView();
  const wanted = placeOfCell(cell);
  if (wanted) pin(wanted);
  return true;
}

/** A figure as a file of its own: on white, with dark ink, whatever the theme. */
function save(button) {
  const drawn = button.closest("figure").querySelector("svg").cloneNode(true);
  drawn.setAttribute("xmlns", SVG);
  drawn.style.color = "#1c2126";
  drawn.style.background = "#ffffff";
  const address = URL.createObjectURL(new Blob([new XMLSerializer().serializeToString(drawn)], { type: "image/svg+xml" }));
  el("a", { href: address, download: `${button.dataset.name}.svg` }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10000);
}

/** Figures that are far below are laid out once there is time: the page opens quickly, and then a link leads where it says. */
function openQuickly() {
  const whenIdle = window.requestIdleCallback ?? ((then) => setTimeout(then, 200)); // Safari has none
  root.dataset.opening = "";
  addEventListener("load", () => whenIdle(() => delete root.dataset.opening, { timeout: 1000 }));
}

root.dataset.scripted = "";
openQuickly();
makeTheme();
makeSortable();
makeFilters();
makeControls();
fromAddress() || applyFilters();
makeWalkable();
makeSticky();
makeCards();
makeStages();
makeMistakes();
for (const button of document.querySelectorAll(".save")) button.addEventListener("click", () => save(button));
addEventListener("hashchange", fromAddress);
root.dataset.ready = String(Math.round(performance.now()));
