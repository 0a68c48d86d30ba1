// SPDX-License-Identifier: Apache-2.0
// The page: unpacks the data, fills the controls, draws points, table, details and curves.
"use strict";

async function unpack(text) {
  const bytes = Uint8Array.from(atob(text.trim()), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}

const byId = (id) => document.getElementById(id);
const read = (column, row) => "words" in column ? column.words[column.codes[row]] : column.values[row];

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

function tell(value) {
  if (value === null || value === undefined) return "";
  return typeof value === "number" ? value.toLocaleString("en", { maximumFractionDigits: 6 }) : String(value);
}

// Horizontal bars, one a layer.
function bars(title, names, values) {
  const most = Math.max(...values, 1), row = 18, left = 170, width = 520;
  const chart = svg("svg", { viewBox: `0 0 ${width} ${names.length * row + 6}`, class: "chart", role: "img", "aria-label": title });
  names.forEach((name, k) => {
    const label = svg("text", { x: left - 6, y: k * row + 13, "text-anchor": "end" });
    label.textContent = name.length > 26 ? `…${name.slice(-25)}` : name;
    const long = values[k] / most * (width - left - 60);
    const value = svg("text", { x: left + long + 5, y: k * row + 13 });
    value.textContent = tell(values[k]);
    chart.append(label, svg("rect", { x: left, y: k * row + 3, width: long, height: 12 }), value);
  });
  return element("figure", {}, chart, element("figcaption", { text: title }));
}

// A curve that holds its value until the next point.
function curve(title, pairs, xLabel) {
  const width = 520, height = 240, left = 46, low = 32;
  const xs = pairs.map((p) => p[0]), ys = pairs.map((p) => p[1]);
  const [x1, y1] = [Math.max(...xs) || 1, Math.max(...ys) || 1];
  const at = (x, y) => [left + x / x1 * (width - left - 8), (height - low) * (1 - y / y1 * .94)];
  let path = "";
  pairs.forEach(([x, y], k) => {
    const [px, py] = at(x, y);
    path += k ? `H${px.toFixed(1)}V${py.toFixed(1)}` : `M${px.toFixed(1)},${py.toFixed(1)}`;
  });
  const chart = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": title }, svg("path", { d: path }));
  for (const tick of niceTicks(0, x1, 5)) {
    const label = svg("text", { x: at(tick, 0)[0], y: height - 14, "text-anchor": "middle" });
    label.textContent = short(tick);
    chart.append(label);
  }
  for (const tick of niceTicks(0, y1, 4)) {
    const label = svg("text", { x: left - 6, y: at(0, tick)[1] + 4, "text-anchor": "end" });
    label.textContent = short(tick);
    chart.append(label);
  }
  const name = svg("text", { x: width / 2, y: height - 1, "text-anchor": "middle" });
  name.textContent = xLabel;
  chart.append(name);
  return [chart, element("figcaption", { text: title })];
}

// Whether a rival dominates a place; rivals are a front in order of x, so of those not farther
// the last is the best.
function beaten(rivals, [x, y]) {
  let low = 0, high = rivals.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (rivals[middle][0] <= x) low = middle + 1; else high = middle;
  }
  if (!low) return false;
  const [rx, ry] = rivals[low - 1];
  return ry < y || (ry === y && rx < x);
}

