"use strict";
// The panel: what stands behind the pixel that a reader points at.
(() => {
  const { data, values, real, at, roundEven, integer, restored, evaluate, flat, place, cells, covered, weighed } = numbers;
  const { h, say, whole, short, plus, grid, large, mark } = drawing;
  const panel = document.getElementById("panel");
  const empty = panel.firstElementChild;
  const fround = Math.fround;

  // ---- what the panel says, by the kind of stage

  let inIntegers = false;

  function rounding(stage, value) {
    const to = stage.rounding;
    const q = integer(value, to);
    const cut = roundEven(fround(value / to.scale)) + to.zero;
    return h("div", { class: "terms" }, h("h4", {}, `Rounded to ${to.dtype}`),
      h("p", { class: "sum" }, `round(${say(value)} / ${say(to.scale)}) ${plus(to.zero, whole)} = ${whole(cut)}${cut !== q ? `, which ${to.dtype} cuts to ${whole(q)}` : ""}`),
      h("p", { class: "sum" }, `(${whole(q)} ${plus(-to.zero, whole)}) × ${say(to.scale)} = `, h("b", { "data-rounded": restored(q, to) }, say(restored(q, to)))));
  }

  // a convolution or a linear layer: window, weights, products
  function products(run, stage, c, y, x) {
    const found = weighed(run, stage, c, y, x);
    const box = h("div");
    const scales = stage.integers && (found.point ? [found.point.step] : data.tensors[stage.w].scale);
    const steps = scales && { x: stage.integers.x, w: scales[scales.length > 1 ? c : 0] };
    const ints = steps && inIntegers;
    const unit = ints ? steps.x * steps.w : 1;
    const text = ints ? whole : say;
    const pick = {
      x: (cell) => (ints ? Math.round(cell.x / steps.x) : cell.x),
      w: (cell) => (ints ? Math.round(cell.w / steps.w) : cell.w),
      product: (cell) => (ints ? Math.round(cell.x / steps.x) * Math.round(cell.w / steps.w) : cell.product),
    };
    const total = (cells) => cells.reduce((sum, cell) => sum + pick.product(cell), 0);
    if (steps) {
      const button = (label, on) => h("button", { "aria-pressed": String(inIntegers === on), onclick: () => { inIntegers = on; again(); } }, label);
      box.append(h("div", { class: "tools" }, button("real numbers", false), button("integers", true)));
      if (ints) box.append(h("p", { class: "note" }, `What the device computes with: the integers less their zero points (${whole(stage.integers.zero)} of the input), each worth ${say(steps.x)} in the window and ${say(steps.w)} in the kernel.`));
    }
    const size = (key) => Math.max(...found.groups.flatMap((group) => group.cells.map((cell) => Math.abs(pick[key](cell)))));
    const most = { x: size("x"), w: size("w"), product: size("product") };
    const order = [...found.groups].sort((a, b) => Math.abs(b.sum) - Math.abs(a.sum));
    const columns = stage.kernel ? stage.kernel[1] : 1;
    const single = found.groups[0].cells.length === 1;
    const number = ints ? whole : short;
    const show = (group) => h("div", { class: "terms" }, h("h4", {}, found.groups.length > 1 ? `from map ${group.c}: ${text(total(group.cells))}` : "window × kernel = products"),
      h("div", { class: "product" },
        grid(group.cells, columns, pick.x, { most: most.x, text: number, kind: "x" }), h("b", {}, "×"),
        grid(group.cells, columns, pick.w, { most: most.w, text: number, kind: "w" }), h("b", {}, "="),
        grid(group.cells, columns, pick.product, { most: most.product, text: number, kind: "p" })));
    const line = (group) => h("tr", {}, h("td", {}, String(group.c)), h("td", { class: "num" }, text(pick.x(group.cells[0]))), h("td", { class: "num" }, text(pick.w(group.cells[0]))),
      h("td", { class: "num", "data-v": pick.product(group.cells[0]) }, text(pick.product(group.cells[0]))));
    const table = (groups) => h("table", {}, h("thead", {}, h("tr", {}, h("th", {}, stage.kind === "linear" ? "input" : "map"), h("th", { class: "num" }, "number"), h("th", { class: "num" }, "weight"), h("th", { class: "num" }, "product"))), h("tbody", {}, ...groups.map(line)));
    const list = (groups) => (single ? [table(groups)] : groups.map(show));
    const few = single ? 8 : 3;
    const upper = order.length <= few + 1 ? order : order.slice(0, few);
    const rest = order.slice(upper.length);
    if (rest.length) box.append(h("p", { class: "note" }, `The ${upper.length} of ${order.length} ${stage.kind === "linear" ? "inputs" : "maps"} that count most here:`));
    box.append(...list(upper));
    const restSum = rest.reduce((sum, group) => sum + total(group.cells), 0);
    if (rest.length) {
      const more = h("details", { class: "rest" }, h("summary", {}, `the other ${rest.length} sum to ${text(restSum)}`));
      more.addEventListener("toggle", () => more.childElementCount === 1 && more.append(...list(rest)));
      box.append(more);
    }
    const bias = ints ? Math.round(found.bias / unit) : found.bias;
    const parts = single ? [upper.reduce((sum, group) => sum + total(group.cells), 0)] : upper.map((group) => total(group.cells));
    const summed = [text(parts[0]), ...parts.slice(1).map((part) => plus(part, text)), ...(rest.length ? [plus(restSum, text)] : []), plus(bias, text) + " (bias)"].join(" ");
    const full = parts.reduce((a, b) => a + b, 0) + restSum + bias;
    box.append(h("p", { class: "total sum" }, `${summed} = `, h("b", { "data-bias": bias, "data-sum": full }, text(full))));
    if (ints) box.append(h("p", { class: "sum" }, `× ${say(steps.x)} × ${say(steps.w)} = `, h("b", { "data-sum": full * unit }, say(full * unit))));
    if (stage.rounding) box.append(rounding(stage, fround(found.sum)));
    return box;
  }

  function pooled(run, stage, c, y, x) {
    const found = covered(run, stage, c, y, x);
    const inside = found.filter((cell) => cell.inside);
    const most = Math.max(...found.map((cell) => Math.abs(cell.x)));
    const shown = grid(found, stage.kernel[1], (cell) => cell.x, { most, text: say, kind: "x" });
    const mean = stage.kind === "avgpool";
    const count = stage.padded ? padded(stage, y, x) : inside.length;
    const result = mean ? inside.reduce((sum, cell) => sum + cell.x, 0) / count : Math.max(...inside.map((cell) => cell.x));
    if (!mean) [...shown.children].filter((cell) => !cell.classList.contains("out") && Number(cell.dataset.v) === result).slice(0, 1).forEach((cell) => { cell.style.outline = "2px solid #39ff9f"; });
    const text = mean ? `the sum of ${inside.length} numbers / ${count} = ` : `the largest of ${inside.map((cell) => say(cell.x)).join(", ")} is `;
    return h("div", { class: "terms" }, h("h4", {}, "what the window covers"), h("div", { class: "product" }, shown), h("p", { class: "total sum" }, text, h("b", { "data-sum": result }, say(result))),
      stage.rounding && (mean || restored(integer(result, stage.rounding), stage.rounding) !== result) ? rounding(stage, result) : null);
  }
  // cells that count_include_pad counts: those inside the padded picture
  function padded(stage, y, x) {
    return [...cells(stage, y, x)].filter((cell) => cell.row < stage.image[1] + stage.tails[0] && cell.column < stage.image[2] + stage.tails[1]).length;
  }

  function sentence(text, value) {
    return h("p", { class: "total sum" }, text, h("b", { "data-sum": value }, say(value)));
  }

  const TELL = {
    conv: products,
    linear: products,
    maxpool: pooled,
    avgpool: pooled,
    input(run, stage, c, y, x) {
      const tensor = data.tensors[stage.y];
      const pixel = tensor.pixel;
      if (!pixel) return null;
      const raw = values(tensor)[flat(tensor.shape, c, y, x)];
      const scaled = pixel.factor === 1 ? raw : Number.isInteger(1 / pixel.factor) ? `${raw} / ${1 / pixel.factor}` : `${raw} · ${say(pixel.factor)}`;
      return sentence(`(${scaled} ${plus(-pixel.mean[c])}) / ${say(pixel.std[c])} = `, real(tensor, flat(tensor.shape, c, y, x)));
    },
    relu(run, stage, c, y, x) {
      const v = at(stage.x[0], run, c, y, x);
      return sentence(`max(${say(v)}, 0) = `, Math.max(0, v));
    },
    clip(run, stage, c, y, x) {
      const v = at(stage.x[0], run, c, y, x);
      return sentence(`${say(v)}, kept between ${stage.ends[0] ?? "−∞"} and ${stage.ends[1] ?? "∞"}, is `, Math.min(stage.ends[1] ?? Infinity, Math.max(stage.ends[0] ?? -Infinity, v)));
    },
    rounding: (run, stage, c, y, x) => rounding(stage, at(stage.x[0], run, c, y, x)),
    add(run, stage, c, y, x) {
      const [a, b] = stage.x.map((id) => at(id, run, c, y, x));
      return h("div", {}, sentence(`${say(a)} ${plus(b)} = `, fround(a + b)), stage.rounding ? rounding(stage, fround(a + b)) : null);
    },
    mul(run, stage, c, y, x) {
      const [a, b] = stage.x.map((id) => at(id, run, c, y, x));
      return h("div", {}, sentence(`${say(a)} × ${say(b)} = `, fround(a * b)), stage.rounding ? rounding(stage, fround(a * b)) : null);
    },
    dequantize(run, stage, c, y, x) {
      const q = at(stage.x[0], run, c, y, x);
      const pick = (list) => list[list.length > 1 ? c : 0];
      return sentence(`(${whole(q)} ${plus(-pick(stage.zeros), whole)}) × ${say(pick(stage.scales))} = `, evaluate(run, stage, c, y, x));
    },
    batchnorm(run, stage, c, y, x) {
      const [mean, variance, scale, bias] = ["mean", "variance", "scale", "bias"].map((part) => real(data.tensors[stage[part]], c));
      const v = at(stage.x[0], run, c, y, x);
      return sentence(`(${say(v)} ${plus(-mean)}) / √(${say(variance)} + ${say(stage.epsilon)}) · ${say(scale)} ${plus(bias)} = `, ((v - mean) / Math.sqrt(variance + stage.epsilon)) * scale + bias);
    },
    gap(run, stage, c) {
      const [, height, width] = data.tensors[stage.x[0]].shape;
      let sum = 0;
      for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) sum += at(stage.x[0], run, c, y, x);
      return h("div", {}, sentence(`the sum of map ${c}, ${say(sum)}, / ${height * width} pixels = `, sum / (height * width)), stage.rounding ? rounding(stage, sum / (height * width)) : null);
    },
    flatten(run, stage, c, y, x) {
      const from = data.tensors[stage.x[0]].shape;
      const [map, row, column] = place(from, flat(stage.shape, c, y, x));
      return sentence(from[1] * from[2] > 1 ? `map ${map}, row ${row}, column ${column} becomes number ${c}: ` : `number ${map} stays number ${c}: `, at(stage.x[0], run, map, row, column));
    },
    softmax(run, stage, c, y, x) { return power(stage.shape[0], c, (k) => at(stage.x[0], run, k, y, x), (k) => `number ${k}`); },
    scores(run, stage, c) {
      const logit = (k) => at(stage.y, run, k, 0, 0);
      if (data.activation === "softmax") return power(data.labels.length, c, logit, (k) => data.labels[k]);
      return sentence(`1 / (1 + e^(${say(-logit(c))})) = `, 1 / (1 + Math.exp(-logit(c))));
    },
  };

  function power(count, c, logit, name) {
    const all = Array.from({ length: count }, (_, k) => logit(k));
    const shift = Math.max(...all) > 80 ? Math.max(...all) : 0;
    const grown = all.map((v) => Math.exp(v - shift));
    const sum = grown.reduce((a, b) => a + b, 0);
    const order = all.map((_, k) => k).sort((a, b) => all[b] - all[a]).filter((k, place) => place < 6 || k === c);
    const less = shift ? ` ${plus(-shift)}` : "";
    return h("div", { class: "terms" },
      h("table", {}, h("tbody", {}, ...order.map((k) => h("tr", {}, h("td", {}, name(k)), h("td", { class: "num" }, `e^(${say(all[k])}${less})`), h("td", { class: "num" }, `= ${say(grown[k])}`))))),
      count > order.length ? h("p", { class: "note" }, `and ${count - order.length} more`) : null,
      sentence(`${say(grown[c])} / ${say(sum)}, the sum of all ${count}, = `, grown[c] / sum));
  }

  // ---- the panel

  let current = null; // {key, c, y, x}
  let held = false;

  function stageOf(key) {
    const [run, index] = key.split(":");
    return [run, data.stages[run][Number(index)]];
  }
  function isVector(stage) { return stage.shape.length < 2 || stage.shape[1] * stage.shape[2] === 1; }

  function show(key, c, y, x) {
    const [run, stage] = stageOf(key);
    current = { key, c, y, x };
    panel.replaceChildren();
    panel.classList.add("open");
    panel.append(h("button", { class: "close", "aria-label": "Close", onclick: release }, held ? "× let go" : "×"));
    panel.append(h("h3", {}, stage.title));
    const vector = isVector(stage);
    const what = stage.kind === "scores" ? data.labels[c] : vector ? (stage.labels ? `${data.labels[c]}, number ${c}` : `number ${c}`) : `map ${c}, row ${y}, column ${x}`;
    panel.append(h("p", { class: "where", "aria-live": "polite" }, what));
    const known = stage.points ? stage.points.find((one) => one.at[0] === c && one.at[1] === y && one.at[2] === x) : true;
    if (!known) {
      panel.append(h("p", { class: "muted" }, "The numbers of this network are too many for a page. Of this step, those of the ringed pixels are here."));
      frame(key, c, y, x, null);
      return;
    }
    const told = TELL[stage.kind] ? TELL[stage.kind](run, stage, c, y, x) : null;
    const shown = stage.points ? known.y : stage.kind === "scores" ? Number(told.querySelector("[data-sum]").dataset.sum) : at(stage.y, run, c, y, x);
    panel.append(h("p", { class: "value", "data-value": shown }, say(shown)));
    panel.append(moves(vector, stage) || "");
    if (!vector && !stage.points) panel.append(overview(run, key, stage, c, y, x));
    if (told) panel.append(told);
    panel.append(beside(stage, shown, c, y, x) || "");
    frame(key, c, y, x, stage);
  }

  // the same place in the other model
  function beside(stage, shown, c, y, x) {
    if (!stage.twin) return null;
    const [run, other] = stageOf(stage.twin);
    if (other.points || other.kind === "none") return null;
    const there = at(other.y, run, c, y, x);
    return h("p", { class: "total sum", "data-twin": there }, `In ${data.kinds[run.slice(-1)]} it is ${say(there)}${there === shown ? ", the same" : `: ${say(Math.abs(there - shown))} ${there > shown ? "more" : "less"}`}.`);
  }

  function moves(vector, stage) {
    if (stage.kind === "scores" || stage.points) return null;
    const go = (label, name, ...by) => h("button", { "aria-label": name, onclick: () => { held = true; step(...by); } }, label);
    return h("div", { class: "tools" }, go("←", "left", 0, 0, -1), go("→", "right", 0, 0, 1), ...(vector ? [] : [go("↑", "up", 0, -1, 0), go("↓", "down", 0, 1, 0), go("map −", "previous map", -1, 0, 0), go("map +", "next map", 1, 0, 0)]));
  }

  // the map with the pixel, and one that it was made from with the window: of several the one that counts most
  function overview(run, key, stage, c, y, x) {
    const box = h("div", { class: "two" });
    const source = stage.x && indexOf(run, stage.x[0]);
    const counts = stage.kind === "conv" ? weighed(run, stage, c, y, x).groups.sort((a, b) => Math.abs(b.sum) - Math.abs(a.sum)).map((group) => group.c) : [c, 0];
    const from = source >= 0 && data.tensors[stage.x[0]].shape[2] > 1 && counts.map((k) => mapOf(`${run}:${source}`, k)).find((found) => found);
    if (from) box.append(large(from, `input, map ${from.dataset.channel}`, { reach: reachOf(stage, y, x) }));
    const onpick = (row, column) => { held = true; show(key, c, row, column); };
    box.append(large(mapOf(key, c), stage.x ? `result, map ${c}` : `map ${c}`, { cursor: [y, x], onpick }));
    return box;
  }
  function mapOf(key, c) { return document.querySelector(`.maps[data-stage="${key}"]:not([data-count]) .map[data-channel="${c}"]`); }
  function reachOf(stage, y, x) {
    if (!stage.kernel) return [y, x, 1, 1];
    return [0, 1].map((axis) => [y, x][axis] * stage.strides[axis] - stage.heads[axis]).concat([0, 1].map((axis) => stage.dilations[axis] * (stage.kernel[axis] - 1) + 1));
  }
  function indexOf(run, id) { return data.stages[run].findIndex((stage) => stage.y === id); }

  // marks on the page's own maps
  function frame(key, c, y, x, stage) {
    document.querySelectorAll(".maps .here, .maps .reach").forEach((node) => node.remove());
    const maps = document.querySelector(`.maps[data-stage="${key}"]`);
    if (!maps) return;
    const [height, width] = [Number(maps.dataset.height), Number(maps.dataset.width)];
    const vector = maps.dataset.count !== undefined;
    const map = maps.querySelector(vector ? ".map" : `.map[data-channel="${c}"]`);
    if (map) map.firstElementChild.append(mark("here", vector ? Math.floor(c / width) : y, vector ? c % width : x, 1, 1, height, width));
    if (!stage || !stage.kernel || !stage.x) return;
    const run = key.split(":")[0];
    const before = document.querySelector(`.maps[data-stage="${run}:${indexOf(run, stage.x[0])}"]`);
    if (!before) return;
    const [tall, wide] = [Number(before.dataset.height), Number(before.dataset.width)];
    const only = stage.kind !== "conv" ? [c] : stage.groups > 1 ? weighed(run, stage, c, y, x).groups.map((group) => group.c) : null;
    before.querySelectorAll(".map").forEach((one) => {
      if (!only || only.includes(Number(one.dataset.channel))) one.firstElementChild.append(mark("reach", ...reachOf(stage, y, x), tall, wide));
    });
  }

  function again() { if (current) show(current.key, current.c, current.y, current.x); }
  function release() {
    held = false;
    panel.classList.remove("open");
    document.documentElement.classList.remove("holding");
    document.querySelectorAll(".maps .here, .maps .reach").forEach((node) => node.remove());
    panel.replaceChildren(empty);
    current = null;
  }
  function hold() {
    held = true;
    document.documentElement.classList.add("holding");
  }

  // maps: as many maps, rows and columns on as asked, staying inside
  function step(maps, rows, columns) {
    const [, stage] = stageOf(current.key);
    const clamp = (v, top) => Math.min(top - 1, Math.max(0, v));
    const box = document.querySelector(`.maps[data-stage="${current.key}"]`);
    if (isVector(stage)) {
      const width = box && box.dataset.count !== undefined ? Number(box.dataset.width) : 1;
      show(current.key, clamp(current.c + columns + rows * width + maps, stage.shape[0]), 0, 0);
      return;
    }
    let { c, y, x } = current;
    if (stage.points) {
      const places = stage.points.map((one) => one.at);
      const now = places.findIndex((one) => one[0] === c && one[1] === y && one[2] === x);
      [c, y, x] = places[clamp(now + maps + rows + columns, places.length)];
    } else {
      const shown = box ? [...box.querySelectorAll(".map")].map((one) => Number(one.dataset.channel)) : [c];
      c = shown[clamp(shown.indexOf(c) + maps, shown.length)];
      y = clamp(y + rows, stage.shape[1]);
      x = clamp(x + columns, stage.shape[2]);
    }
    show(current.key, c, y, x);
  }

  // ---- pointer, touch, keyboard

  function located(event) {
    const cellsBox = event.target.closest && event.target.closest(".maps[data-stage] .cells");
    const button = event.target.closest && event.target.closest(".decide button[data-stage]");
    if (button && stageOf(button.dataset.stage)[1].kind !== "none") return [button.dataset.stage, Number(button.dataset.cell), 0, 0];
    if (!cellsBox) return null;
    const maps = cellsBox.closest(".maps");
    const area = cellsBox.getBoundingClientRect();
    const [height, width] = [Number(maps.dataset.height), Number(maps.dataset.width)];
    const y = Math.min(height - 1, Math.max(0, Math.floor(((event.clientY - area.top) / area.height) * height)));
    const x = Math.min(width - 1, Math.max(0, Math.floor(((event.clientX - area.left) / area.width) * width)));
    if (maps.dataset.count !== undefined) {
      const number = y * width + x;
      return number < Number(maps.dataset.count) ? [maps.dataset.stage, number, 0, 0] : null;
    }
    const c = Number(cellsBox.parentElement.dataset.channel);
    const points = stageOf(maps.dataset.stage)[1].points;
    if (points) {
      const near = points.find((one) => one.at[0] === c && Math.hypot(one.at[1] + 0.5 - ((event.clientY - area.top) / area.height) * height, one.at[2] + 0.5 - ((event.clientX - area.left) / area.width) * width) * (area.width / width) < 14);
      if (near) return [maps.dataset.stage, ...near.at];
    }
    return [maps.dataset.stage, c, y, x];
  }

  document.addEventListener("pointermove", (event) => {
    if (held || event.pointerType !== "mouse" || innerWidth <= 1080) return;
    const found = located(event);
    if (found && (!current || found.join() !== [current.key, current.c, current.y, current.x].join())) show(...found);
  });
  document.addEventListener("click", (event) => {
    const found = located(event);
    if (!found) return;
    hold();
    show(...found);
    if (innerWidth <= 1080 && event.target.closest(".cells")) event.target.closest(".cells").scrollIntoView({ block: "start", behavior: "instant" });
  });
  document.addEventListener("focusin", (event) => {
    const maps = event.target.closest(".maps[data-stage]");
    if (maps && event.target === maps && maps.matches(":focus-visible") && (!current || current.key !== maps.dataset.stage)) show(maps.dataset.stage, ...start(maps));
    const button = event.target.closest(".decide button[data-stage]");
    if (button && button.matches(":focus-visible") && stageOf(button.dataset.stage)[1].kind !== "none") show(button.dataset.stage, Number(button.dataset.cell), 0, 0);
  });
  function start(maps) {
    const [, stage] = stageOf(maps.dataset.stage);
    if (stage.points) return stage.points[0].at;
    if (maps.dataset.count !== undefined) return [0, 0, 0];
    return [Number(maps.querySelector(".map").dataset.channel), Math.floor(stage.shape[1] / 2), Math.floor(stage.shape[2] / 2)];
  }
  const KEYS = { ArrowLeft: [0, 0, -1], ArrowRight: [0, 0, 1], ArrowUp: [0, -1, 0], ArrowDown: [0, 1, 0], PageUp: [-1, 0, 0], PageDown: [1, 0, 0] };
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && current) {
      release();
      return;
    }
    const maps = event.target.closest && event.target.closest(".maps[data-stage]");
    if (!maps || event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.key === "Enter") hold();
    else if (KEYS[event.key]) {
      if (!current || current.key !== maps.dataset.stage) show(maps.dataset.stage, ...start(maps));
      else step(...KEYS[event.key]);
    } else return;
    event.preventDefault();
  });

  // ---- several images: one at a time

  const images = [...document.querySelectorAll(".image")];
  function choose() {
    const wanted = images.find((one) => location.hash === `#${one.id}` || location.hash.startsWith(`#${one.id}-`)) || images[0];
    images.forEach((one) => { one.hidden = one !== wanted; });
    document.querySelectorAll(".pick a").forEach((link) => {
      if (link.getAttribute("href") === `#${wanted.id}`) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    });
    if (current) release();
  }
  if (images.length > 1) {
    addEventListener("hashchange", choose);
    choose();
  }
})();
