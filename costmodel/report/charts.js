// SPDX-License-Identifier: Apache-2.0
// Small charts as SVG: bars of layers, curves, histograms on a format's grid, sensitivities.
"use strict";

function element(tag, attributes, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name === "text") made.textContent = value;
    else if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

function svg(tag, attributes, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

function words(x, y, content, attributes) {
  const made = svg("text", { x, y, ...attributes });
  made.textContent = content;
  return made;
}

function tell(value) {
  if (value === null || value === undefined) return "";
  return typeof value === "number" ? value.toLocaleString("en", { maximumFractionDigits: 6 }) : String(value);
}

const tail = (name, most) => name.length > most ? `…${name.slice(1 - most)}` : name;
const figure = (title, chart, kind) => element("figure", { class: "chart", "data-chart": kind || "" }, chart, element("figcaption", { text: title }));

// Horizontal bars, one a layer.
function bars(title, names, values, kind) {
  const most = Math.max(...values, 1e-12), row = 18, left = 170, width = 520;
  const chart = svg("svg", { viewBox: `0 0 ${width} ${names.length * row + 6}`, role: "img", "aria-label": title });
  names.forEach((name, k) => {
    const long = values[k] / most * (width - left - 60);
    chart.append(
      words(left - 6, k * row + 13, tail(name, 26), { "text-anchor": "end" }),
      svg("rect", { x: left, y: k * row + 3, width: long, height: 12, rx: 2 }),
      words(left + long + 5, k * row + 13, tell(values[k])));
  });
  return figure(title, chart, kind);
}

// Curves that hold their value until the next point; series are {name, pairs}.
function curves(title, series, xLabel, kind) {
  const width = 520, height = 250, left = 46, low = 34;
  const every = series.flatMap((s) => s.pairs);
  const x1 = Math.max(...every.map((p) => p[0])) || 1, y1 = Math.max(...every.map((p) => p[1])) || 1;
  const at = (x, y) => [left + x / x1 * (width - left - 8), (height - low) * (1 - y / y1 * .94)];
  const chart = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": title });
  for (const tick of niceTicks(0, y1, 4)) {
    const y = at(0, tick)[1];
    chart.append(svg("line", { x1: left, x2: width - 8, y1: y, y2: y }), words(left - 6, y + 4, short(tick), { "text-anchor": "end" }));
  }
  for (const tick of niceTicks(0, x1, 5)) chart.append(words(at(tick, 0)[0], height - 16, short(tick), { "text-anchor": "middle" }));
  series.forEach(({ name, pairs }, n) => {
    let path = "";
    pairs.forEach(([x, y], k) => {
      const [px, py] = at(x, y);
      path += k ? `H${px.toFixed(1)}V${py.toFixed(1)}` : `M${px.toFixed(1)},${py.toFixed(1)}`;
    });
    chart.append(svg("path", { d: path, class: n ? "second" : "" }));
    if (series.length > 1) chart.append(words(width - 10, height - low - 26 + 14 * n, name, { "text-anchor": "end", class: n ? "second" : "first" }));
  });
  chart.append(words(width / 2, height - 2, xLabel, { "text-anchor": "middle" }));
  return figure(title, chart, kind);
}

// Counts over an axis on a square root scale: small shares stay visible.
function columnsOf(chart, counts, low, high, box, kind) {
  const [l, t, r, b] = box, most = Math.sqrt(Math.max(...counts, 1));
  counts.forEach((count, k) => {
    const tall = Math.sqrt(count) / most * (b - t), wide = (r - l) / counts.length;
    if (count) chart.append(svg("rect", { x: (l + k * wide).toFixed(1), y: (b - tall).toFixed(1), width: Math.max(wide - .5, .5).toFixed(1), height: tall.toFixed(1), class: kind }));
  });
  return (value) => l + (value - low) / ((high - low) || 1) * (r - l);
}

// Weights of a layer: float ones in bins, how many have each value of the format as stems.
function weightHistogram(item) {
  const width = 250, height = 120, box = [8, 18, width - 8, height - 18];
  const chart = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `weights of ${item.layer}` });
  const place = columnsOf(chart, item.float, item.low, item.high, box, "float");
  const most = Math.sqrt(Math.max(...item.codes, 1));
  item.grid.forEach((value, k) => {
    const x = place(value).toFixed(1), y = (box[3] - Math.sqrt(item.codes[k]) / most * (box[3] - box[1])).toFixed(1);
    chart.append(svg("line", { x1: x, x2: x, y1: box[3], y2: y, class: "stem" }), svg("circle", { cx: x, cy: y, r: 1.8, class: "stem" }));
  });
  chart.append(words(8, 11, `${tail(item.layer, 22)}  ${item.format}`), words(8, height - 5, short(item.low)), words(width - 8, height - 5, short(item.high), { "text-anchor": "end" }));
  return chart;
}