function start(data) {
  const columns = new Map(data.columns.map((column) => [column.name, column]));
  const rowCount = data.count, all = Array.from({ length: rowCount }, (_, i) => i);
  const get = (name, row) => columns.has(name) ? read(columns.get(name), row) : null;
  const axisOf = new Map(data.axes.map((axis) => [axis.name, axis]));
  const families = Object.entries(data.families);
  const kept = (() => { try { return JSON.parse(sessionStorage.getItem(`hwquant:${document.title}`)) || {}; } catch { return {}; } })();
  const state = { x: data.x, y: data.y, off: [], method: "", run: "", layer: "", format: "", text: "", log: false, intervals: true, chosen: data.chosen, ...kept };
  if (!axisOf.has(state.x)) state.x = data.x;
  if (!axisOf.has(state.y)) state.y = data.y;
  if (!(state.chosen >= -1 && state.chosen < rowCount)) state.chosen = data.chosen;
  let scene = null, visible = [], order = { column: "", sign: 1 };

  const shapeOf = (row) => data.layers.of[row] < 0 ? null : data.layers.shapes[data.layers.of[row]];
  const members = data.layers.shapes.map((_, s) => all.filter((i) => data.layers.of[i] === s));
  const position = new Map(members.flatMap((list) => list.map((row, k) => [row, k])));
  function layerField(row, name) {
    const shape = shapeOf(row);
    if (!shape) return null;
    const fixed = shape.fixed.find((f) => f.name === name);
    if (fixed) return shape.names.map((_, k) => read(fixed, k));
    const varying = shape.varying.find((f) => f.name === name);
    const from = position.get(row) * shape.names.length;
    return varying ? shape.names.map((_, k) => read(varying, from + k)) : null;
  }
  const layerFieldNames = (row) => { const shape = shapeOf(row); return shape ? [...shape.fixed, ...shape.varying].map((f) => f.name) : []; };
  function formatIn(row, layer) {
    const shape = shapeOf(row), k = shape ? shape.names.indexOf(layer) : -1;
    return k < 0 ? null : layerField(row, "weight")[k];
  }

  function passes(row) {
    if (state.off.includes(get("family", row))) return false;
    if (state.method && get("steps", row) !== state.method) return false;
    if (state.run && get("run", row) !== state.run) return false;
    if (state.layer && state.format && formatIn(row, state.layer) !== state.format) return false;
    const words = state.text.toLowerCase().split(/\s+/).filter(Boolean);
    if (!words.length) return true;
    const text = data.columns.map((column) => read(column, row)).join(" ").toLowerCase();
    return words.every((word) => text.includes(word));
  }

  function rebuild() {
    const X = axisOf.get(state.x), Y = axisOf.get(state.y);
    const sign = (axis) => axis.sense === "max" ? -1 : 1;
    visible = all.filter(passes);
    const value = (axis, row) => { const v = get(axis.name, row); return typeof v === "number" && get("status", row) !== "failed" ? v * axis.factor : null; };
    const shown = visible.filter((row) => value(X, row) !== null && value(Y, row) !== null && (!state.log || value(X, row) > 0));
    const front = frontOf(shown.map((row) => [sign(X) * value(X, row), sign(Y) * value(Y, row)])).map((k) => shown[k]);
    const bound = (axis, row, end) => { const v = get(`${axis.name}_${end}`, row); return typeof v === "number" ? v * axis.factor : value(axis, row); };
    // What each rival is at its worst; a row is surely dominated when one of them beats its best.
    const worst = shown.map((row) => [
      Math.max(sign(X) * bound(X, row, "low"), sign(X) * bound(X, row, "high")),
      Math.max(sign(Y) * bound(Y, row, "low"), sign(Y) * bound(Y, row, "high"))]);
    const rivals = frontOf(worst).map((k) => worst[k]);
    const axisX = (v) => state.log ? Math.log10(v) : v;
    const onFront = new Set(front);
    const points = shown.map((row) => {
      const best = [
        Math.min(sign(X) * bound(X, row, "low"), sign(X) * bound(X, row, "high")),
        Math.min(sign(Y) * bound(Y, row, "low"), sign(Y) * bound(Y, row, "high"))];
      const sure = beaten(rivals, best);
      const [shape, colour] = data.families[get("family", row)] || ["o", "#777777"];
      const bars = state.intervals ? [axisX(Math.max(bound(X, row, "low"), 1e-9)), axisX(Math.max(bound(X, row, "high"), 1e-9)), bound(Y, row, "low"), bound(Y, row, "high")] : null;
      return { i: row, x: axisX(value(X, row)), y: value(Y, row), shape, colour, sure, on: onFront.has(row), bars };
    });
    points.sort((a, b) => a.on - b.on);
    scene = { points, front: front.sort((a, b) => value(X, a) - value(X, b)), chosen: state.chosen, log: state.log,
              xLabel: X.label, yLabel: Y.label, xGoodLow: sign(X) > 0 };
    const failed = visible.filter((row) => get("status", row) === "failed").length;
    byId("shown").textContent = `${points.length} of ${rowCount} points, ${front.length} on the front` + (failed ? `, ${failed} failed` : "");
    try { sessionStorage.setItem(`hwquant:${document.title}`, JSON.stringify(state)); } catch { /* private mode */ }
  }

  const label = (row) => [get("run", row), get("label", row), get("steps", row)].filter(Boolean).join("  ");
  function tip(row, at) {
    const box = byId("tip");
    box.style.display = row < 0 ? "none" : "block";
    if (row < 0) return;
    const lines = [state.x, state.y].map((name) => {
      const axis = axisOf.get(name), scaled = (v) => tell(+(v * axis.factor).toPrecision(6));
      const low = get(`${name}_low`, row), high = get(`${name}_high`, row);
      return `${axis.label}: ${scaled(get(name, row))}` + (low === null ? "" : ` (${scaled(low)} to ${scaled(high)})`);
    });
    box.replaceChildren(element("strong", { text: label(row) }), ...lines.map((line) => element("div", { text: line })));
    const room = byId("canvas").clientWidth - box.offsetWidth - 8;
    box.style.left = `${Math.max(0, Math.min(at[0] + 14, room))}px`;
    box.style.top = `${at[1] + 14}px`;
  }

  function details(row) {
    const pairs = data.columns.filter((c) => !/_(low|high)$/.test(c.name)).map((c) => [c.name, read(c, row)])
      .filter(([, v]) => v !== null && v !== "")
      .flatMap(([name, v]) => [element("dt", { text: name }), element("dd", { text: tell(v) })]);
    const parts = [element("dl", {}, ...pairs)];
    const shape = shapeOf(row);
    if (shape) {
      const names = layerFieldNames(row), fields = names.map((name) => layerField(row, name));
      const head = element("tr", {}, ...["name", ...names].map((name) => element("th", { text: name })));
      const lines = shape.names.map((name, k) => element("tr", {}, element("td", { text: name }), ...fields.map((f) => element("td", { text: tell(f[k]) }))));
      parts.push(element("h3", { text: "Layers" }), element("div", { class: "scroll" }, element("table", {}, element("thead", {}, head), element("tbody", {}, ...lines))));
      const charts = [["lut_sites", "LUT6 sites of each layer's kernels"], ["weight_bits", "Weight memory of each layer, bits"], ["cycles", "Cycles of each layer"]]
        .filter(([name]) => names.includes(name)).map(([name, title]) => bars(title, shape.names, layerField(row, name).map((v) => v || 0)));
      parts.push(element("div", { class: "two" }, ...charts));
    }
    parts.push(element("h3", { text: "Take it further" }));
    for (const [what, command] of data.commands) {
      const text = command.replaceAll("{key}", get("key", row)).replaceAll("{run}", get("run", row) || data.run);
      const copy = element("button", { type: "button", text: "Copy", onclick: async () => { await navigator.clipboard.writeText(text); copy.textContent = "Copied"; } });
      parts.push(element("div", { class: "quiet", text: `${what} ` }, copy), element("pre", { text }));
    }
    byId("point-title").textContent = `Point ${label(row)}`;
    byId("point").replaceChildren(...parts);
  }

  function pick(row) {
    state.chosen = row;
    details(row);
    rebuild();
    plot.draw();
    table();
  }

  const LIMIT = 300;
  const shownColumns = data.columns.filter((c) => !/_(low|high)$/.test(c.name) && !data.quiet.includes(c.name));
  function table() {
    const front = new Set(scene.front);
    const rows = [...visible];
    if (order.column) {
      const column = columns.get(order.column);
      rows.sort((a, b) => {
        const [p, q] = [read(column, a), read(column, b)];
        if (p === null || q === null) return (p === null) - (q === null);
        return order.sign * (p < q ? -1 : p > q ? 1 : 0);
      });
    }
    const head = element("tr", {}, ...shownColumns.map((column) => {
      const sorted = order.column === column.name ? (order.sign > 0 ? "ascending" : "descending") : "none";
      const button = element("button", { type: "button", text: column.name, onclick: () => {
        order = { column: column.name, sign: order.column === column.name ? -order.sign : 1 };
        table();
      } });
      return element("th", { "aria-sort": sorted, class: "words" in column ? "text" : "" }, button);
    }));
    byId("head").replaceChildren(head);
    byId("body").replaceChildren(...rows.slice(0, LIMIT).map((row) => {
      const cells = shownColumns.map((column, k) => {
        const text = tell(read(column, row));
        if (k) return element("td", { text, class: "words" in column ? "text" : "" });
        return element("td", { class: "text" }, element("button", { type: "button", text: text || "open", onclick: () => pick(row) }));
      });
      return element("tr", { class: row === state.chosen ? "chosen" : front.has(row) ? "front" : "" }, ...cells);
    }));
    if (rows.length > LIMIT) byId("body").append(element("tr", {}, element("td", { colspan: shownColumns.length, text: `${rows.length - LIMIT} more: filter, or see results.csv` })));
  }

  function refill(select, pairs, value, change) {
    select.replaceChildren(...pairs.map(([v, text]) => element("option", { value: v, text })));
    select.value = value;
    if (select.value !== value) select.selectedIndex = 0;
    select.onchange = () => change(select.value);
  }
  function refresh(fit) { rebuild(); table(); if (fit) plot.fit(); else plot.draw(); }
  function set(name, fit) { return (value) => { state[name] = value; refresh(fit); }; }
  function formats() {
    const found = new Set(state.layer ? all.map((row) => formatIn(row, state.layer)).filter(Boolean) : []);
    refill(byId("layer-format"), [["", "any format"], ...[...found].sort().map((f) => [f, f])], state.format, set("format"));
  }
  const words = (name) => columns.has(name) && "words" in columns.get(name) ? columns.get(name).words.filter(Boolean) : [];

  byId("live").hidden = false;
  const axisPairs = data.axes.map((axis) => [axis.name, axis.label]);
  refill(byId("x"), axisPairs, state.x, set("x", true));
  refill(byId("y"), axisPairs, state.y, set("y", true));
  refill(byId("method"), [["", "any"], ...words("steps").map((w) => [w, w])], state.method, set("method"));
  byId("run-label").hidden = words("run").length < 2;
  refill(byId("run"), [["", "both"], ...words("run").map((w) => [w, w])], state.run, set("run"));
  const layerNames = [...new Set(data.layers.shapes.flatMap((shape) => shape.names))];
  refill(byId("layer"), [["", "any"], ...layerNames.map((n) => [n, n])], state.layer, (value) => { state.layer = value; state.format = ""; formats(); refresh(); });
  formats();
  byId("filter").value = state.text;
  byId("filter").oninput = () => set("text")(byId("filter").value);
  for (const name of ["log", "intervals"]) {
    byId(name).checked = state[name];
    byId(name).onchange = () => set(name, name === "log")(byId(name).checked);
  }
  byId("families").append(...families.filter(([name]) => words("family").includes(name)).map(([name, [shape, colour]]) => {
    const box = element("input", { type: "checkbox", onchange: () => {
      state.off = box.checked ? state.off.filter((f) => f !== name) : [...state.off, name];
      refresh();
    } });
    box.checked = !state.off.includes(name);
    const sample = element("canvas", { width: 14, height: 14, class: "swatch" }), c = sample.getContext("2d");
    c.fillStyle = colour;
    c.beginPath();
    SHAPES[shape](c, 7, 7, 5);
    c.fill();
    return element("label", {}, box, sample, name);
  }));

  const plot = new Scatter(byId("canvas"), () => scene, tip, pick);
  byId("nearer").onclick = () => plot.zoom(.7);
  byId("farther").onclick = () => plot.zoom(1.4);
  byId("whole").onclick = () => plot.fit();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => plot.draw());
  refresh(true);
  if (state.chosen !== data.chosen) details(state.chosen);
  if (data.history.length > 1) {
    const figure = byId("history");
    figure.hidden = false;
    figure.append(...curve("Hypervolume of the front while the sweep ran (share of the unit square)", data.history, "seconds"));
  }
  document.documentElement.dataset.ready = "1";
}

unpack(byId("data").textContent).then(start, (error) => {
  byId("live").hidden = false;
  byId("shown").textContent = `the page's data cannot be read (${error.message}); see results.csv`;
});
