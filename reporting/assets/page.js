"use strict";
// The table, what is chosen, and what follows from it.

(() => {
  const { runs, pairs: compared } = JSON.parse(document.getElementById("data").textContent);
  const table = document.getElementById("scores-table");
  const bodies = [...table.tBodies];
  const slots = new Map();  // chosen run -> its colour, the lowest that was free when it was chosen
  const state = { kind: "oof", variant: "plain", axis: "linear", counts: "linear", metric: null, measure: "found", quantity: null, lines: true };

  // --- sorting ---

  const heads = [...table.querySelectorAll("thead th[data-key]")];

  function valueIn(body, column) {
    const text = body.rows[0].cells[column].dataset.v;
    if (text === undefined) return null;
    return heads.find((head) => head.cellIndex === column).classList.contains("text") ? text : Number(text);
  }

  function sortBy(head, direction) {
    const column = head.cellIndex;
    const sign = direction === "ascending" ? 1 : -1;
    const order = bodies.map((body, index) => ({ body, index, value: valueIn(body, column) }));
    order.sort((a, b) => {
      if (a.value === null || b.value === null) return (a.value === null) - (b.value === null) || a.index - b.index;
      const by = typeof a.value === "string"
        ? a.value.localeCompare(b.value, "en", { numeric: true }) : a.value - b.value;
      return sign * by || a.index - b.index;  // what is missing stays last in both directions
    });
    for (const { body } of order) table.appendChild(body);
    for (const other of heads) other.setAttribute("aria-sort", other === head ? direction : "none");
    document.getElementById("sorted").textContent =
      `Sorted by ${head.querySelector("button").textContent.trim()}, ${direction}`;
  }

  for (const head of heads) {
    head.querySelector("button").addEventListener("click", () => {
      const now = head.getAttribute("aria-sort");
      const first = head.classList.contains("text") ? "ascending" : "descending";
      const turned = { ascending: "descending", descending: "ascending" };
      sortBy(head, turned[now] || first);
    });
  }

  // --- filtering ---

  const filter = document.getElementById("filter");
  const onlyComplete = document.getElementById("only-complete");
  const texts = bodies.map((body) =>
    [...body.rows].filter((row) => row.className !== "details").map((row) => row.textContent).join(" ").toLowerCase());

  function applyFilter() {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    bodies.forEach((body, index) => {
      const fits = words.every((word) => texts[index].includes(word));
      body.hidden = !fits || (onlyComplete.checked && body.classList.contains("partial"));
      shown += !body.hidden;
    });
    document.getElementById("shown").textContent =
      shown === bodies.length ? "" : `${shown} of ${bodies.length} shown`;
  }
  filter.addEventListener("input", applyFilter);
  onlyComplete.addEventListener("change", applyFilter);

  // --- details of a run, made when they are first asked for ---

  function pairs(host, title, entries) {
    if (!entries.length) return;
    const box = element("div", {}, host);
    element("h4", {}, box, title);
    const list = element("dl", { class: "pairs", tabindex: 0 }, box);
    for (const [key, value] of entries) {
      const row = element("div", {}, list);
      element("dt", {}, row, key);
      element("dd", {}, row, value);
    }
  }

  function fillDetails(cell, run) {
    const inside = element("div", { class: "inside" }, cell);
    const scores = [];
    for (const [name, variant] of Object.entries(run.variants)) {
      const views = name === "tta" ? ", with TTA" : variant.validated ? ", best validation" : "";
      for (const [fold, auc] of Object.entries(variant.folds)) scores.push([`fold ${fold}${views}`, auc.toFixed(5)]);
    }
    pairs(inside, "Folds", scores);
    pairs(inside, "Settings", Object.entries(run.settings));
    const all = run.starts.length + run.earlier_starts;
    run.starts.forEach((start, i) => pairs(
      inside, all > 1 ? `Start ${i + 1 + run.earlier_starts} of ${all}` : "Start", Object.entries(start)));
    if (!inside.childElementCount) element("p", {}, inside, "Nothing more is known of it.");
  }

  for (const body of bodies) {
    const button = body.querySelector(".more");
    button.addEventListener("click", () => {
      const row = body.querySelector("tr.details");
      const cell = row.cells[1];
      if (!cell.childElementCount) fillDetails(cell, runs[body.dataset.run]);
      row.hidden = !row.hidden;
      button.setAttribute("aria-expanded", String(!row.hidden));
    });
  }

  // --- choosing ---

  const chips = runs.map((run, index) => {
    const label = element("label", { class: "chip" }, document.getElementById("chips"));
    const box = element("input", { type: "checkbox", "data-run": index }, label);
    element("span", {}, label, run.name);
    box.addEventListener("change", () => choose(index, box.checked));
    return { label, box };
  });
  const boxes = runs.map((_, index) => table.querySelector(`tbody[data-run="${index}"] .pick input`));
  boxes.forEach((box, index) => box.addEventListener("change", () => choose(index, box.checked)));

  function choose(index, wanted) {
    mark(index, wanted);
    draw();
  }

  function mark(index, wanted) {
    if (wanted && !slots.has(index)) {
      const taken = new Set(slots.values());
      let slot = 0;
      while (taken.has(slot)) slot++;
      slots.set(index, slot);
    } else if (!wanted) {
      slots.delete(index);
    }
    boxes[index].checked = chips[index].box.checked = wanted;
    chips[index].label.className = wanted ? `chip ${classesOf(slots.get(index)).split(" ")[0]}` : "chip";
  }

  function chooseOnly(wanted) {
    runs.forEach((_, index) => { if (!wanted.includes(index)) mark(index, false); });
    for (const index of wanted) mark(index, true);
    draw();
  }

  const best = () => runs.map((_, index) => index).filter((i) => Object.keys(runs[i].variants).length).slice(0, 5);
  const actions = {
    top: best, none: () => [],
    shown: () => [...table.tBodies].filter((body) => !body.hidden).map((body) => Number(body.dataset.run)),
  };
  for (const button of document.querySelectorAll("[data-choose]")) {
    button.addEventListener("click", () => chooseOnly(actions[button.dataset.choose]()));
  }

  // --- switches ---

  for (const input of document.querySelectorAll(".switch input")) {
    input.addEventListener("change", () => { state[input.name] = input.value; draw(); });
  }
  const metric = document.getElementById("metric");
  const known = new Set(runs.flatMap((run) => Object.values(run.history).flatMap((fold) => Object.keys(fold))));
  known.delete("epoch");
  if (runs.some((run) => Object.keys(run.by_step).length)) known.add(BY_STEP);
  const preferred = ["valid_metric", "train_metric", "valid_loss", "train_loss", BY_STEP];
  const metrics = [...preferred.filter((key) => known.has(key)), ...[...known].filter((key) => !preferred.includes(key)).sort()];
  for (const key of metrics) element("option", { value: key }, metric, metricLabel(key, runs));
  state.metric = metrics[0] || "valid_metric";
  metric.addEventListener("change", () => { state.metric = metric.value; draw(); });

  document.getElementById("lines").addEventListener("change", (event) => { state.lines = event.target.checked; draw(); });
  const quantity = document.getElementById("quantity");
  const quantities = new Set(runs.flatMap((run) => Object.values(run.variants).flatMap((variant) =>
    Object.values(variant.by_quantity || {}).flatMap((kind) => Object.keys(kind)))));
  for (const name of quantities) element("option", { value: name }, quantity, name);
  if (!quantities.size) quantity.hidden = true;
  state.quantity = [...quantities][0] || null;
  quantity.addEventListener("change", () => { state.quantity = quantity.value; draw(); });

  // --- settings that differ ---

  const differs = (key) => key !== "name" && !/^published(\.|$)/.test(key);

  function drawDifferences(chosen) {
    const host = document.getElementById("differences-table");
    host.textContent = "";
    if (chosen.length < 2) { nothing(host, "Choose two experiments or more above."); return; }
    const keys = [...new Set(chosen.flatMap((c) => Object.keys(c.run.settings)))].filter((key) =>
      differs(key) && new Set(chosen.map((c) => c.run.settings[key])).size > 1);
    if (!keys.length) { nothing(host, "None: the experiments shown have the same settings."); return; }
    const scroll = element("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Settings that differ" }, host);
    const grid = element("table", { class: "plain" }, scroll);
    element("caption", {}, grid, `${keys.length} ${keys.length > 1 ? "settings differ" : "setting differs"} between ${chosen.length} experiments`);
    const head = element("tr", {}, element("thead", {}, grid));
    element("th", { scope: "col" }, head, "setting");
    for (const c of chosen) element("th", { scope: "col" }, head, c.run.name);
    const rows = element("tbody", {}, grid);
    for (const key of keys) {
      const row = element("tr", {}, rows);
      element("th", { scope: "row" }, row, key);
      for (const c of chosen) {
        const value = c.run.settings[key];
        element("td", { class: "text" }, row, value === undefined ? "–" : value);
      }
    }
  }

  // --- drawing ---

  function draw() {
    const chosen = [...slots].map(([index, slot]) => ({ run: runs[index], slot, index }));
    chosen.sort((a, b) => a.index - b.index);
    drawRoc(document.getElementById("roc"), chosen, state);
    drawCurves(document.getElementById("curves"), chosen, state);
    drawCalibration(document.getElementById("calibration"), chosen, state);
    drawQuantities(document.getElementById("quantities"), chosen, state);
    drawHistograms(document.getElementById("histograms"), chosen, state);
    drawDifferences(chosen);
  }

  let width = document.body.clientWidth, waiting = 0;
  window.addEventListener("resize", () => {
    cancelAnimationFrame(waiting);
    waiting = requestAnimationFrame(() => {
      if (width !== document.body.clientWidth) { width = document.body.clientWidth; draw(); }
    });
  });
  chooseOnly(best());
  beginPair(runs, compared);
  document.querySelectorAll(".scroll").forEach(showScrolling);
})();
