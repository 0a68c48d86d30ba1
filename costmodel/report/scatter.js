// SPDX-License-Identifier: Apache-2.0
// A scatter plot on a canvas: axes, points by family, the front, intervals; pan, zoom, pick.
"use strict";

function niceTicks(low, high, count) {
  const span = high - low || 1, raw = span / Math.max(count, 1);
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= raw);
  const ticks = [];
  for (let tick = Math.ceil(low / step) * step; tick <= high + step * 1e-9; tick += step) ticks.push(tick);
  return ticks;
}

function logTicks(low, high) {
  const ticks = [];
  for (let power = Math.floor(low); power <= high; power += 1) {
    for (const factor of high - low > 3 ? [1] : [1, 2, 5]) {
      const tick = power + Math.log10(factor);
      if (tick >= low && tick <= high) ticks.push(tick);
    }
  }
  return ticks;
}

function short(value) {
  const size = Math.abs(value);
  if (size >= 1e6) return `${+(value / 1e6).toPrecision(4)}M`;
  if (size >= 1e4) return `${+(value / 1e3).toPrecision(4)}k`;
  return `${+value.toPrecision(5)}`;
}

// Which points no other dominates; costs are [x, y] with small good, null where unknown.
function frontOf(costs) {
  const order = costs.map((_, i) => i).filter((i) => costs[i])
    .sort((a, b) => costs[a][0] - costs[b][0] || costs[a][1] - costs[b][1]);
  const front = [];
  let best = Infinity, last = null;
  for (const i of order) {
    const [x, y] = costs[i];
    if (y < best) { front.push(i); best = y; last = x; }
    else if (y === best && x === last) front.push(i);
  }
  return front;
}

const SHAPES = {
  o: (c, x, y, r) => c.arc(x, y, r, 0, 2 * Math.PI),
  s: (c, x, y, r) => c.rect(x - r * .88, y - r * .88, r * 1.76, r * 1.76),
  "^": (c, x, y, r) => { c.moveTo(x, y - r * 1.15); c.lineTo(x + r, y + r * .8); c.lineTo(x - r, y + r * .8); c.closePath(); },
  v: (c, x, y, r) => { c.moveTo(x, y + r * 1.15); c.lineTo(x + r, y - r * .8); c.lineTo(x - r, y - r * .8); c.closePath(); },
  D: (c, x, y, r) => { c.moveTo(x, y - r * 1.2); c.lineTo(x + r * 1.2, y); c.lineTo(x, y + r * 1.2); c.lineTo(x - r * 1.2, y); c.closePath(); },
  X: (c, x, y, r) => { const w = r * .45; for (const [a, b] of [[1, 1], [1, -1]]) { c.moveTo(x - a * r + b * w, y - b * r - a * w); c.lineTo(x + a * r + b * w, y + b * r - a * w); c.lineTo(x + a * r - b * w, y + b * r + a * w); c.lineTo(x - a * r - b * w, y - b * r + a * w); c.closePath(); } },
  P: (c, x, y, r) => { const w = r * .4; c.rect(x - r, y - w, 2 * r, 2 * w); c.rect(x - w, y - r, 2 * w, 2 * r); },
};
SHAPES["*"] = (c, x, y, r) => {
  for (let k = 0; k < 10; k += 1) {
    const angle = Math.PI * (k / 5 - .5), away = k % 2 ? r * .52 : r * 1.3;
    if (k) c.lineTo(x + away * Math.cos(angle), y + away * Math.sin(angle)); else c.moveTo(x + away * Math.cos(angle), y + away * Math.sin(angle));
  }
  c.closePath();
};

// One marker: full on the front, pale when dominated, an outline when surely dominated.
function paint(c, point, x, y) {
  c.beginPath();
  SHAPES[point.shape](c, x, y, point.on ? 6 : 4.2);
  if (!point.on && point.sure) {
    c.globalAlpha = .55;
    c.strokeStyle = point.colour;
    c.lineWidth = 1.1;
    c.stroke();
  } else {
    c.globalAlpha = point.on ? 1 : .6;
    c.fillStyle = point.colour;
    c.fill();
  }
  c.globalAlpha = 1;
}

const MARGIN = { left: 70, right: 18, top: 14, bottom: 46 };

