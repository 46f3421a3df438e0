// The stages behind one cell: its own, and its share of those that it has in common with others.

const rowName = (row) => row.labels.map((label, i) => (label === "–" || label === "" ? null : i ? `${data.labels[i]} ${label}` : label)).filter(Boolean).join(", ");

function makeStages() {
  const box = byId("stages");
  const known = rows.filter((row) => data.places[row.index].some((one) => whole(one) && one[field("stages")].length));
  if (!box || !known.length) return;
  const chosen = { row: known[0].index, column: 0 };
  const frame = el("div", { class: "region", role: "region", tabindex: "0", "aria-label": "Stages behind one cell" });
  const show = () => frame.replaceChildren(stagesOf(chosen.row, chosen.column));
  const choose = (name) => (value) => {
    chosen[name] = Number(value);
    show();
  };
  box.append(
    el("p", { class: "caption" }, "Behind one cell"),
    el("div", { class: "controls" },
      chooser("Row", known.map((row) => [row.index, rowName(row)]), choose("row")),
      chooser("Column", data.columns.map((column, c) => [c, column.title]), choose("column"))),
    frame);
  show();
}

function stagesOf(row, c) {
  const found = placeOf(row, c)?.stages ?? [];
  if (!found.length) return el("p", { class: "lead" }, "Nothing is known of its stages: it is not finished, or was made without records of them.");
  const lines = found.map((one) => (isNumber(one) ? data.stages[one] : one));
  const total = lines.reduce((sum, [, seconds, cells]) => sum + seconds / Math.max(1, cells), 0);
  const heads = ["stage", "of", "whole", "needed by", "falls to it", "device", "peak memory"];
  return el("table", { class: "plain", "aria-label": "Stages behind one cell" },
    el("thead", {}, el("tr", {}, heads.map((head, i) => el("th", { scope: "col", class: i < 2 ? "name" : null }, head)))),
    el("tbody", {}, lines.map(stageLine),
      el("tr", {}, el("th", { scope: "row", class: "name" }, "in all"), ["", "", ""].map((text) => el("td", {}, text)), el("td", {}, cost(total, "seconds")), el("td"), el("td"))));
}

function stageLine([stage, seconds, cells, device, memory, name]) {
  const texts = [cost(seconds, "seconds"), cells === 1 ? "it alone" : `${cells} cells`, cost(seconds / Math.max(1, cells), "seconds"), said(device), cost(memory, "bytes")];
  return el("tr", {},
    el("th", { scope: "row", class: "name" }, said(stage)),
    el("td", { class: "name" }, isNumber(name) ? said(name) : "this cell"),
    texts.map((text) => el("td", {}, text)));
}
