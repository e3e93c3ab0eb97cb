"use strict";
// The charts of a search: triggers against time, found against background, injections.

(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const UNIT = data.linear_scores;  // scores are drawn evenly up to about this
  const COLOURS = ["#4269d0", "#efb118", "#6cc5b0", "#a463f2", "#9c6b4e"];
  const FOUND = "#3a7d44", MISSED = "#ff725c";

  function scoreTicks(low, high) {
    const found = [0];
    for (let power = 1; power <= 1e9; power *= 10) {
      for (const sign of [-1, 1]) {
        const value = sign * power * UNIT / 10;
        if (value >= low && value <= high && Math.abs(value) >= UNIT) found.push(value);
      }
    }
    return found.filter((value) => value >= low && value <= high);
  }

  function scoreAxis(values, label) {
    const low = Math.min(0, ...values), high = Math.max(1, ...values) * 1.1;
    return { low, high, log: UNIT, label, ticks: scoreTicks(low, high) };
  }

  function point(plot, x, y, colour, radius, name) {
    const mark = shape("circle", {
      cx: plot.x(x).toFixed(1), cy: plot.y(y).toFixed(1), r: radius, fill: colour, "fill-opacity": 0.75,
    }, plot.inside);
    if (name) mark.dataset.name = name;
    return mark;
  }

  function steps(plot, xs, ys, colour) {
    let path = "";
    for (let i = 0; i < xs.length; i++) {
      // the count is that of all scores up to this one
      path += i ? `V${plot.y(ys[i]).toFixed(1)}H${plot.x(xs[i]).toFixed(1)}`
        : `M${plot.x(xs[0]).toFixed(1)} ${plot.y(ys[0]).toFixed(1)}`;
    }
    shape("path", { d: path, fill: "none", stroke: colour, "stroke-width": 1.6, class: "steps" }, plot.inside);
  }

  function nothing(canvas, text) {
    canvas.textContent = "";
    element("p", { class: "nothing" }, canvas, text);
  }

  function drawTimeline() {
    const canvas = document.getElementById("timeline-chart"), { time, score, combination } = data.triggers;
    if (!time.length) { nothing(canvas, "There are no triggers."); return; }
    const names = [...new Set(combination)].sort();
    const plot = frame(canvas, {
      height: () => 300,
      x: { low: 0, high: data.seconds, label: `s after GPS ${data.start.toFixed(0)}` },
      y: scoreAxis(score, "score"),
      title: "Triggers against time",
      describe: `${time.length} triggers, the loudest at ${time[0].toFixed(2)} s with ${score[0].toFixed(2)}.`,
    });
    for (let i = time.length - 1; i >= 0; i--) {
      const colour = COLOURS[names.indexOf(combination[i]) % COLOURS.length];
      point(plot, time[i], score[i], colour, i < data.marked ? 5 : 2.5, "trigger");
    }
    const order = time.map((_, i) => i).sort((a, b) => time[a] - time[b]);
    const nearest = (x) => order.reduce((a, b) => (Math.abs(time[b] - x) < Math.abs(time[a] - x) ? b : a));
    follow(plot, (x) => {
      const i = nearest(x);
      return {
        x: time[i], title: `GPS ${(data.start + time[i]).toFixed(2)}`,
        rows: [{ classes: "s0", name: combination[i], value: score[i].toFixed(2), y: score[i] }],
      };
    }, (from, sign) => {
      const place = order.indexOf(nearest(from)) + sign;
      return time[order[Math.min(Math.max(place, 0), order.length - 1)]];
    });
  }

  function drawBackground() {
    const canvas = document.getElementById("background-chart");
    const curves = [...data.background, data.found].filter((curve) => curve.score.length);
    if (!curves.length) { nothing(canvas, "There are no triggers."); return; }
    const counts = curves.flatMap((curve) => curve.count);
    const plot = frame(canvas, {
      height: () => 320,
      x: scoreAxis(curves.flatMap((curve) => curve.score), "score"),
      y: { low: 0.5 * Math.min(1, ...counts), high: 2 * Math.max(...counts), log: true, label: "triggers at least as loud" },
      title: "Triggers at least as loud as a score",
      describe: curves.map((curve) => `${curve.name}: ${short(curve.count[0])} in all`).join(", "),
    });
    curves.forEach((curve, i) => {
      const colour = curve === data.found ? MISSED : COLOURS[i % COLOURS.length];
      steps(plot, curve.score, curve.count, colour);
    });
    const key = element("p", { class: "key" }, canvas);
    curves.forEach((curve, i) => {
      const entry = element("span", {}, key);
      const swatch = shape("svg", { width: 18, height: 8, "aria-hidden": "true" }, entry);
      shape("rect", { width: 18, height: 8, fill: curve === data.found ? MISSED : COLOURS[i % COLOURS.length] }, swatch);
      element("span", {}, entry, curve.name);
    });
  }

  function drawInjections() {
    const canvas = document.getElementById("injections-chart");
    if (!canvas) return;
    const { snr, distance, found } = data.injections;
    if (!snr.length) { nothing(canvas, "No injection lies in the strain that was searched."); return; }
    const plot = frame(canvas, {
      height: () => 320,
      x: { low: 0.8 * Math.min(...snr), high: 1.2 * Math.max(...snr), log: true, label: "optimal SNR",
        ticks: [5, 10, 20, 50, 100].filter((v) => v >= 0.8 * Math.min(...snr) && v <= 1.2 * Math.max(...snr)) },
      y: { low: 0, high: 1.05 * Math.max(...distance), label: "chirp distance, Mpc" },
      title: "Injections that are found and missed",
      describe: `${found.filter(Boolean).length} of ${found.length} injections are found.`,
    });
    // those that are missed on top: they are what is looked for
    for (const kind of [true, false]) {
      snr.forEach((value, i) => {
        if (found[i] === kind) point(plot, value, distance[i], kind ? FOUND : MISSED, 3.5, kind ? "found" : "missed");
      });
    }
  }

  function draw() { drawTimeline(); drawBackground(); drawInjections(); }
  draw();
  document.querySelectorAll(".scroll").forEach(showScrolling);
  let waiting = null;
  window.addEventListener("resize", () => { clearTimeout(waiting); waiting = setTimeout(draw, 100); });
})();
