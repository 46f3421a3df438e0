// What the places show: scores, differences from the baseline, or a cost.

const STEPS = 24;
const VIEWS = [
  { name: "score", title: "score", kind: "score" },
  ...(data.places.some((row) => row.some((place) => whole(place) && isNumber(place[field("difference")])))
    ? [{ name: "difference", title: "difference from the baseline", kind: "difference" }]
    : []),
  ...data.views.map((i) => ({ name: data.costs[i][0], title: data.costs[i][1], kind: "cost", cost: i, unit: data.costs[i][2] })),
];
let view = VIEWS[0];

/** What a place shows as a score: its text with its marks and its shade, kept where another view has taken their room. */
const originals = new Map();
const textOf = (td) => originals.get(td)?.text ?? td.textContent;

/** The number that a place shows in the present view; null where it has none. */
function viewed(row, c) {
  const place = data.places[row.index][c];
  if (view.kind === "score") {
    if (whole(place)) return place[field("value")];
    return row.trivial ? data.columns[c].baseline : null;
  }
  if (!whole(place)) return null;
  return view.kind === "difference" ? place[field("difference")] : place[field("costs")][view.cost];
}

const WORDS = {
  score: "light: no better than guessing · dark: the best of its column",
  difference: "orange: worse than its baseline · white: alike · violet: better (the largest difference of the column is the darkest)",
  cost: "light: cheapest · dark: dearest of all places (logarithmic)",
};

function showView(name) {
  view = VIEWS.find((one) => one.name === name) ?? VIEWS[0];
  const values = rows.map((row) => row.places.map((_, c) => viewed(row, c)));
  const shade = shader(values);
  rows.forEach((row, r) => {
    row.places.forEach((td, c) => {
      if (view.kind === "score") {
        restore(td);
        return;
      }
      const value = values[r][c];
      const place = data.places[r][c];
      if (whole(place) || row.trivial) {
        if (!originals.has(td)) originals.set(td, { text: td.textContent, parts: [...td.childNodes], shade: td.className });
        td.textContent = written(value, c) + (view.kind === "difference" && whole(place) && significant(place[field("p")]) ? "*" : "");
        td.className = isNumber(value) ? shade(value, c) : "absent";
      }
    });
  });
  byId("legend-words").textContent = WORDS[view.kind];
  byId("legend-scale").querySelector(".scale").className = `scale ${view.kind === "difference" ? "d" : "s"}`;
}

function restore(td) {
  const original = originals.get(td);
  if (!original) return;
  td.className = original.shade;
  td.replaceChildren(...original.parts);
  originals.delete(td);
}

function written(value, c) {
  if (!isNumber(value)) return "–";
  return view.kind === "difference" ? signed(value, data.columns[c]) : cost(value, view.unit);
}

/** The class of the shade of a value in the present view. */
function shader(values) {
  if (view.kind === "difference") {
    const largest = data.columns.map((_, c) => Math.max(0, ...values.map((line) => Math.abs(line[c] ?? 0))));
    return (value, c) => {
      const better = largest[c] ? (value * data.columns[c].better) / largest[c] : 0;
      return `d${Math.round(((better + 1) / 2) * STEPS)}`;
    };
  }
  const logs = values.flat().filter((value) => isNumber(value) && value > 0).map(Math.log);
  const [low, high] = logs.reduce(([a, b], value) => [Math.min(a, value), Math.max(b, value)], [Infinity, -Infinity]);
  return (value) => `s${value > 0 && high > low ? Math.round(((Math.log(value) - low) / (high - low)) * STEPS) : 0}`;
}
