"use strict";
// The figures of the report: ROC curves, learning curves, histograms.

const DASHES = ["", " dashed", " dotted"];  // ten colours, then the same ten dashed

function classesOf(slot) { return `s${slot % 10}${DASHES[Math.floor(slot / 10) % 3]}`; }

// The scores asked for; those of the other set of views where a run has no others.
function sampleOf(run, state) {
  for (const name of [state.variant, state.variant === "tta" ? "plain" : "tta"]) {
    const sample = run.variants[name] && run.variants[name][state.kind];
    if (sample && sample.roc) return { sample, other: name !== state.variant, name };
  }
  return null;
}

function labelOf(run, found, state) {
  if (!found.other) return run.name;
  return `${run.name} (${state.variant === "tta" ? "without" : "with"} TTA)`;
}

function nothing(canvas, text) {
  canvas.textContent = "";
  element("p", { class: "nothing" }, canvas, text);
}

// Draw one experiment's lines stronger than the others.
function stress(host, run) {
  const svg = host.parentNode.querySelector("svg");
  if (!svg) return;
  svg.classList.toggle("focused", run !== null);
  for (const path of svg.querySelectorAll(".line")) path.classList.toggle("strong", path.dataset.run === run);
}

// A small table: a swatch, a name, and numbers.
function legend(host, heads, rows, caption) {
  host.textContent = "";
  if (!rows.length) return;
  const table = element("table", {}, host);
  element("caption", { class: "sr" }, table, caption);
  const head = element("tr", {}, element("thead", {}, table));
  element("td", {}, head);
  element("th", { scope: "col" }, head, "experiment");
  for (const text of heads) element("th", { scope: "col", class: "num" }, head, text);
  const body = element("tbody", {}, table);
  for (const row of rows) {
    const item = element("tr", {}, body);
    const cell = element("td", { class: "swatch-cell" }, item);
    element("div", { class: `swatch ${row.classes}` }, cell);
    element("th", { scope: "row" }, item, row.name);
    for (const value of row.values) {
      const shown = element("td", { class: "num" }, item, value[0]);
      if (value[1]) element("small", {}, shown, ` ${value[1]}`);
    }
    item.addEventListener("pointerenter", () => stress(host, row.run));
    item.addEventListener("pointerleave", () => stress(host, null));
  }
}

const KINDS = { oof: "out of fold", test: "test samples" };

