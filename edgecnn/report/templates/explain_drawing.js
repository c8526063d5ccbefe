"use strict";
// Numbers as text, as coloured cells and as pictures.
const drawing = (() => {
  const STOPS = { up: [[20, 21, 26], [206, 84, 28], [255, 226, 156]], down: [[20, 21, 26], [42, 104, 206], [178, 228, 255]] };
  function color(value, most) {
    const share = Math.min(1, Math.abs(value) / (most || 1));
    const stops = value >= 0 ? STOPS.up : STOPS.down;
    const [a, b] = share < 0.5 ? [stops[0], stops[1]] : [stops[1], stops[2]];
    const t = share < 0.5 ? share * 2 : share * 2 - 1;
    return a.map((from, i) => Math.round(from + (b[i] - from) * t));
  }
  function ink([r, g, b]) { return 0.299 * r + 0.587 * g + 0.114 * b > 140 ? "#10141a" : "#ffffff"; }

  function h(name, given = {}, ...children) {
    const node = document.createElement(name);
    for (const [key, value] of Object.entries(given)) {
      if (key === "style") for (const [property, text] of Object.entries(value)) node.style.setProperty(property, text);
      else if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
      else if (value !== null && value !== undefined && value !== false) node.setAttribute(key, value);
    }
    node.append(...children.filter((child) => child !== null && child !== undefined));
    return node;
  }
  function minus(text) { return text.replace("-", "−"); }
  // 0.0938, 466,052.00, 9.38 · 10⁻⁵
  function say(v) {
    const size = Math.abs(v);
    if (!Number.isFinite(v)) return String(v);
    if (v === 0 || (size >= 0.001 && size < 1e9)) return minus(v === 0 ? "0" : v.toLocaleString("en", { minimumFractionDigits: size < 100 ? 4 : 2, maximumFractionDigits: size < 100 ? 4 : 2 }));
    const [digits, power] = v.toExponential(2).split("e");
    return `${minus(digits)} · 10${[...String(Number(power))].map((sign) => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".indexOf(sign)]).join("")}`;
  }
  function whole(v) { return minus(String(Math.round(v))); }
  function short(v) {
    const size = Math.abs(v);
    return minus(v === 0 ? "0" : size >= 100 ? v.toFixed(0) : size >= 10 ? v.toFixed(1) : v.toFixed(2));
  }
  function plus(v, text) { return (v < 0 ? "− " : "+ ") + (text || say)(Math.abs(v)); }

  // numbers as coloured cells
  function grid(cells, columns, pick, { most, text = short, kind = "" }) {
    const box = h("div", { class: `kernel ${kind}`, style: { "grid-template-columns": `repeat(${columns}, auto)` } });
    for (const cell of cells) {
      const value = pick(cell);
      const shade = color(value, most);
      box.append(h("span", { class: cell.inside === false ? "out" : null, "data-v": value, title: cell.inside === false ? "padding: outside the picture" : say(value), style: { background: `rgb(${shade.join(" ")})`, color: ink(shade) } }, text(value)));
    }
    return box;
  }

  // a map of the page, large enough to hit a pixel of it; cursor: [row, column]; reach: [row, column, rows, columns]
  function large(map, caption, { cursor, reach, onpick } = {}) {
    const image = map.querySelector(".cells img").cloneNode();
    const [height, width] = [image, image].map((one, axis) => Number(one.getAttribute(axis ? "width" : "height")));
    const box = h("div", { class: "big" }, image);
    if (cursor) box.append(mark("here", cursor[0], cursor[1], 1, 1, height, width));
    if (reach) box.append(mark("reach", ...reach, height, width));
    if (onpick) box.addEventListener("click", (event) => {
      const area = box.getBoundingClientRect();
      onpick(Math.floor(((event.clientY - area.top) / area.height) * height), Math.floor(((event.clientX - area.left) / area.width) * width));
    });
    return h("figure", {}, h("figcaption", {}, caption), box);
  }
  function mark(kind, y, x, rows, columns, height, width) {
    const share = (v, of) => `${(100 * v) / of}%`;
    return h("span", { class: kind, style: { position: "absolute", left: share(x, width), top: share(y, height), width: share(columns, width), height: share(rows, height) } });
  }

  return { h, say, whole, short, plus, grid, large, mark };
})();
