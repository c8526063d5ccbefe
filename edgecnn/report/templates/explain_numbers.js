"use strict";
// Tensors and formulas: reads what report/explain/embedding.py put into the page, and computes from it what it left out.
const numbers = (() => {
  const data = JSON.parse(document.getElementById("numbers").textContent);
  const fround = Math.fround;

  // ---- tensors

  const KINDS = { u1: Uint8Array, i1: Int8Array, i4: Int32Array, f4: Float32Array };
  const decoded = new Map();
  function values(tensor) {
    if (!decoded.has(tensor)) {
      const bytes = Uint8Array.from(atob(tensor.data), (c) => c.charCodeAt(0));
      decoded.set(tensor, new KINDS[tensor.type](bytes.buffer));
    }
    return decoded.get(tensor);
  }

  // the number at `index` of a tensor's numbers in order, as a real number
  function real(tensor, index) {
    const value = values(tensor)[index];
    if (tensor.pixel) {
      const channel = Math.floor(index / (tensor.shape[1] * tensor.shape[2]));
      return fround((value * tensor.pixel.factor - tensor.pixel.mean[channel]) / tensor.pixel.std[channel]);
    }
    if (!tensor.scale) return value;
    const part = along(tensor, index);
    return fround((value - tensor.zero[tensor.zero.length > 1 ? part : 0]) * tensor.scale[tensor.scale.length > 1 ? part : 0]);
  }
  function along(tensor, index) {
    const inner = tensor.shape.slice(tensor.axis + 1).reduce((a, b) => a * b, 1);
    return Math.floor(index / inner) % tensor.shape[tensor.axis];
  }

  // the number of a cube (channels, height, width) at a place; an axis of size 1 counts for every place
  function at(id, run, c, y, x) {
    const tensor = data.tensors[id];
    const [channels, height, width] = tensor.shape;
    if (channels === 1) c = 0;
    if (height === 1) y = 0;
    if (width === 1) x = 0;
    return tensor.stage === undefined ? real(tensor, (c * height + y) * width + x) : evaluate(run, data.stages[run][tensor.stage], c, y, x);
  }

  function roundEven(v) {
    const low = Math.floor(v);
    return v - low < 0.5 ? low : v - low > 0.5 ? low + 1 : low % 2 ? low + 1 : low;
  }
  function integer(v, to) {
    return Math.min(to.high, Math.max(to.low, roundEven(fround(v / to.scale)) + to.zero));
  }
  function restored(q, to) {
    return fround((q - to.zero) * to.scale);
  }

  // ---- formulas

  // what a stage gives at a place, computed from what it is made from
  function evaluate(run, stage, c, y, x) {
    const source = (place) => at(stage.x[place], run, c, y, x);
    switch (stage.kind) {
      case "relu": return Math.max(0, source(0));
      case "clip": return Math.min(stage.ends[1] ?? Infinity, Math.max(stage.ends[0] ?? -Infinity, source(0)));
      case "add": return fround(source(0) + source(1));
      case "mul": return fround(source(0) * source(1));
      case "dequantize": return fround((source(0) - stage.zeros[stage.zeros.length > 1 ? c : 0]) * stage.scales[stage.scales.length > 1 ? c : 0]);
      case "flatten": return at(stage.x[0], run, ...place(data.tensors[stage.x[0]].shape, flat(stage.shape, c, y, x)));
      case "rounding": return restored(integer(source(0), stage.rounding), stage.rounding);
      case "maxpool": return Math.max(...covered(run, stage, c, y, x).filter((cell) => cell.inside).map((cell) => cell.x));
      case "conv": case "linear": return fround(weighed(run, stage, c, y, x).sum);
      default: throw new Error(`a number of the stage ${stage.title} can't be told`);
    }
  }
  function flat([, height, width], c, y, x) { return (c * height + y) * width + x; }
  function place([, height, width], index) { return [Math.floor(index / (height * width)), Math.floor(index / width) % height, index % width]; }

  // where a window at a place covers the image: rows and columns, and whether they are inside
  function* cells(stage, y, x) {
    for (let i = 0; i < stage.kernel[0]; i++)
      for (let j = 0; j < stage.kernel[1]; j++) {
        const row = y * stage.strides[0] - stage.heads[0] + i * stage.dilations[0];
        const column = x * stage.strides[1] - stage.heads[1] + j * stage.dilations[1];
        yield { row, column, inside: row >= 0 && column >= 0 && row < stage.image[1] && column < stage.image[2] };
      }
  }
  function covered(run, stage, c, y, x) {
    return [...cells(stage, y, x)].map((cell) => ({ ...cell, x: cell.inside ? at(stage.x[0], run, c, cell.row, cell.column) : 0 }));
  }

  // a convolution's or a linear layer's products: {groups: [{c, cells: [{x, w, inside, product}], sum}], bias, sum}
  function weighed(run, stage, c, y, x) {
    const point = stage.points && stage.points.find((one) => one.at[0] === c && one.at[1] === y && one.at[2] === x);
    if (stage.points && !point) return null;
    const groups = [];
    let sum = 0;
    const conv = stage.kind === "conv";
    const weights = point ? null : data.tensors[stage.w];
    const inner = point ? point.x.shape[0] : conv ? weights.shape[1] : data.tensors[stage.x[0]].shape[0];
    const around = conv ? [...cells(stage, y, x)] : [{ row: 0, column: 0, inside: true }];
    const first = conv && !point ? Math.floor(c / (weights.shape[0] / stage.groups)) * inner : 0;
    const shift = conv ? Math.floor(c / (stage.shape[0] / stage.groups)) * inner : 0;
    for (let k = 0; k < inner; k++) {
      const found = around.map((cell, n) => {
        const value = point ? real(point.x, k * around.length + n) : cell.inside ? at(stage.x[0], run, first + k, cell.row, cell.column) : 0;
        const index = point ? k * around.length + n : conv ? (c * inner + k) * around.length + n : stage.across ? c * inner + k : k * weights.shape[1] + c;
        const weight = real(point ? point.w : weights, index) * (conv ? 1 : stage.alpha);
        return { ...cell, x: value, w: weight, product: value * weight };
      });
      const part = found.reduce((total, cell) => total + cell.product, 0);
      groups.push({ c: shift + k, cells: found, sum: part });
      sum += part;
    }
    let bias = point ? point.b : 0;
    if (!point && stage.b) {
      const tensor = data.tensors[stage.b];
      bias = real(tensor, values(tensor).length > 1 ? c : 0) * (conv ? 1 : stage.beta);
    }
    return { groups, bias, sum: sum + bias, point };
  }

  return { data, values, real, at, roundEven, integer, restored, evaluate, flat, place, cells, covered, weighed };
})();
