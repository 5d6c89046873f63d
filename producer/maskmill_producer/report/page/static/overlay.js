"use strict";
// Masks from run lengths, as COCO writes them (cocodataset/cocoapi, common/maskApi.c), drawn in the colours of classes.

const SIDE = 480;
const RING_PIXELS = 40;

/** An image's segment map in the size of its picture; of boxes where there is no picture. `exact` says which. */
async function segmentMap(image, row) {
  if (maskmill.columns.picture[image] === NOT_CHOSEN) return mapOfBoxes(row);
  const { width, height, masks, said } = await maskFiles.get(image);
  if (!width) return { ...mapOfBoxes(row), said };
  const ids = new Uint16Array(width * height);
  for (const [id, counts] of masks) fill(ids, width, height, id, counts);
  return { ids, width, height, said, exact: true };
}

/** Write `id` where the runs say so; they go down the columns, and the first one is outside. */
function fill(ids, width, height, id, counts) {
  let place = 0, before = 0, last = 0, run = 0;
  for (let at = 0; at < counts.length; run++) {
    let value = 0, shift = 0, group = 32;
    while (group & 32) {
      group = counts.charCodeAt(at++) - 48;
      value |= (group & 31) << shift;
      shift += 5;
    }
    if (group & 16) value |= -1 << shift;
    if (run > 2) value += before;
    if (run % 2) for (let pixel = place; pixel < place + value; pixel++) ids[(pixel % height) * width + Math.floor(pixel / height)] = id;
    place += value;
    before = last;
    last = value;
  }
}

/** Boxes in place of masks, small ones above large ones. */
function mapOfBoxes(row) {
  const scale = Math.min(1, SIDE / Math.max(row.width, row.height, 1));
  const width = Math.max(1, Math.round(row.width * scale)), height = Math.max(1, Math.round(row.height * scale));
  const ids = new Uint16Array(width * height);
  for (const { id, box } of [...row.segments].sort((one, other) => other.box[2] * other.box[3] - one.box[2] * one.box[3])) {
    const [x, y, wide, high] = box.map((length) => Math.round(length * scale));
    for (let line = Math.max(0, y); line < Math.min(height, y + Math.max(1, high)); line++) {
      ids.fill(id, line * width + Math.min(width, Math.max(0, x)), line * width + Math.min(width, Math.max(0, x + Math.max(1, wide))));
    }
  }
  return { ids, width, height, said: "", exact: false };
}

/** Paint a map: fills of a strength from 0 to 1, whole outlines; hidden ids not at all, the hot one strongly. */
function paint(canvas, map, row, { strength = 0.45, hidden = new Set(), hot = 0 } = {}) {
  const { ids, width, height } = map;
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d"), picture = context.createImageData(width, height);
  const pixels = new Uint32Array(picture.data.buffer), colours = coloursOf(row.segments, hidden);
  const thin = Math.round(255 * strength), weak = hot ? Math.round(thin * 0.4) : thin, strong = Math.max(160, thin);
  for (let place = 0; place < ids.length; place++) {
    const id = ids[place], colour = colours[id];
    if (!colour) continue;
    const edge = id !== ids[place - 1] || id !== ids[place + 1] || id !== ids[place - width] || id !== ids[place + width];
    pixels[place] = colour | (edge ? 255 : id === hot ? strong : weak) << 24;
  }
  context.putImageData(picture, 0, 0);
  if (Math.min(width, height) > 100) ringSmall(context, row, hidden, width / row.width);
}

/** By id: blue, green and red in one number; 0 for what is hidden or unknown. Black is nearly so. */
function coloursOf(segments, hidden) {
  const colours = new Uint32Array(65536);
  for (const { id, colour } of segments) {
    const [red, green, blue] = [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
    colours[id] = hidden.has(id) ? 0 : (blue << 16 | green << 8 | red) || 1;
  }
  return colours;
}

/** A ring around what is too small to see. */
function ringSmall(context, row, hidden, scale) {
  for (const { id, box, area, colour } of row.segments) {
    if (hidden.has(id) || !area || area * scale * scale > RING_PIXELS) continue;
    const [x, y, width, height] = box.map((length) => length * scale);
    for (const [line, ink] of [[5, "#101014"], [2.5, colour]]) {
      context.beginPath();
      context.arc(x + width / 2, y + height / 2, 9, 0, 7);
      context.lineWidth = line;
      context.strokeStyle = ink;
      context.stroke();
    }
  }
}
