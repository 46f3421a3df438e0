// The card beside a place: how sure its score is, what it cost, or why there is none.

const card = byId("card");
let carded = null;
let leaving = 0;
let dismissed = -Infinity;

const CELL_STATUS = { failed: "failed", missing: "not finished", stale: "stale", absent: "not in this space" };

function line(list, term, text) {
  if (text !== "" && text !== null && text !== undefined) list.append(el("dt", {}, term), el("dd", {}, text));
}

function cardOf(row, c) {
  const column = data.columns[c];
  const known = placeOf(row.index, c);
  const parts = [el("p", { class: "where" }, `${rowName(row)} · ${column.title}`)];
  if (row.trivial) return [...parts, ...trivialCard(row, c, column)];
  if (!known) return [...parts, el("p", { class: "said" }, "This space has no such cell.")];
  if (isNumber(known.value)) parts.push(...scoreCard(row, c, known, column));
  else parts.push(el("p", { class: "score" }, CELL_STATUS[said(known.status)] ?? said(known.status)));
  parts.push(...problemParts(known.problems));
  return parts;
}

function trivialCard(row, c, column) {
  return [
    el("p", { class: "score" }, `${textOf(row.places[c])} `, el("small", {}, column.heading)),
    el("p", { class: "said" }, "The score of a trivial answer: the majority label, or an empty text."),
  ];
}

function problemParts(problems) {
  return problems.map(([status, cell, reason, log, seed]) =>
    el("div", {},
      el("h4", {}, `${said(status)} · cell ${cell}${isNumber(seed) ? ` · seed ${seed}` : ""}`),
      el("p", { class: "said" }, said(reason) || "It has not run yet, or has not finished."),
      log === null ? null : el("p", { class: "said" }, "log: ", el("code", {}, said(log)))),
  );
}

function scoreCard(row, c, known, column) {
  const marks = textOf(row.places[c]);
  const list = el("dl", {});
  if (isNumber(known.low)) line(list, "95 % interval", `${between(known.low, known.high, column)}`);
  if (known.drawn !== null) line(list, "resampled", said(known.drawn));
  line(list, "test utterances", isNumber(known.n) ? known.n.toLocaleString("en") : "");
  const [done, all] = known.seeds;
  const spread = isNumber(known.deviation) ? `, ± ${inColumn(known.deviation, column)}` : "";
  line(list, "seeds", done === all ? `${done}${spread}` : `${done} of ${all} finished${spread}`);
  line(list, "on the dev set", isNumber(known.dev) ? inColumn(known.dev, column) : "");
  for (const [name, value, scale] of known.others) line(list, said(name), isNumber(value) ? (value * scale).toFixed(column.decimals) : "");
  line(list, "published", said(known.published));
  if (known.stopped !== null) line(list, "training ended", said(known.stopped) === "budget" ? "by its budget †" : "at its plateau");
  const parts = [el("p", { class: "score" }, `${marks} `, el("small", {}, column.heading))];
  const strip = interval(known, column, c);
  if (strip) parts.push(strip);
  parts.push(list, ...comparison(known, column));
  const costs = el("dl", {});
  known.costs.forEach((value, i) => isNumber(value) && line(costs, data.costs[i][1], cost(value, data.costs[i][2])));
  if (costs.childElementCount) parts.push(el("h4", {}, "Cost"), costs);
  const cells = el("dl", {});
  line(cells, known.cells.length > 1 ? "cells" : "cell", known.cells.join(" "));
  parts.push(cells);
  return parts;
}

const chance = (p) => (p < 1e-300 ? "<1e-300" : p < 0.0001 ? p.toExponential(0) : digits(p));

function comparison(known, column) {
  if (isNumber(known.difference)) {
    const list = el("dl", {});
    line(list, `minus ${said(known.against)}`, signed(known.difference, column));
    if (isNumber(known.difference_low)) line(list, "95 % interval", `${signed(known.difference_low, column)} to ${signed(known.difference_high, column)}`);
    if (isNumber(known.p)) line(list, "p (Holm)", `${chance(known.p)}, ${significant(known.p) ? "significant *" : "not significant"}`);
    return [el("h4", {}, "Difference"), list];
  }
  if (known.uncompared === null) return known.low === null ? [el("p", { class: "said" }, "No interval was computed here.")] : [];
  return [el("h4", {}, "Difference"), el("p", { class: "said" }, `not compared: ${said(known.uncompared)}`)];
}