// What a quantizer reads, and the range of its format as a box over it.
function actHistogram(item) {
  const width = 250, height = 120, box = [8, 18, width - 8, height - 18];
  const chart = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `activations of ${item.layer}` });
  const place = (value) => box[0] + (value - item.low) / ((item.high - item.low) || 1) * (box[2] - box[0]);
  const [from, to] = [place(item.from), place(item.to)];
  chart.append(svg("rect", { x: from, y: box[1], width: Math.max(to - from, 1), height: box[3] - box[1], class: "range" }));
  columnsOf(chart, item.counts, item.low, item.high, box, "float");
  chart.append(words(8, 11, `${tail(item.layer, 22)}  ${item.format}`), words(8, height - 5, short(item.low)), words(width - 8, height - 5, short(item.high), { "text-anchor": "end" }));
  return chart;
}

// Two values a layer on a logarithmic axis, joined by a line.
function pairsOf(title, names, first, second, labels, kind) {
  const row = 18, left = 170, width = 520, top = 20, height = names.length * row + top + 18;
  const known = [...first, ...second].filter((v) => v > 0).map(Math.log10);
  const [low, high] = known.length ? [Math.floor(Math.min(...known)), Math.ceil(Math.max(...known))] : [-1, 0];
  const at = (v) => v > 0 ? left + (Math.log10(v) - low) / Math.max(high - low, 1) * (width - left - 16) : left;
  const chart = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": title });
  for (let p = low; p <= high; p += Math.max(Math.ceil((high - low) / 5), 1)) {
    const x = at(10 ** p);
    chart.append(svg("line", { x1: x, x2: x, y1: top, y2: height - 16 }), words(x, height - 4, `1e${p}`, { "text-anchor": "middle" }));
  }
  names.forEach((name, k) => {
    const y = top + k * row + 9, [a, b] = [at(first[k]), at(second[k])];
    chart.append(words(left - 6, y + 4, tail(name, 26), { "text-anchor": "end" }), svg("line", { x1: a, x2: b, y1: y, y2: y, class: "join" }));
    if (first[k] > 0) chart.append(svg("circle", { cx: a, cy: y, r: 4, class: "first" }));
    if (second[k] > 0) chart.append(svg("rect", { x: b - 3.5, y: y - 3.5, width: 7, height: 7, class: "second" }));
  });
  chart.append(svg("circle", { cx: left + 6, cy: 8, r: 4, class: "first" }), words(left + 14, 12, labels[0]),
    svg("rect", { x: left + 140, y: 4.5, width: 7, height: 7, class: "second" }), words(left + 152, 12, labels[1]));
  return figure(title, chart, kind);
}

// Everything that was kept of one point: sensitivity, errors, histograms.
function pointCharts(kept) {
  const parts = [], of = (part) => kept.sensitivity.filter((row) => row.part === part);
  const names = [...new Set(kept.sensitivity.map((row) => row.layer))];
  const measure = kept.sensitivity.some((row) => row.kl > 0) ? "kl" : "mse";
  const value = (part) => names.map((name) => (of(part).find((row) => row.layer === name) || {})[measure] || 0);
  const unit = measure === "kl" ? "divergence of the classes, nats" : "mean squared change of the outputs";
  const charts = [pairsOf(`Sensitivity: one layer quantized alone, on ${kept.items} calibration inputs (${unit})`, names, value("weight"), value("act"), ["its weights", "its activations"], "sensitivity")];
  const power = (decibel) => decibel === null ? 0 : 10 ** (decibel / 10);
  charts.push(pairsOf("Error of each layer's output over its power", kept.errors.map((e) => e.layer), kept.errors.map((e) => power(e.before)), kept.errors.map((e) => power(e.after)), ["round to nearest", "all steps"], "errors"));
  parts.push(element("h3", { text: "Sensitivity and error of the layers" }), element("div", { class: "two" }, ...charts));
  parts.push(element("h3", { text: "Weights" }), element("p", { class: "quiet", text: "In units of their scale: float weights as columns, how many have each value of the format as stems (square root scales)." }), element("div", { class: "many chart", "data-chart": "weights" }, ...kept.weights.map(weightHistogram)));
  parts.push(element("h3", { text: "Activations" }), element("p", { class: "quiet", text: "What each quantizer reads on the calibration inputs; the box is the range of its format." }), element("div", { class: "many chart", "data-chart": "acts" }, ...kept.acts.map(actHistogram)));
  return parts;
}
