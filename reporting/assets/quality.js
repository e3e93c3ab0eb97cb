"use strict";
// Calibration, scores by loudness and masses, and two runs compared.

// A vertical bar between two values, with the class of its line.
function bar(plot, x, low, high, classes, run) {
  const drawn = shape("path", {
    class: `line thin ${classes}`, d: `M${plot.x(x).toFixed(1)} ${plot.y(low).toFixed(1)}V${plot.y(high).toFixed(1)}`,
  }, plot.inside);
  drawn.dataset.run = run;
}

function points(plot, xs, ys, classes) {
  xs.forEach((x, i) => shape("circle", { class: `dot ${classes}`, cx: plot.x(x), cy: plot.y(ys[i]), r: 3.2 }, plot.inside));
}

function nearest(xs, x) {
  return xs.reduce((best, value, i) => (Math.abs(value - x) < Math.abs(xs[best] - x) ? i : best), 0);
}

// The next of the marks that charts of points have, left or right of x.
function stepAmong(marks) {
  const sorted = [...new Set(marks)].sort((a, b) => a - b);
  return (from, sign) => {
    const left = sorted.filter((x) => (sign > 0 ? x > from + 1e-12 : x < from - 1e-12));
    if (!left.length) return from;
    return sign > 0 ? left[0] : left[left.length - 1];
  };
}

function drawCalibration(figure, chosen, state) {
  const canvas = figure.querySelector(".canvas");
  const curves = chosen
    .map(({ run, slot }) => ({ run, found: sampleOf(run, state), classes: classesOf(slot) }))
    .filter((c) => c.found && c.found.sample.calibration)
    .map((c) => ({ ...c, data: c.found.sample.calibration, label: labelOf(c.run, c.found, state) }));
  legend(figure.querySelector(".legend"), ["mean gap", "cross-entropy"], curves.map((c) => ({
    classes: c.classes, name: c.label, run: c.run.name,
    values: [[c.data.gap.toFixed(4)], [c.data.loss.toFixed(4)]],
  })), "Mean gap between predicted probability and share of signals, and cross-entropy");
  if (!curves.length) {
    nothing(canvas, chosen.length
      ? `None of the experiments shown has scores of its ${KINDS[state.kind]}.` : "Choose an experiment above.");
    return;
  }
  const plot = frame(canvas, {
    height: (width) => Math.min(470, Math.max(260, width * 0.74)),
    x: { low: 0, high: 1, label: "predicted probability" }, y: { low: 0, high: 1, label: "share of signals" },
    below: true,  // where a reliability diagram seldom is
    title: `Calibration, ${KINDS[state.kind]}`,
    describe: `${curves.map((c) => `${c.label}: mean gap ${c.data.gap}`).join(", ")}. The arrow keys move the read-out.`,
  });
  line(plot, [0, 1], [0, 1], "").setAttribute("class", "diagonal frame");
  for (const c of curves) {
    line(plot, c.data.x, c.data.y, c.classes, c.run.name);
    c.data.x.forEach((x, i) => bar(plot, x, c.data.low[i], c.data.high[i], c.classes, c.run.name));
    points(plot, c.data.x, c.data.y, c.classes);
  }
  const marks = curves.flatMap((c) => c.data.x);
  follow(plot, (x) => {
    const at = marks[nearest(marks, x)];
    return {
      x: at, title: `probability ${at.toFixed(3)}`,
      rows: curves.map((c) => {
        const i = nearest(c.data.x, at);
        const ends = `${c.data.low[i].toFixed(3)} to ${c.data.high[i].toFixed(3)}`;
        return { classes: c.classes, name: c.label, value: `${c.data.y[i].toFixed(3)} (${ends})`, y: interpolate(c.data.x, c.data.y, at) };
      }),
    };
  }, stepAmong(marks));
}

// The bins of a quantity of a run; those of the other set of views where it has no others.
function quantityOf(run, state) {
  for (const name of [state.variant, state.variant === "tta" ? "plain" : "tta"]) {
    const kinds = run.variants[name] && run.variants[name].by_quantity;
    const bins = kinds && kinds[state.kind] && kinds[state.kind][state.quantity];
    if (bins && bins[state.measure]) return { bins, other: name !== state.variant };
  }
  return null;
}

