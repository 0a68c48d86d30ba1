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
  const runs = columns.has("run") ? columns.get("run").words.filter(Boolean) : [];
  const kept = (() => { try { return JSON.parse(sessionStorage.getItem(`hwquant:${document.title}`)) || {}; } catch { return {}; } })();
  const state = { x: data.x, y: data.y, off: [], method: "", run: "", layer: "", format: "", text: "", log: false, intervals: true, names: true, chosen: data.chosen, ...kept };
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
    const value = (axis, row) => { const v = get(axis.name, row); return typeof v === "number" && get("status", row) === "done" ? v * axis.factor : null; };
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
      return { i: row, x: axisX(value(X, row)), y: value(Y, row), shape, colour, sure, on: onFront.has(row), bars, run: runs.indexOf(get("run", row)) };
    });
    points.sort((a, b) => a.on - b.on);
    const level = data.baselines[state.y];
    const fronts = runs.length < 2 || state.run ? [] : runs.map((run) => {
      const mine = shown.filter((row) => get("run", row) === run);
      return frontOf(mine.map((row) => [sign(X) * value(X, row), sign(Y) * value(Y, row)])).map((k) => [axisX(value(X, mine[k])), value(Y, mine[k])]);
    });
    scene = { points, fronts, level: level === undefined ? null : level * Y.factor, named: state.names ? (row) => get("label", row) : null, front: front.sort((a, b) => value(X, a) - value(X, b)), chosen: state.chosen, log: state.log,
              xLabel: X.label, yLabel: Y.label, xGoodLow: sign(X) > 0 };
    tellMeaning(points);
    const failed = visible.filter((row) => get("status", row) === "failed").length;
    byId("shown").textContent = `${points.length} of ${rowCount} points, ${front.length} on the front` + (failed ? `, ${failed} failed` : "");
    try { sessionStorage.setItem(`hwquant:${document.title}`, JSON.stringify(state)); } catch { /* private mode */ }
  }

  const label = (row) => [get("run", row), get("label", row), get("steps", row)].filter(Boolean).join("  ");
  function tip(row, at) {
    const box = byId("tip");
    box.style.display = row < 0 ? "none" : "block";
    if (row < 0) return;
    const lines = [state.x, state.y].map((name) => `${axisOf.get(name).label}: ${withInterval(name, row)}`);
    const point = scene.points.find((p) => p.i === row);
    if (point) lines.push(point.on ? "on the front" : point.sure ? "surely dominated" : "dominated by the estimates");
    box.replaceChildren(element("strong", { text: label(row) }), ...lines.map((line) => element("div", { text: line })));
    const room = byId("canvas").clientWidth - box.offsetWidth - 8;
    box.style.left = `${Math.max(0, Math.min(at[0] + 14, room))}px`;
    box.style.top = `${at[1] + 14}px`;
  }

  // What the shades and lines of the plot mean, and how many points are of each kind.
  function tellMeaning(points) {
    const count = (test) => points.filter(test).length;
    const kinds = [["on the front", "on", count((p) => p.on)], ["dominated by the estimates", "off", count((p) => !p.on && !p.sure)], ["surely dominated, whatever the truth within the intervals", "sure", count((p) => !p.on && p.sure)]];
    const lines = scene.fronts.map((_, n) => {
      const sample = svg("svg", { width: 30, height: 10, class: "swatch" }, svg("line", { x1: 0, x2: 30, y1: 5, y2: 5, class: n ? "second" : "first" }));
      return element("span", {}, sample, `front of ${runs[n]}${n ? " (points with a hole)" : ""}`);
    });
    byId("meaning").replaceChildren(...lines, ...kinds.map(([text, kind, number]) => {
      const sample = element("canvas", { width: 16, height: 16, class: "swatch" }), c = sample.getContext("2d");
      paint(c, { shape: "o", colour: "#0072B2", on: kind === "on", sure: kind === "sure" }, 8, 8);
      return element("span", { "data-kind": kind, "data-count": number }, sample, `${number.toLocaleString("en")} ${text}`);
    }));
  }

  // A value with the ends of its interval, in the unit of its axis.
  function withInterval(name, row) {
    const value = get(name, row), low = get(`${name}_low`, row), high = get(`${name}_high`, row);
    const factor = axisOf.has(name) ? axisOf.get(name).factor : 1;
    const scaled = (v) => tell(+(v * factor).toPrecision(6)) + (factor === 100 ? " %" : "");
    if (typeof value !== "number" || typeof low !== "number") return typeof value === "number" && factor !== 1 ? scaled(value) : tell(value);
    const about = (v) => tell(+(v * factor).toPrecision(4)) + (factor === 100 ? " %" : "");
    return low === high ? `${scaled(value)} (exact)` : `${scaled(value)} (${about(low)} to ${about(high)})`;
  }

  const FIRST = ["lut_sites", "top1", "weight", "act", "layers", "overrides", "steps", "style", "seed", "ff", "dsp", "memory_bram18", "weight_bits", "acc_bits", "interval_cycles", "latency_cycles"];
  function details(row) {
    const names = data.columns.map((c) => c.name).filter((name) => !/_(low|high)$/.test(name) && get(name, row) !== null && get(name, row) !== "");
    const list = (some) => element("dl", { class: "wide" }, ...some.map((name) => element("div", {}, element("dt", { text: name }), element("dd", { text: withInterval(name, row) }))));
    const first = ["error", state.x, state.y, ...FIRST].filter((name, k, every) => names.includes(name) && every.indexOf(name) === k);
    const rest = names.filter((name) => !first.includes(name));
    const parts = [list(first), element("details", {}, element("summary", { class: "quiet", text: `All ${names.length} columns` }), list(rest))];
    const shape = shapeOf(row);
    if (shape) {
      const known = layerFieldNames(row), fields = known.map((name) => layerField(row, name));
      const head = element("tr", {}, ...["name", ...known].map((name) => element("th", { text: name })));
      const lines = shape.names.map((name, k) => element("tr", {}, element("td", { text: name }), ...fields.map((f) => element("td", { text: tell(f[k]) }))));
      parts.push(element("h3", { text: "Layers" }), element("div", { class: "scroll" }, element("table", {}, element("thead", {}, head), element("tbody", {}, ...lines))));
    }
    parts.push(element("h3", { text: "Take it further" }));
    for (const [what, command] of data.commands) {
      const text = command.replaceAll("{key}", get("key", row)).replaceAll("{run}", get("run", row) || data.run);
      const copy = element("button", { type: "button", text: "Copy", onclick: async () => {
        try { await navigator.clipboard.writeText(text); copy.textContent = "Copied"; } catch { copy.textContent = "Select and copy"; }
      } });
      parts.push(element("div", { class: "quiet", text: `${what} ` }, copy), element("pre", { text }));
    }
    byId("point-title").textContent = `Point ${label(row)}`;
    byId("point").replaceChildren(...parts);
  }

  // Charts of the layers; histograms and sensitivity of points that have them, the others say how
  // to get them.
  function showKept(row) {
    const found = data.details[row], shape = shapeOf(row), known = layerFieldNames(row);
    const charts = !shape ? [] : [["lut_sites", "LUT6 sites of each layer's kernels"], ["weight_bits", "Weight memory of each layer, bits"], ["cycles", "Cycles of each layer"]]
      .filter(([name]) => known.includes(name)).map(([name, title]) => bars(title, shape.names, layerField(row, name).map((v) => v || 0), name));
    const names = data.commands.filter(([, command]) => command.startsWith("hwquant report"));
    const hint = names.length && get("status", row) === "done" ? [element("p", { class: "quiet", text: `No histograms of this point yet: hwquant report ${get("run", row) || data.run} --pick key:${get("key", row)}` })] : [];
    byId("kept").replaceChildren(element("div", { class: "two" }, ...charts), ...(found ? pointCharts(found) : hint));
  }

  function pick(row) {
    state.chosen = row;
    details(row);
    showKept(row);
    rebuild();
    plot.draw();
    table();
  }

  const LIMIT = 300;
  const shownColumns = data.columns.filter((c) => !/_(low|high)$/.test(c.name) && (!data.quiet.includes(c.name) || (c.name === "run" && runs.length > 1)));
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
  for (const name of ["log", "intervals", "names"]) {
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
    paint(c, { shape, colour, on: true }, 7, 7);
    return element("label", {}, box, sample, name);
  }));

  const plot = new Scatter(byId("canvas"), () => scene, tip, pick);
  byId("nearer").onclick = () => plot.zoom(.7);
  byId("farther").onclick = () => plot.zoom(1.4);
  byId("whole").onclick = () => plot.fit();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => plot.draw());
  const themes = ["system", "light", "dark"], button = byId("theme");
  function theme(name) {
    if (name === "system") delete document.documentElement.dataset.theme; else document.documentElement.dataset.theme = name;
    button.textContent = `Theme: ${name}`;
    button.setAttribute("aria-label", `Colours: ${name}`);
    try { localStorage.setItem("hwquant:theme", name); } catch { /* private mode */ }
    if (plot.view) plot.draw();
  }
  button.hidden = false;
  button.onclick = () => theme(themes[(themes.indexOf(document.documentElement.dataset.theme || "system") + 1) % 3]);
  let last = "system";
  try { last = localStorage.getItem("hwquant:theme") || last; } catch { /* private mode */ }
  theme(themes.includes(last) ? last : "system");
  refresh(true);
  if (state.chosen !== data.chosen) details(state.chosen);
  if (state.chosen >= 0) showKept(state.chosen);
  const series = data.history.filter((s) => s.pairs.length > 1);
  if (series.length) {
    byId("history").hidden = false;
    byId("history").append(curves("Hypervolume of the front while the sweep ran (share of the unit square)", series, "seconds", "history"));
  }
  document.documentElement.dataset.ready = "1";
}

unpack(byId("data").textContent).then(start, (error) => {
  byId("live").hidden = false;
  byId("shown").textContent = `the page's data cannot be read (${error.message}); see results.csv`;
});
