"use strict";
// Masks from run lengths, as COCO writes them (cocodataset/cocoapi, common/maskApi.c), drawn in the colours of classes.

const SIDE = 480;
const RING_PIXELS = 40;

/** What there is of an image's masks: run lengths in the size of its picture, or `null` where boxes must do. */
async function masksOf(image) {
  if (maskmill.columns.picture[image] === NOT_CHOSEN) return { masks: null, said: "" };
  const file = await maskFiles.get(image);
  return file.width ? file : { masks: null, said: file.said };
}

/** A segment map, H × W ids, from run lengths or from boxes; in `room`, an array used before, if that is given. */
function segmentMap(row, { masks, width, height }, room = null) {
  if (!masks) [width, height] = sizeOfPicture(row);
  const ids = room && room.length >= width * height ? room.subarray(0, width * height).fill(0) : new Uint16Array(width * height);
  if (masks) for (const [id, counts] of masks) fill(ids, width, height, id, counts);
  else for (const { id, box } of largestFirst(row.segments)) fillBox(ids, width, height, id, box, width / row.width);
  return { ids, width, height };
}

function sizeOfPicture(row) {
  const scale = Math.min(1, SIDE / Math.max(row.width, row.height, 1));
  return [Math.max(1, Math.round(row.width * scale)), Math.max(1, Math.round(row.height * scale))];
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

/** Boxes overlap: small ones lie above large ones. */
const largestFirst = (segments) => [...segments].sort((one, other) => other.box[2] * other.box[3] - one.box[2] * one.box[3]);

function fillBox(ids, width, height, id, box, scale) {
  const within = (length, most) => Math.min(most, Math.max(0, Math.round(length * scale)));
  const [left, right] = [within(box[0], width), within(box[0] + box[2], width)];
  for (let line = within(box[1], height); line < within(box[1] + box[3], height); line++) ids.fill(id, line * width + left, line * width + right);
}

/** Paint a map: fills of a strength from 0 to 1, whole outlines; hidden ids not at all, the hot one strongly. */
function paint(canvas, map, row, { strength = 0.45, hidden = new Set(), hot = 0 } = {}) {
  const { ids, width, height } = map;
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d"), picture = blank(width, height);
  const pixels = new Uint32Array(picture.data.buffer), colours = coloursOf(row.segments, hidden);
  const thin = Math.round(255 * strength), weak = hot ? Math.round(thin * 0.4) : thin, strong = Math.max(160, thin);
  for (let place = 0; place < ids.length; place++) {
    const id = ids[place], colour = colours[id], x = place % width;
    if (!colour) continue;
    const edge = x > 0 && id !== ids[place - 1] || x < width - 1 && id !== ids[place + 1]
      || id !== (ids[place - width] ?? id) || id !== (ids[place + width] ?? id);
    pixels[place] = colour | (edge ? 255 : id === hot ? strong : weak) << 24;
  }
  context.putImageData(picture, 0, 0);
  if (Math.min(width, height) > 100) ringSmall(context, row, hidden, width / row.width);
}

/** Transparent pixels; the last ones are used again, for a page paints thousands of the same size. */
function blank(width, height) {
  if (blank.last?.width === width && blank.last.height === height) blank.last.data.fill(0);
  else blank.last = new ImageData(width, height);
  return blank.last;
}

/** By id: blue, green and red in one number; 0 for what is hidden or unknown. Black is nearly so. */
function coloursOf(segments, hidden) {
  const colours = new Uint32Array(1 + Math.max(0, ...segments.map((each) => each.id)));
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