function drawQuantities(figure, chosen, state) {
  const canvas = figure.querySelector(".canvas");
  const curves = chosen
    .map(({ run, slot }) => ({ run, found: quantityOf(run, state), classes: classesOf(slot) }))
    .filter((c) => c.found)
    .map((c) => {
      const { x, n } = c.found.bins, rows = c.found.bins[state.measure];
      // found: share, low, high; score: quartile, median, quartile
      const [middle, low, high] = state.measure === "found" ? [0, 1, 2] : [1, 0, 2];
      return {
        run: c.run, classes: c.classes, label: labelOf(c.run, c.found, state), x, n,
        y: rows.map((r) => r[middle]), low: rows.map((r) => r[low]), high: rows.map((r) => r[high]),
      };
    });
  const share = state.measure === "found";
  legend(figure.querySelector(".legend"), ["signals"], curves.map((c) => ({
    classes: c.classes, name: c.label, run: c.run.name, values: [[short(c.n.reduce((a, b) => a + b, 0))]],
  })), "Signals of known loudness and masses");
  if (!curves.length) {
    nothing(canvas, chosen.length
      ? "Nothing is known of the signals of the experiments shown: there is no parameters.csv beside their tables, or too little noise for 1 %."
      : "Choose an experiment above.");
    return;
  }
  const xs = curves.flatMap((c) => c.x);
  let low = Math.min(...curves.flatMap((c) => c.low)), high = Math.max(...curves.flatMap((c) => c.high));
  const pad = (high - low) * 0.06 || 0.5;
  if (share) { low = 0; high = 1; } else { low -= pad; high += pad; }
  const wide = Math.max(...xs) - Math.min(...xs);
  const label = share ? "found at 1 % false alarms" : "score (logit)";
  const plot = frame(canvas, {
    height: (width) => Math.min(470, Math.max(260, width * 0.74)), left: 62,
    x: { low: Math.min(...xs) - 0.03 * wide, high: Math.max(...xs) + 0.03 * wide, label: state.quantity },
    y: { low, high, label }, below: true,
    title: `${label} against ${state.quantity}, ${KINDS[state.kind]}`,
    describe: `Of ${curves.map((c) => c.label).join(", ")}. The arrow keys move the read-out.`,
  });
  for (const c of curves) {
    line(plot, c.x, c.y, c.classes, c.run.name);
    c.x.forEach((x, i) => bar(plot, x, c.low[i], c.high[i], c.classes, c.run.name));
    points(plot, c.x, c.y, c.classes);
  }
  const digits = share ? 3 : 2;
  follow(plot, (x) => {
    const at = xs[nearest(xs, x)];
    return {
      x: at, title: `${state.quantity} ${short(at)}`,
      rows: curves.map((c) => {
        const i = nearest(c.x, at);
        const ends = minus(`${c.low[i].toFixed(digits)} to ${c.high[i].toFixed(digits)}`);
        return {
          classes: c.classes, name: c.label, value: `${minus(c.y[i].toFixed(digits))} (${ends}), ${c.n[i]} signals`,
          y: interpolate(c.x, c.y, at),
        };
      }),
    };
  }, stepAmong(xs));
}

// --- two runs compared ---

// The difference of two runs, the first minus the second: [value, low, high], or null.
function differenceOf(pairs, first, second) {
  for (const [one, other, value, low, high] of pairs) {
    if (one === first && other === second) return [value, low, high];
    if (one === second && other === first) return [-value, -high, -low];
  }
  return null;
}

const signed = (value) => minus((value < 0 ? "" : "+") + value.toFixed(5));

function drawPair(host, runs, pairs, first, second) {
  host.textContent = "";
  if (first === second) { nothing(host, "Choose two different experiments."); return; }
  const scroll = element("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Two experiments compared" }, host);
  const table = element("table", { class: "plain" }, scroll);
  element("caption", {}, table, "The first minus the second, with the paired 95 % interval of the difference");
  const head = element("tr", {}, element("thead", {}, table));
  for (const text of ["samples", runs[first].name, runs[second].name, "difference", "95 % interval", ""]) {
    element("th", { scope: "col" }, head, text);
  }
  const body = element("tbody", {}, table);
  for (const kind of ["oof", "test"]) {
    const row = element("tr", {}, body);
    element("th", { scope: "row" }, row, KINDS[kind]);
    for (const index of [first, second]) {
      const { variants } = runs[index];
      const sample = (variants.plain || variants.tta || {})[kind];
      element("td", { class: "score" }, row, sample ? sample.auc.toFixed(5) : "–");
    }
    const found = differenceOf(pairs[kind] || [], first, second);
    if (!found) {
      element("td", { class: "none" }, row, "–");
      element("td", { class: "none" }, row, "–");
      element("td", {}, row, "not compared: not complete, or of other samples");
      continue;
    }
    const [value, low, high] = found;
    element("b", {}, element("td", { class: "score" }, row), signed(value));
    element("td", { class: "score" }, row, `${signed(low)} to ${signed(high)}`);
    const name = runs[value > 0 ? first : second].name;
    element("td", {}, row, low > 0 || high < 0 ? `${name} is better on these samples` : "not told apart by these samples");
  }
}

function beginPair(runs, pairs) {
  const [first, second] = ["pair-first", "pair-second"].map((id) => document.getElementById(id));
  const host = document.getElementById("pair-result");
  for (const select of [first, second]) {
    runs.forEach((run, index) => element("option", { value: index }, select, run.name));
    select.addEventListener("change", () => drawPair(host, runs, pairs, Number(first.value), Number(second.value)));
  }
  if (runs.length < 2) { nothing(host, "There is one experiment only."); return; }
  second.value = "1";
  drawPair(host, runs, pairs, 0, 1);
}