function drawRoc(figure, chosen, state) {
  const canvas = figure.querySelector(".canvas");
  const curves = chosen
    .map(({ run, slot }) => ({ run, slot, found: sampleOf(run, state) }))
    .filter((c) => c.found)
    .map((c) => ({ ...c, roc: c.found.sample.roc, label: labelOf(c.run, c.found, state), classes: classesOf(c.slot) }))
    .sort((a, b) => b.found.sample.auc - a.found.sample.auc);
  const missing = chosen.length - curves.length;
  const percent = (v) => (v === null || v === undefined ? "–" : `${(100 * v).toFixed(1)} %`);
  legend(figure.querySelector(".legend"), ["AUC", "found at 1 %", "at 0.1 %"], curves.map((c) => ({
    classes: c.classes, name: c.label, run: c.run.name,
    values: [
      [c.found.sample.auc.toFixed(4), c.found.sample.error === null ? "" : `± ${c.found.sample.error.toFixed(4)}`],
      [percent(c.found.sample.found[0])], [percent(c.found.sample.found[1])],
    ],
  })), "AUC, and share of signals found at two false-alarm probabilities");
  if (!curves.length) {
    nothing(canvas, chosen.length
      ? `None of the experiments shown has a ROC curve of its ${KINDS[state.kind]}.`
      : "Choose an experiment above.");
    return;
  }
  const logarithmic = state.axis === "log";
  const smallest = Math.min(0.1, ...curves.map((c) => c.roc.x.find((v) => v > 0) || 1));
  const low = logarithmic ? 10 ** Math.floor(Math.log10(smallest) + 1e-9) : 0;
  const names = curves.map((c) => `${c.label} ${c.found.sample.auc.toFixed(4)}`).join(", ");
  const plot = frame(canvas, {
    height: (width) => Math.min(470, Math.max(260, width * 0.74)),
    x: { low, high: 1, log: logarithmic, label: "false-alarm probability" },
    y: { low: 0, high: 1, label: "efficiency (signals found)" },
    below: true,  // where a ROC curve never is
    title: `ROC curves, ${KINDS[state.kind]}`,
    describe: `AUC: ${names}. The arrow keys move the read-out.`,
  });
  const diagonal = logarithmic ? Array.from({ length: 101 }, (_, i) => low ** (1 - i / 100)) : [0, 1];
  line(plot, diagonal, diagonal, "").setAttribute("class", "diagonal frame");
  for (const c of [...curves].reverse()) {
    let xs = c.roc.x, ys = c.roc.y;
    if (logarithmic) {  // begin at the edge, at the height that the curve has there
      const start = xs.findIndex((v) => v > low);
      xs = [low, ...xs.slice(start)];
      ys = [interpolate(c.roc.x, c.roc.y, low), ...ys.slice(start)];
    }
    line(plot, xs, ys, c.classes, c.run.name);
  }
  follow(plot, (x) => ({
    x, title: `false-alarm probability ${short(+x.toPrecision(3))}`,
    rows: curves
      .map((c) => ({ classes: c.classes, name: c.label, y: interpolate(c.roc.x, c.roc.y, x) }))
      .sort((a, b) => b.y - a.y)
      .map((row) => ({ ...row, value: row.y.toFixed(3) })),
  }), smooth(plot));
  if (missing) {
    element("p", { class: "nothing" }, figure.querySelector(".legend"),
      `${missing} of the experiments shown ${missing > 1 ? "have" : "has"} none.`);
  }
}

function mean(values) {
  const there = values.filter((v) => v !== null && v !== undefined);
  return there.length ? there.reduce((a, b) => a + b, 0) / there.length : null;
}

// The mean over folds at every epoch, of the folds that got so far.
function meanCurve(history, key) {
  const byEpoch = new Map();
  for (const fold of Object.values(history)) {
    fold.epoch.forEach((epoch, i) => {
      if (fold[key][i] === null) return;
      if (!byEpoch.has(epoch)) byEpoch.set(epoch, []);
      byEpoch.get(epoch).push(fold[key][i]);
    });
  }
  const epochs = [...byEpoch.keys()].sort((a, b) => a - b);
  return { x: epochs, y: epochs.map((e) => mean(byEpoch.get(e))), all: epochs.map((e) => byEpoch.get(e)) };
}

function metricLabel(key, runs) {
  const metrics = new Set(runs.map((run) => run.metric));
  const metric = metrics.size === 1 ? [...metrics][0] : "metric";
  const name = key.replace(/_/g, " ").replace("valid ", "validation ").replace("train ", "training ");
  return name.replace(/ metric$/, ` ${metric}`);
}

// The lines of orientation of a quantity: each once, whichever experiments have it.
function linesOf(curves, key) {
  const kind = key.endsWith("loss") || key === BY_STEP ? "loss" : key.endsWith("metric") ? "metric" : null;
  const found = new Map();
  for (const { run } of curves) {
    for (const each of (kind && run.lines[kind]) || []) found.set(`${each.name} ${each.value}`, each);
  }
  return [...found.values()];
}

// The training loss within the epochs is a curve of its own points, beside those of the epochs.
const BY_STEP = "train_loss_by_step";

function foldsOf(run, key) {
  if (key !== BY_STEP) return Object.values(run.history).filter((fold) => fold[key]);
  return Object.values(run.by_step).map((fold) => ({ epoch: fold.epoch, [key]: fold.train_loss }));
}