class Scatter {
  // scene() returns {points: [{i, x, y, shape, colour, sure, on, bars}], front, fronts, level, named,
  // chosen, log, xLabel, yLabel, xGoodLow}
  constructor(canvas, scene, onHover, onPick) {
    Object.assign(this, { canvas, scene, onHover, onPick, view: null, hovered: -1 });
    this.drag = null;
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoom(Math.exp(event.deltaY * .0015), this.place(event));
    }, { passive: false });
    canvas.addEventListener("pointerdown", (event) => {
      this.drag = { at: this.place(event), view: [...this.view], moved: false };
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointermove", (event) => this.moved(this.place(event)));
    canvas.addEventListener("pointerup", (event) => {
      const clicked = this.drag && !this.drag.moved;
      this.drag = null;
      if (clicked) { const found = this.nearest(this.place(event)); if (found >= 0) this.onPick(found); }
    });
    canvas.addEventListener("pointerleave", () => this.hover(-1));
    canvas.addEventListener("dblclick", () => this.fit());
    canvas.addEventListener("keydown", (event) => this.key(event));
    new ResizeObserver(() => this.draw()).observe(canvas);
  }

  place(event) {
    const box = this.canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  get area() {
    const { clientWidth: w, clientHeight: h } = this.canvas;
    return [MARGIN.left, MARGIN.top, w - MARGIN.right, h - MARGIN.bottom];
  }

  toPixels(x, y) {
    const [x0, x1, y0, y1] = this.view, [l, t, r, b] = this.area;
    return [l + (x - x0) / (x1 - x0) * (r - l), b - (y - y0) / (y1 - y0) * (b - t)];
  }

  fit() {
    const { points } = this.scene();
    const range = (values) => {
      let low = Infinity, high = -Infinity;
      for (const value of values) { if (value < low) low = value; if (value > high) high = value; }
      if (!(low <= high)) return [0, 1];
      const pad = (high - low) * .06 || Math.abs(high) * .1 || 1;
      return [low - pad, high + pad];
    };
    const ends = points.filter((p) => p.on && p.bars).map((p) => p.bars);
    this.view = [...range([...points.map((p) => p.x), ...ends.flatMap((e) => e.slice(0, 2))]), ...range([...points.map((p) => p.y), ...ends.flatMap((e) => e.slice(2))])];
    this.draw();
  }

  zoom(factor, at) {
    const [l, t, r, b] = this.area, [x0, x1, y0, y1] = this.view;
    const [px, py] = at || [(l + r) / 2, (t + b) / 2];
    const cx = x0 + (px - l) / (r - l) * (x1 - x0), cy = y0 + (b - py) / (b - t) * (y1 - y0);
    this.view = [cx + (x0 - cx) * factor, cx + (x1 - cx) * factor, cy + (y0 - cy) * factor, cy + (y1 - cy) * factor];
    this.draw();
  }

  moved(at) {
    if (!this.drag) { this.hover(this.nearest(at), at); return; }
    const [dx, dy] = [at[0] - this.drag.at[0], at[1] - this.drag.at[1]];
    if (Math.hypot(dx, dy) < 4 && !this.drag.moved) return;
    this.drag.moved = true;
    const [x0, x1, y0, y1] = this.drag.view, [l, t, r, b] = this.area;
    const sx = dx / (r - l) * (x1 - x0), sy = dy / (b - t) * (y1 - y0);
    this.view = [x0 - sx, x1 - sx, y0 + sy, y1 + sy];
    this.draw();
  }

  hover(index) {
    if (index === this.hovered) return;
    this.hovered = index;
    this.draw();
    const point = index < 0 ? null : this.scene().points.find((p) => p.i === index);
    this.onHover(index, point ? this.toPixels(point.x, point.y) : null);
  }

  nearest([px, py]) {
    let best = -1, distance = 18;
    for (const point of this.scene().points) {
      const [x, y] = this.toPixels(point.x, point.y);
      const away = Math.hypot(x - px, y - py) - (point.on ? 2 : 0);
      if (away < distance) { distance = away; best = point.i; }
    }
    return best;
  }

  key(event) {
    const { front } = this.scene();
    const step = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
    if (step && front.length) {
      const at = front.indexOf(this.hovered);
      this.hover(front[at < 0 ? (step > 0 ? 0 : front.length - 1) : Math.min(Math.max(at + step, 0), front.length - 1)]);
    } else if (event.key === "Enter" && this.hovered >= 0) this.onPick(this.hovered);
    else if (event.key === "+" || event.key === "=") this.zoom(.8);
    else if (event.key === "-") this.zoom(1.25);
    else if (event.key === "0") this.fit();
    else if (event.key === "Escape") this.hover(-1);
    else return;
    event.preventDefault();
  }

  draw() {
    const { canvas } = this, scale = window.devicePixelRatio || 1;
    const width = canvas.clientWidth, height = canvas.clientHeight;
    if (!width || !this.view) return;
    canvas.width = width * scale;
    canvas.height = height * scale;
    const c = canvas.getContext("2d"), style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(`--${name}`).trim();
    const scene = this.scene();
    c.scale(scale, scale);
    c.clearRect(0, 0, width, height);
    this.axes(c, scene, colour);
    const [l, t, r, b] = this.area;
    c.save();
    c.beginPath();
    c.rect(l, t, r - l, b - t);
    c.clip();
    if (scene.level !== null) this.level(c, scene.level, colour("quiet"));
    if (scene.fronts.length) {
      scene.fronts.forEach((places, n) => this.steps(c, scene, places, colour(n ? "accent" : "link"), n ? [6, 4] : []));
    } else this.steps(c, scene, scene.points.filter((p) => p.on).map((p) => [p.x, p.y]), colour("quiet"), []);
    const few = scene.front.length <= 200;
    for (const point of scene.points) if (point.bars && ((point.on && few) || point.i === this.hovered)) this.bars(c, point);
    for (const point of scene.points) {
      const [x, y] = this.toPixels(point.x, point.y);
      paint(c, point, x, y);
      if (point.run > 0) { // the second run's have a hole
        c.fillStyle = colour("page");
        c.beginPath();
        c.arc(x, y, point.on ? 2.2 : 1.6, 0, 2 * Math.PI);
        c.fill();
      }
      if (point.i === scene.chosen || point.i === this.hovered) {
        c.globalAlpha = 1;
        c.strokeStyle = colour("ink");
        c.lineWidth = point.i === scene.chosen ? 2.2 : 1.2;
        c.beginPath();
        c.arc(x, y, 9.5, 0, 2 * Math.PI);
        c.stroke();
      }
    }
    if (scene.named && scene.front.length <= 40) this.names(c, scene, colour("ink"));
    c.restore();
  }

  axes(c, scene, colour) {
    const [l, t, r, b] = this.area, [x0, x1, y0, y1] = this.view;
    c.font = "12px system-ui, sans-serif";
    c.strokeStyle = colour("line");
    c.fillStyle = colour("quiet");
    c.lineWidth = 1;
    c.textAlign = "center";
    for (const tick of scene.log ? logTicks(x0, x1) : niceTicks(x0, x1, (r - l) / 110)) {
      const [x] = this.toPixels(tick, y0);
      c.beginPath(); c.moveTo(x, t); c.lineTo(x, b); c.stroke();
      c.fillText(short(scene.log ? 10 ** tick : tick), x, b + 17);
    }
    c.textAlign = "right";
    for (const tick of niceTicks(y0, y1, (b - t) / 60)) {
      const [, y] = this.toPixels(x0, tick);
      c.beginPath(); c.moveTo(l, y); c.lineTo(r, y); c.stroke();
      c.fillText(short(tick), l - 7, y + 4);
    }
    c.fillStyle = colour("ink");
    c.textAlign = "center";
    c.fillText(scene.xLabel, (l + r) / 2, b + 37);
    c.save();
    c.translate(16, (t + b) / 2);
    c.rotate(-Math.PI / 2);
    c.fillText(scene.yLabel, 0, 0);
    c.restore();
  }

  // The float network's value: a dashed line across.
  level(c, value, colour) {
    const [l, , r] = this.area, [, y] = this.toPixels(this.view[0], value);
    c.strokeStyle = colour;
    c.setLineDash([3, 4]);
    c.beginPath(); c.moveTo(l, y); c.lineTo(r, y); c.stroke();
    c.setLineDash([]);
    c.fillStyle = colour;
    c.textAlign = "right";
    c.font = "11px system-ui, sans-serif";
    c.fillText("float32", r - 4, y - 4);
  }

  steps(c, scene, given, colour, dashes) {
    const places = given.map(([x, y]) => this.toPixels(x, y)).sort((a, b) => a[0] - b[0]);
    if (places.length < 2) return;
    c.strokeStyle = colour;
    c.lineWidth = 1.4;
    c.setLineDash(dashes);
    c.beginPath();
    c.moveTo(...places[0]);
    for (let k = 1; k < places.length; k += 1) {
      const [px, py] = places[k - 1], [x, y] = places[k];
      if (scene.xGoodLow) c.lineTo(x, py); else c.lineTo(px, y);
      c.lineTo(x, y);
    }
    c.stroke();
    c.setLineDash([]);
  }

  // Names of front points, each where it meets no other name.
  names(c, scene, colour) {
    c.font = "12px system-ui, sans-serif";
    c.fillStyle = colour;
    c.textAlign = "left";
    const taken = scene.points.filter((p) => p.on).map((p) => { const [x, y] = this.toPixels(p.x, p.y); return [x - 7, y - 7, x + 7, y + 7]; });
    const [l, t, r, b] = this.area;
    for (const point of scene.points) {
      if (!point.on) continue;
      const text = scene.named(point.i), wide = c.measureText(text).width, [x, y] = this.toPixels(point.x, point.y);
      for (const [dx, dy] of [[9, 16], [9, -9], [-9 - wide, -9], [-9 - wide, 16]]) {
        const box = [x + dx, y + dy - 10, x + dx + wide, y + dy + 2];
        if (box[0] < l || box[2] > r || box[1] < t || box[3] > b) continue;
        if (taken.some((o) => box[0] < o[2] && o[0] < box[2] && box[1] < o[3] && o[1] < box[3])) continue;
        c.fillText(text, x + dx, y + dy);
        taken.push(box);
        break;
      }
    }
  }

  bars(c, point) {
    const [xl, xh, yl, yh] = point.bars;
    c.globalAlpha = .7;
    c.strokeStyle = point.colour;
    c.lineWidth = 1.2;
    c.beginPath();
    c.moveTo(...this.toPixels(xl, point.y)); c.lineTo(...this.toPixels(xh, point.y));
    c.moveTo(...this.toPixels(point.x, yl)); c.lineTo(...this.toPixels(point.x, yh));
    c.stroke();
  }
}