/** The interval of a place within the range of its column, with the score of guessing as a dashed line. */
function interval(known, column, c) {
  if (!isNumber(known.low)) return null;
  const all = data.places.flatMap((line) => (whole(line[c]) ? [line[c][field("low")], line[c][field("high")], line[c][field("value")]] : [])).concat(column.floor).filter(isNumber);
  const low = all.reduce((a, b) => Math.min(a, b));
  const high = all.reduce((a, b) => Math.max(a, b));
  const x = (value) => (high > low ? 4 + (312 * (value - low)) / (high - low) : 160);
  const ink = { stroke: "currentColor", "stroke-width": 2 };
  const drawn = shape("svg", { viewBox: "0 0 320 34", "aria-hidden": "true", preserveAspectRatio: "none" },
    shape("line", { x1: 4, x2: 316, y1: 14, y2: 14, stroke: "currentColor", "stroke-opacity": 0.25 }),
    shape("line", { x1: x(known.low), x2: x(known.high), y1: 14, y2: 14, ...ink, "stroke-width": 6, "stroke-opacity": 0.45 }),
    shape("line", { x1: x(known.value), x2: x(known.value), y1: 6, y2: 22, ...ink, "stroke-width": 3 }));
  if (isNumber(column.floor)) {
    drawn.append(shape("line", { x1: x(column.floor), x2: x(column.floor), y1: 4, y2: 24, ...ink, "stroke-width": 1.5, "stroke-dasharray": "3 2" }));
    const end = x(column.floor) > 160 ? "end" : "start";
    const word = shape("text", { x: x(column.floor), y: 33, "font-size": 10, fill: "currentColor", "text-anchor": end });
    word.textContent = "guessing";
    drawn.append(word);
  }
  return drawn;
}

function showCard(td) {
  clearTimeout(leaving);
  if (carded === td) return;
  hideCard();
  const [r, c] = positions.get(td);
  const close = el("button", { type: "button", class: "close", tabindex: "-1", "aria-label": "Close", onclick: dismiss }, "✕");
  card.replaceChildren(close, ...cardOf(rows[r], c));
  card.hidden = false;
  carded = td;
  td.classList.add("open");
  td.setAttribute("aria-describedby", "card");
  putCard();
}

function hideCard() {
  clearTimeout(leaving);
  carded?.classList.remove("open");
  carded?.removeAttribute("aria-describedby");
  carded = null;
  card.hidden = true;
}

/** Closed by its reader: what then comes to lie under the pointer does not open the next one. */
function dismiss() {
  dismissed = performance.now();
  hideCard();
}

/** Beside its place, where there is room; a narrow screen has it at its foot, by style. */
function putCard() {
  if (!carded) return;
  const at = carded.getBoundingClientRect();
  const { offsetWidth: width, offsetHeight: height } = card;
  const wide = root.clientWidth;
  const right = at.right + 10;
  const left = right + width < wide ? right : at.left - 10 - width > 0 ? at.left - 10 - width : Math.max(8, wide - width - 8);
  const beside = left === right || left === at.left - 10 - width;
  const top = beside ? at.top - 20 : at.bottom + 8;
  card.style.left = `${left}px`;
  card.style.top = `${Math.max(8, Math.min(top, innerHeight - height - 8))}px`;
}

const leave = () => {
  clearTimeout(leaving);
  leaving = setTimeout(() => document.activeElement?.closest("#grid td") ? showCard(document.activeElement.closest("#grid td")) : hideCard(), 180);
};

/** A click or a tap keeps the card open. */
function pin(td) {
  makeCurrent(td);
  td.focus({ preventScroll: true });
  showCard(td);
  const covered = td.getBoundingClientRect().bottom + 12 - card.getBoundingClientRect().top;
  if (covered > 0 && card.offsetWidth === root.clientWidth) window.scrollBy(0, covered); // the card at the foot of a phone
}

function makeCards() {
  const td = (event) => event.target.closest?.("td");
  body.addEventListener("pointerover", (event) => {
    if (event.pointerType === "touch" || performance.now() - dismissed < 400) return;
    if (positions.has(td(event))) showCard(td(event));
  });
  body.addEventListener("pointerleave", (event) => event.pointerType !== "touch" && leave());
  card.addEventListener("pointerenter", () => clearTimeout(leaving));
  card.addEventListener("pointerleave", (event) => event.pointerType !== "touch" && leave());
  body.addEventListener("focusin", (event) => {
    if (!td(event) || !positions.has(td(event))) return;
    makeCurrent(td(event));
    showCard(td(event));
  });
  body.addEventListener("focusout", (event) => !card.contains(event.relatedTarget) && leave());
  body.addEventListener("click", (event) => td(event) && positions.has(td(event)) && pin(td(event)));
  document.addEventListener("keydown", (event) => event.key === "Escape" && dismiss());
  document.addEventListener("pointerdown", (event) => !card.contains(event.target) && !event.target.closest("#grid td") && hideCard());
  for (const moved of [byId("frame"), window]) moved.addEventListener("scroll", () => carded && requestAnimationFrame(putCard), { passive: true });
}