// The mean over folds at the points of the first; another fold may have a step more or less.
function meanByStep(folds, key) {
  if (!folds.length) return { x: [], y: [], all: [] };
  const longest = folds.reduce((a, b) => (b.epoch[b.epoch.length - 1] > a.epoch[a.epoch.length - 1] ? b : a));
  const all = longest.epoch.map((epoch) => folds
    .filter((fold) => epoch <= fold.epoch[fold.epoch.length - 1])
    .map((fold) => fold[key][nearest(fold.epoch, epoch)])
    .filter((value) => value !== null));
  return { x: longest.epoch, y: all.map(mean), all };
}

function drawCurves(figure, chosen, state) {
  const canvas = figure.querySelector(".canvas");
  const key = state.metric, within = key === BY_STEP;
  const curves = chosen
    .map(({ run, slot }) => {
      const folds = foldsOf(run, key);
      return { run, classes: classesOf(slot), folds, mean: within ? meanByStep(folds, key) : meanCurve(folds, key) };
    })
    .filter((c) => c.mean.y.some((value) => value !== null));
  const label = metricLabel(key, curves.map((c) => c.run));
  const falling = key.endsWith("loss") || within;
  const show = ["learning_rate", "gradient_norm", "samples_per_second"].includes(key) ? short : (value) => minus(value.toFixed(4));
  legend(figure.querySelector(".legend"), ["folds", "epochs", falling ? "lowest mean" : "highest mean"],
    curves.map((c) => ({
      classes: c.classes, name: c.run.name, run: c.run.name,
      values: [[c.folds.length], [c.mean.x[c.mean.x.length - 1]],
        [show((falling ? Math.min : Math.max)(...c.mean.y.filter((value) => value !== null)))]],
    })), label);
  if (!curves.length) {
    nothing(canvas, chosen.length
      ? "None of the experiments shown has left a history of this." : "Choose an experiment above.");
    return;
  }
  const values = curves.flatMap((c) => c.folds.flatMap((f) => f[key])).filter((v) => v !== null);
  const last = Math.max(...curves.map((c) => c.mean.x[c.mean.x.length - 1]));
  const first = within ? 0 : Math.min(...curves.map((c) => c.mean.x[0]));
  const lines = state.lines ? linesOf(curves, key) : [];
  let low = Math.min(...values, ...lines.map((l) => l.value)), high = Math.max(...values, ...lines.map((l) => l.value));
  const pad = (high - low) * 0.06 || Math.abs(high) * 0.05 || 0.5;
  const share = low >= 0 && high <= 1;  // an AUC: no axis beyond 1
  low -= pad; high = share ? Math.min(high + pad, 1) : high + pad;
  const whole = ticks(first, Math.max(last, first + 1), 8).filter(Number.isInteger);
  const plot = frame(canvas, {
    height: (width) => Math.min(470, Math.max(260, width * 0.74)), left: 62,
    x: { low: first === last ? first - 0.5 : first, high: first === last ? last + 0.5 : last, label: "epoch", ticks: whole.filter((t) => t <= last) },
    y: { low, high, label },
    below: !falling,
    title: `Learning curves, ${label}`,
    describe: `Bold: mean over folds. Thin: each fold. Of ${curves.map((c) => c.run.name).join(", ")}. ${lines.map((l) => `${l.name}: ${l.value}. `).join("")}The arrow keys move the read-out.`,
  });
  for (const { name, value } of lines) {
    shape("path", { class: "diagonal frame", d: `M${plot.left} ${plot.y(value)}H${plot.width - plot.right}` }, plot.inside);
    shape("text", { class: "line-name", x: plot.width - plot.right - 5, y: plot.y(value) - 5, "text-anchor": "end" },
      plot.inside, `${name} ${show(value)}`);
  }
  for (const c of curves) for (const fold of c.folds) line(plot, fold.epoch, fold[key], `${c.classes} thin`, c.run.name);
  for (const c of curves) {
    line(plot, c.mean.x, c.mean.y, c.classes, c.run.name);
    if (c.mean.x.length === 1) {
      shape("circle", { class: `dot ${c.classes}`, cx: plot.x(c.mean.x[0]), cy: plot.y(c.mean.y[0]), r: 4 }, plot.inside);
    }
  }
  follow(plot, (x) => {
    const marks = within ? curves.flatMap((c) => c.mean.x) : null;
    const epoch = within ? marks[nearest(marks, x)] : Math.min(Math.max(Math.round(x), first), last);
    const rows = [];
    for (const c of curves) {
      const i = within && epoch <= c.mean.x[c.mean.x.length - 1] ? nearest(c.mean.x, epoch) : c.mean.x.indexOf(epoch);
      if (i < 0 || c.mean.y[i] === null) continue;
      const all = c.mean.all[i];
      const range = all.length > 1 ? ` (${show(Math.min(...all))} to ${show(Math.max(...all))})` : "";
      rows.push({ classes: c.classes, name: c.run.name, value: show(c.mean.y[i]) + range, y: c.mean.y[i] });
    }
    rows.sort((a, b) => (falling ? a.y - b.y : b.y - a.y));
    return { x: epoch, title: `epoch ${+epoch.toFixed(3)}, ${label}`, rows };
  }, within ? stepAmong(curves.flatMap((c) => c.mean.x)) : (from, sign) => Math.round(from) + sign);
}

