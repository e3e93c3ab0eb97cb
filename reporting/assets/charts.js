"use strict";
// Axes, lines and read-outs as inline SVG. Text only ever goes in through textContent.

const MOST_ROWS = 14;  // of a read-out
const SVG = "http://www.w3.org/2000/svg";

function element(tag, attributes, parent, text) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes || {})) node.setAttribute(key, value);
  if (text !== undefined) node.textContent = text;
  if (parent) parent.appendChild(node);
  return node;
}

function shape(tag, attributes, parent, text) {
  const node = document.createElementNS(SVG, tag);
  for (const [key, value] of Object.entries(attributes || {})) node.setAttribute(key, value);
  if (text !== undefined) node.textContent = text;
  if (parent) parent.appendChild(node);
  return node;
}

function minus(text) { return String(text).replace(/-/g, "−"); }

// A number as short as it can be: 0.001, 2 × 10⁻⁵, 12 000.
function short(value) {
  const size = Math.abs(value);
  if (size !== 0 && size < 9.9e-5) {
    const power = Math.floor(Math.log10(size) + 1e-9);
    const digits = [...String(-power)].map((d) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[d]).join("");
    const factor = value / 10 ** power;
    return (Math.abs(factor - 1) < 1e-6 ? "" : `${minus(+factor.toPrecision(3))} × `) + `10⁻${digits}`;
  }
  if (size >= 1e4) return minus(Math.round(value).toString().replace(/\B(?=(\d{3})+$)/g, "\u202f"));
  return minus(+value.toPrecision(4));
}

// Round numbers between low and high, about `count` of them.
function ticks(low, high, count) {
  const rough = (high - low) / Math.max(1, count);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((m) => m * power).find((s) => s >= rough * 0.999);
  const found = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) {
    found.push(+(i * step).toPrecision(12));
  }
  return found;
}

function logTicks(low, high) {
  const found = [];
  for (let p = Math.ceil(Math.log10(low) - 1e-9); p <= Math.log10(high) + 1e-9; p++) found.push(10 ** p);
  return found;
}

// Where a value lies between `from` and `to` pixels. A logarithmic scale ends at its low end. With a
// number in place of true it is asinh(value / number): even up to about that number, logarithmic
// beyond, for values of either sign.
function scale(low, high, from, to, logarithmic) {
  const unit = typeof logarithmic === "number" ? logarithmic : null;
  const f = unit ? (v) => Math.asinh(v / unit) : logarithmic ? (v) => Math.log10(Math.max(v, low)) : (v) => v;
  const span = f(high) - f(low) || 1;
  const at = (value) => from + ((f(value) - f(low)) / span) * (to - from);
  at.invert = (pixel) => {
    const v = f(low) + ((pixel - from) / (to - from)) * span;
    if (unit) return unit * Math.sinh(v);
    return logarithmic ? 10 ** v : v;
  };
  return at;
}

// The value at x of a line through points with rising x. Where it jumps, its upper end.
function interpolate(xs, ys, x) {
  if (!xs.length || x < xs[0] || x > xs[xs.length - 1]) return null;
  let low = 0, high = xs.length - 1;
  while (low < high) {  // the last point with xs <= x
    const middle = (low + high + 1) >> 1;
    if (xs[middle] <= x) low = middle; else high = middle - 1;
  }
  if (low === xs.length - 1 || xs[low] === x) return ys[low];
  return ys[low] + ((ys[low + 1] - ys[low]) * (x - xs[low])) / (xs[low + 1] - xs[low]);
}

let clips = 0;

// Draw a frame with axes into `canvas`; return what is needed to draw into it.
// spec: {height, x: {low, high, log, label, ticks}, y: likewise, title, describe}
function frame(canvas, spec) {
  canvas.textContent = "";
  const width = Math.max(240, Math.round(canvas.clientWidth));
  const height = spec.height(width);
  const left = spec.left || 56, right = 12, top = 8, bottom = 44;
  const svg = shape("svg", {
    viewBox: `0 0 ${width} ${height}`, height, role: "img", tabindex: 0, "aria-label": spec.title,
  }, canvas);
  shape("desc", {}, svg, spec.describe);
  const x = scale(spec.x.low, spec.x.high, left, width - right, spec.x.log);
  const y = scale(spec.y.low, spec.y.high, height - bottom, top, spec.y.log);
  const many = (pixels, each) => Math.max(2, Math.floor(pixels / each));
  const marks = (axis, pixels, each) =>
    axis.ticks || (axis.log ? logTicks(axis.low, axis.high) : ticks(axis.low, axis.high, many(pixels, each)));
  const axes = shape("g", { "aria-hidden": "true" }, svg);
  for (const value of marks(spec.x, width - left - right, 75)) {
    shape("path", { class: "grid-line", d: `M${x(value)} ${top}V${height - bottom}` }, axes);
    shape("text", { x: x(value), y: height - bottom + 17, "text-anchor": "middle" }, axes, short(value));
  }
  for (const value of marks(spec.y, height - top - bottom, 48)) {
    shape("path", { class: "grid-line", d: `M${left} ${y(value)}H${width - right}` }, axes);
    shape("text", { x: left - 7, y: y(value) + 4, "text-anchor": "end" }, axes, short(value));
  }
  shape("text", {
    class: "label", x: (left + width - right) / 2, y: height - 6, "text-anchor": "middle",
  }, axes, spec.x.label);
  const middle = (top + height - bottom) / 2;
  shape("text", {
    class: "label", x: 13, y: middle, "text-anchor": "middle", transform: `rotate(-90 13 ${middle})`,
  }, axes, spec.y.label);
  const id = `clip${clips++}`;
  const clip = shape("clipPath", { id }, shape("defs", {}, svg));
  // Two pixels more, so that a line along the edge keeps its full width.
  shape("rect", { x: left - 2, y: top - 2, width: width - left - right + 4, height: height - top - bottom + 4 }, clip);
  const inside = shape("g", { "clip-path": `url(#${id})` }, svg);
  shape("rect", { class: "frame", x: left, y: top, width: width - left - right, height: height - top - bottom }, svg);
  return { canvas, svg, inside, x, y, width, height, left, right, top, bottom, spec };
}

