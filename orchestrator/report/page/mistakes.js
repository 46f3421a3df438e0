// The errors of a task: utterances with audio, reference and answers, and confusion matrices.

const PAGE = 10;

function browse(details) {
  const task = data.mistakes[Number(details.dataset.column)];
  const place = details.querySelector(".browser");
  if (!task || place.dataset.made) return;
  place.dataset.made = "1";
  place.replaceChildren();
  if (task.kind === "classification") place.append(confusions(task));
  place.append(utterances(task));
}

const labelOf = (task, cell) => task.cells.find((one) => one.cell === cell)?.label ?? cell;

// Confusion matrices

function confusions(task) {
  const known = task.cells.filter((cell) => cell.labels?.length && cell.confusion?.length);
  if (!known.length) return el("p", { class: "signs" }, "There is no confusion matrix: no configuration is finished.");
  const frame = el("div", { class: "region", role: "region", tabindex: "0", "aria-label": `Confusion matrix of ${task.title}` });
  const show = (index) => frame.replaceChildren(confusion(task, known[index]));
  show(0);
  const choice = chooser("Confusion matrix of", known.map((cell, i) => [i, cell.label]), (value) => show(Number(value)));
  return el("div", {}, el("div", { class: "controls" }, choice), frame);
}

function confusion(task, cell) {
  const totals = cell.confusion.map((line) => line.reduce((a, b) => a + b, 0));
  const answers = cell.labels;
  const head = el("tr", {}, el("td", {}), answers.map((label) => el("th", { scope: "col", class: "answered" }, label)));
  const lines = cell.confusion.map((line, r) =>
    el("tr", {}, el("th", { scope: "row" }, cell.labels[r]),
      line.map((n, c) => el("td", {
        class: `${n ? `s${Math.round((n / (totals[r] || 1)) * STEPS)}` : "zero"}${answers[c] === cell.labels[r] ? " right" : ""}`,
        title: `${n} of ${totals[r]} ${cell.labels[r]} answered as ${answers[c]}`,
      }, String(n)))));
  return el("table", { class: "confusion" },
    el("caption", {}, `${task.title}, ${cell.label}: what was said (rows) against what was answered (columns), in utterances; right answers are framed, the shade is the share of a row${cell.others ? `; among the ${cell.others.labels} others, ${cell.others.confused} took one for another` : ""}`),
    el("thead", {}, head), el("tbody", {}, lines));
}

// Utterances

function utterances(task) {
  const box = el("div", {});
  if (!task.utterances.length) {
    box.append(el("p", { class: "signs" }, "There are no utterances to show."));
    return box;
  }
  const state = { by: "", page: 0 };
  const list = el("div", {});
  const told = el("span", { role: "status" });
  const back = el("button", { type: "button", onclick: () => turn(-1) }, "Previous");
  const on = el("button", { type: "button", onclick: () => turn(1) }, "Next");
  const pages = Math.ceil(task.utterances.length / PAGE);
  const worst = (utterance) => {
    const errors = utterance.answers.filter((one) => !state.by || one.cell === state.by).map((one) => one.errors).filter(isNumber);
    return errors.length ? errors.reduce((a, b) => a + b, 0) / errors.length : -Infinity;
  };
  const show = () => {
    // Of all configurations together the order is that of the data: the worst first.
    const ordered = state.by ? [...task.utterances].sort((a, b) => worst(b) - worst(a)) : task.utterances;
    const from = state.page * PAGE;
    const part = ordered.slice(from, from + PAGE);
    list.replaceChildren(...part.map((one) => utterance(task, one)));
    told.textContent = `${from + 1} to ${from + part.length} of ${ordered.length}`;
    back.disabled = state.page === 0;
    on.disabled = state.page >= pages - 1;
  };
  const turn = (step) => {
    state.page = Math.min(pages - 1, Math.max(0, state.page + step));
    show();
  };
  const choice = chooser("Worst for", [["", "all configurations"], ...task.cells.map((cell) => [cell.cell, cell.label])], (value) => {
    Object.assign(state, { by: value, page: 0 });
    show();
  });
  const paging = el("span", { class: "paging" }, back, on, told);
  box.append(el("div", { class: "controls" }, choice, paging));
  if (task.kind === "sequence") {
    box.append(el("p", { class: "signs diff" }, el("del", {}, "missing"), " was said and is not in the answer · ", el("ins", {}, "added"),
      " was not said · ", el("mark", {}, el("s", {}, "said"), "answered"), " stands for something else · % ", task.metric === "bleu" || task.metric === "chrf" ? "is what the answer lacks of chrF 100" : "are errors per word of the reference"));
  }
  box.append(list);
  show();
  return box;
}

function utterance(task, one) {
  const about = [one.id, one.speaker ? `speaker ${one.speaker}` : null].filter(Boolean).join(" · ");
  return el("article", { class: "utterance" },
    el("h4", {}, about),
    el("p", { class: "reference", lang: "und" }, one.reference || "(nothing was said)"),
    player(one),
    el("dl", { class: "answers" }, one.answers.map((answer) => answered(task, answer))));
}

function player(one) {
  const audio = one.audio ?? {};
  if (!audio.src) return el("p", { class: "mute" }, `No audio here${audio.why ? `: ${audio.why}` : ""}`);
  return el("audio", { controls: true, preload: "none", src: audio.src, "aria-label": `Recording of ${one.id}` });
}

function answered(task, answer) {
  const errors = !isNumber(answer.errors) ? "–" : task.kind === "classification" ? (answer.errors ? "wrong" : "right") : `${Math.round(answer.errors * 100)} %`;
  return el("div", { class: "answer" },
    el("dt", {}, labelOf(task, answer.cell)),
    el("dd", { class: "errors" }, errors),
    el("dd", { class: "said" }, answer.error ? el("span", { class: "mute" }, `failed: ${answer.error}`) : difference(task, answer)));
}

function difference(task, answer) {
  if (task.kind === "classification" || !answer.diff?.length) return el("span", {}, answer.answer || "(empty)");
  const parts = answer.diff.map(([kind, reference, text]) => {
    if (kind === "delete") return el("del", {}, reference);
    if (kind === "insert") return el("ins", {}, text);
    if (kind === "substitute") return el("mark", {}, el("s", {}, reference), text);
    return text;
  });
  return el("span", { class: "diff" }, parts.flatMap((part) => [part, " "]));
}

function makeMistakes() {
  for (const details of document.querySelectorAll("details.task")) {
    details.addEventListener("toggle", () => details.open && browse(details));
    if (details.open) browse(details);
  }
}