function drawHistograms(figure, chosen, state) {
  const host = figure.querySelector(".multiples");
  host.textContent = "";
  const shown = chosen.map((c) => ({ ...c, found: sampleOf(c.run, state) })).filter((c) => c.found);
  if (!shown.length) {
    nothing(host, chosen.length
      ? `None of the experiments shown has scores of its ${KINDS[state.kind]}.` : "Choose an experiment above.");
    return;
  }
  for (const { run, found } of shown) drawHistogram(element("div", {}, host), run, found, state);
}

function drawHistogram(host, run, found, state) {
  const { hist, n, signals } = found.sample;
  const label = labelOf(run, found, state);
  const title = element("h4", {}, host, label);
  element("small", {}, title, `  ${short(n - signals)} noise, ${short(signals)} signal`);
  const canvas = element("div", { class: "canvas" }, host);
  const bins = hist.noise.length, wide = (hist.high - hist.low) / bins;
  const highest = Math.max(...hist.noise, ...hist.signal);
  const logarithmic = state.counts === "log";
  const plot = frame(canvas, {
    height: () => 210, left: 54,
    x: { ticks: ticks(hist.low, hist.high, 5), low: hist.low, high: hist.high, label: "logit" },
    y: { low: logarithmic ? 0.5 : 0, high: highest * (logarithmic ? 1.6 : 1.05), log: logarithmic, label: "samples per bin" },
    title: `Histogram of the scores of ${label}, ${KINDS[state.kind]}`,
    describe: `${n - signals} noise and ${signals} signal samples in ${bins} bins from ${hist.low} to ${hist.high}. The arrow keys move the read-out.`,
  });
  const floor = plot.height - plot.bottom;
  for (const name of ["noise", "signal"]) {
    let path = `M${plot.x(hist.low)} ${floor}`;
    hist[name].forEach((count, i) => {
      const top = count ? plot.y(count) : floor;
      path += `V${top.toFixed(1)}H${plot.x(hist.low + (i + 1) * wide).toFixed(1)}`;
    });
    shape("path", { class: name, d: `${path}V${floor}Z` }, plot.inside);
  }
  follow(plot, (x) => {
    const i = Math.min(bins - 1, Math.max(0, Math.floor((x - hist.low) / wide)));
    const from = hist.low + i * wide;
    const lower = i === 0 ? "below" : `${short(+from.toPrecision(3))} to`;
    const upper = i === bins - 1 ? "above" : short(+(from + wide).toPrecision(3));
    return {
      x: from + wide / 2, title: `logit ${lower} ${upper}`,
      rows: ["noise", "signal"].map((name) => ({ classes: `class-${name}`, name, value: short(hist[name][i]) })),
    };
  }, (from, sign) => from + sign * wide);
}