function line(plot, xs, ys, classes, run) {
  let path = "", pen = "M";
  for (let i = 0; i < xs.length; i++) {
    if (ys[i] === null || xs[i] === null) { pen = "M"; continue; }
    path += `${pen}${plot.x(xs[i]).toFixed(1)} ${plot.y(ys[i]).toFixed(1)}`;
    pen = "L";
  }
  const drawn = shape("path", { class: `line ${classes}`, d: path }, plot.inside);
  if (run !== undefined) drawn.dataset.run = run;
  return drawn;
}

// Follow the pointer, or the arrow keys, with a line and a read-out.
// at(x) returns {x, title, rows: [{classes, name, value, y}]} for what is nearest to x, or null.
function follow(plot, at, step) {
  const { svg, canvas } = plot;
  const place = plot.spec.below ? "readout below" : "readout";
  const readout = element("div", { class: place, role: "status", hidden: "" }, canvas);
  const cursor = shape("path", { class: "cursor", visibility: "hidden" }, svg);
  const dots = shape("g", { "aria-hidden": "true" }, svg);
  let current = null;

  function hide() {
    readout.hidden = true;
    cursor.setAttribute("visibility", "hidden");
    dots.textContent = "";
  }

  function show(x) {
    const found = at(x);
    if (!found) { hide(); return; }
    current = found.x;
    const px = plot.x(found.x);
    cursor.setAttribute("d", `M${px} ${plot.top}V${plot.height - plot.bottom}`);
    cursor.setAttribute("visibility", "visible");
    dots.textContent = "";
    readout.textContent = "";
    element("p", {}, readout, found.title);
    for (const row of found.rows.slice(0, MOST_ROWS)) {
      const item = element("div", {}, readout);
      element("span", { class: `swatch ${row.classes}` }, item);
      element("span", {}, item, row.name);
      element("b", {}, item, row.value);
      if (row.y !== undefined && row.y !== null) {
        shape("circle", { class: `dot ${row.classes}`, cx: px, cy: plot.y(row.y), r: 4.5 }, dots);
      }
    }
    const left = found.rows.length - MOST_ROWS;
    if (left > 0) element("p", {}, readout, `and ${left} more`);
    readout.hidden = false;
    // On the side that is farther from the pointer.
    const share = plot.canvas.clientWidth / plot.width;
    const onLeft = px > (plot.left + plot.width - plot.right) / 2;
    readout.style.left = onLeft ? `${(plot.left + 8) * share}px` : "auto";
    readout.style.right = onLeft ? "auto" : `${(plot.right + 8) * share}px`;
  }

  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const px = ((event.clientX - box.left) / box.width) * plot.width;
    if (px < plot.left - 4 || px > plot.width - plot.right + 4) { hide(); return; }
    show(plot.x.invert(Math.min(Math.max(px, plot.left), plot.width - plot.right)));
  });
  svg.addEventListener("pointerleave", hide);
  svg.addEventListener("blur", hide);
  svg.addEventListener("keydown", (event) => {
    const { low, high } = plot.spec.x;
    const from = current === null ? low : current;
    const moves = {
      ArrowLeft: () => step(from, -1), ArrowRight: () => step(from, 1),
      Home: () => low, End: () => high, Escape: () => null,
    };
    if (!(event.key in moves)) return;
    event.preventDefault();
    const to = moves[event.key]();
    if (to === null) hide(); else show(Math.min(Math.max(to, low), high));
  });
}

// A step of 1 % of the axis, for charts without points of their own.
function smooth(plot) {
  return (from, sign) => {
    const px = plot.x(from) + (sign * (plot.width - plot.left - plot.right)) / 100;
    return plot.x.invert(px);
  };
}

// --- tables that scroll ---

// Say beside a table how many of its columns lie out of sight, and fade its edge.
function showScrolling(scroll) {
  const hint = document.querySelector(`.scroll-hint[data-for="${scroll.id}"]`);
  const heads = [...scroll.querySelectorAll("thead tr:last-child th")];
  function update() {
    const right = scroll.getBoundingClientRect().right;
    const hidden = heads.filter((head) => head.getBoundingClientRect().right > right + 4).length;
    scroll.classList.toggle("more-right", hidden > 0);
    if (!hint) return;
    hint.hidden = hidden === 0;
    hint.firstChild.textContent = `${hidden} more column${hidden > 1 ? "s" : ""} to the right `;
  }
  if (hint) {
    hint.textContent = "";
    hint.appendChild(document.createTextNode(""));
    const button = element("button", { type: "button" }, hint, "scroll →");
    button.addEventListener("click", () => scroll.scrollBy({ left: scroll.clientWidth * 0.7, behavior: "smooth" }));
  }
  scroll.addEventListener("scroll", update, { passive: true });
  window.addEventListener("resize", update);
  update();
}
