"use strict";
// The grid of images: filtered and sorted by columns alone; only the cells that are on the screen exist.

const CELL_WIDTH = 210, GAP = 14, CAPTION = 48, BEYOND = 1.0;
const MOST_HEIGHT = 12e6;
const PRINTED = 24;

const gallery = { view: [], cells: new Map(), columns: 1, width: 0, height: 0, current: 0 };
const filters = () => byId("filters").elements;

const LEAST_SURE = "least sure first";
const ORDERS = {
  "as submitted": null,
  [LEAST_SURE]: (columns, one, other) => columns.low[one] - columns.low[other] || one - other,
  "most segments first": (columns, one, other) => columns.segments[other] - columns.segments[one] || one - other,
  "failures last": (columns, one, other) => (columns.status[one] === FAILED) - (columns.status[other] === FAILED) || one - other,
};

function startGallery() {
  const { columns, facts } = maskmill, { which, label, status, code, order } = filters();
  const some = facts.gallery.pictures + facts.gallery.unreadable < facts.masks;
  which.append(...(some ? [new Option("gallery and failures", "gallery")] : []), new Option("all images", "all"), new Option("nothing found", "empty"),
    ...(facts.failures.length ? [new Option("failures", "failures")] : []));
  label.append(new Option("any", ""), ...facts.classes.map(([name], place) => [name, place])
    .sort(([one], [other]) => one.localeCompare(other)).map(([name, place]) => new Option(name, place)));
  status.append(new Option("any", ""), ...STATUSES.filter((each) => facts.account.counts[each]).map((each) => new Option(each, STATUSES.indexOf(each))));
  code.append(new Option("any", ""), ...columns.codes.map((name, place) => [name, place]).slice(1).map(([name, place]) => new Option(name, place)));
  code.parentElement.hidden = columns.codes.length < 2;
  byId("scores").hidden = !facts.scores.length;
  order.append(...Object.keys(ORDERS).filter((name) => facts.scores.length || name !== LEAST_SURE).map((name) => new Option(name)));
  byId("filters").addEventListener("input", filter);
  byId("filters").addEventListener("reset", () => setTimeout(filter));
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  byId("grid").addEventListener("keydown", move);
  addEventListener("scroll", () => requestAnimationFrame(draw), { passive: true });
  new ResizeObserver(() => { layOut(); draw(); }).observe(byId("grid"));
  addEventListener("beforeprint", () => draw(true));
  addEventListener("afterprint", () => draw());
  startViewer();
  filter();
  openFromAddress();
  setTimeout(() => gallery.view.slice(0, PRINTED).forEach(loadForPrint));
}

/** Whoever prints does not wait for files: rows and masks of the first images are there before. */
function loadForPrint(image) {
  imageRow(image).catch(() => {});
  masksOf(image).catch(() => {});
}

/** Show what a table's button asks for: `showOnly({label: 3})`. */
function showOnly({ label, code }) {
  byId("filters").reset();
  filters().which.value = "all";
  if (label !== undefined) filters().label.value = label;
  if (code !== undefined) filters().code.value = maskmill.columns.codes.indexOf(code);
  filter();
  byId("images").scrollIntoView();
}

/** Choose and sort the images that the form asks for. */
function filter() {
  const { columns } = maskmill, wanted = Object.fromEntries([...filters()].filter((each) => each.name).map((each) => [each.name, each.value]));
  const from = Math.round(SCORE_STEPS * (Number(wanted.from) || 0)), to = Math.round(SCORE_STEPS * (wanted.to === "" ? 1 : Number(wanted.to)));
  const anyScore = from <= 0 && to >= SCORE_STEPS, label = wanted.label === "" ? -1 : Number(wanted.label);
  const view = [];
  for (let image = 0; image < columns.images; image++) {
    if (wanted.which === "gallery" && columns.picture[image] === NOT_CHOSEN && columns.status[image] !== FAILED) continue;
    if (wanted.which === "failures" && columns.status[image] !== FAILED) continue;
    if (wanted.which === "empty" && (columns.segments[image] || columns.status[image] > 1)) continue;
    if (wanted.status !== "" && columns.status[image] !== Number(wanted.status)) continue;
    if (wanted.code !== "" && columns.code[image] !== Number(wanted.code)) continue;
    if (!anyScore && (columns.low[image] === NO_SCORE || columns.low[image] < from || columns.low[image] > to)) continue;
    if (label >= 0 && !hasClass(columns, image, label)) continue;
    view.push(image);
  }
  const order = ORDERS[wanted.order] ?? (wanted.which === "gallery" ? ORDERS["failures last"] : null);
  if (order) view.sort((one, other) => order(columns, one, other));
  gallery.view = view;
  gallery.current = 0;
  layOut();
  clear();
  draw();
}

function hasClass({ classes, starts }, image, label) {
  for (let place = starts[image]; place < starts[image + 1]; place++) if (classes[place] === label) return true;
  return false;
}

/** Columns and cells by the room that there is; a page may not be higher than browsers can scroll. */
function layOut() {
  const room = byId("grid").clientWidth;
  gallery.columns = Math.max(2, Math.floor((room + GAP) / (CELL_WIDTH + GAP)));
  gallery.width = (room - GAP * (gallery.columns - 1)) / gallery.columns;
  gallery.height = Math.round(gallery.width * 0.75) + CAPTION + GAP;
  const most = Math.floor(MOST_HEIGHT / gallery.height) * gallery.columns, { images } = maskmill.columns;
  gallery.shown = Math.min(gallery.view.length, most);
  byId("grid").style.height = `${Math.ceil(gallery.shown / gallery.columns) * gallery.height}px`;
  byId("count").textContent = gallery.view.length ? `${number(gallery.view.length)} of ${counted(images, "image")}`
    + (gallery.shown < gallery.view.length ? `; the first ${number(gallery.shown)} are shown, filters show others` : "")
    : `None of ${counted(images, "image")}.`;
  byId("count").dataset.printed = gallery.shown > PRINTED ? `; the first ${PRINTED} are printed` : "";
}

function clear() {
  for (const cell of gallery.cells.values()) cell.remove();
  gallery.cells.clear();
}

/** Make the cells that are on the screen, and drop the others. */
function draw(printing = false) {
  const { height, columns, shown, cells } = gallery, top = -byId("grid").getBoundingClientRect().top;
  const first = printing === true ? 0 : Math.max(0, Math.floor((top - BEYOND * innerHeight) / height)) * columns;
  const last = printing === true ? Math.min(PRINTED, shown) : Math.min(shown, Math.ceil((top + (1 + BEYOND) * innerHeight) / height) * columns);
  for (const [place, cell] of cells) {
    if ((place < first || place >= last) && !cell.contains(document.activeElement)) {
      cell.remove();
      cells.delete(place);
    }
  }
  for (let place = first; place < last; place++) {
    if (!cells.has(place)) cells.set(place, inOrder(newCell(place), place));
    const { style } = cells.get(place);
    style.width = `${gallery.width}px`;
    style.height = `${height - GAP}px`;
    style.transform = `translate(${(place % columns) * (gallery.width + GAP)}px, ${Math.floor(place / columns) * height}px)`;
  }
}

/** Put a cell where it belongs, so that a reader hears the images in order. */
function inOrder(cell, place) {
  let after = place + 1;
  const last = Math.max(-1, ...gallery.cells.keys());
  while (after <= last && !gallery.cells.has(after)) after++;
  byId("grid").insertBefore(cell, gallery.cells.get(after) ?? null);
  return cell;
}

function newCell(place) {
  const image = gallery.view[place], { picture, status } = maskmill.columns;
  const frame = element("span", { class: `frame ${STATUSES[status[image]]}` });
  if (picture[image] === SHOWN) frame.append(element("img", { src: `${picturePath(image)}.jpg`, alt: "", loading: "lazy", decoding: "async" }));
  const name = element("span", { class: "name" }, `image ${number(image + 1)}`), facts = element("span", { class: "facts" }, factsOf(image));
  const button = element("button", { type: "button", class: "cell", tabindex: place === gallery.current ? "0" : "-1",
    onclick: () => { gallery.current = place; open_(image); } }, frame, name, facts);
  fillCell(image, frame, name, button).catch((error) => { facts.textContent = error.message; });
  return element("div", { role: "listitem", class: "place", "aria-setsize": gallery.view.length, "aria-posinset": place + 1 }, button);
}

function factsOf(image) {
  const { status, code, codes, segments, low } = maskmill.columns;
  if (status[image] > 1) return status[image] === FAILED ? `failed: ${codes[code[image]]}` : "cancelled";
  if (!segments[image]) return "nothing found";
  return counted(segments[image], "segment") + (low[image] === NO_SCORE ? "" : `, least ${(low[image] / SCORE_STEPS).toFixed(2)}`);
}

const scratch = document.createElement("canvas"), scratchIds = new Uint16Array(SIDE * SIDE);
const SHARPNESS = 300;

async function fillCell(image, frame, name, button) {
  const { status } = maskmill.columns, row = await imageRow(image);
  name.textContent = row.name.split("/").at(-1) || row.name;
  button.title = row.name;
  if (status[image] > 1) frame.append(element("span", { class: "why" }, withoutName(row.remarks[0] ?? "", row.name)));
  if (!row.width || !filters().masks.checked || !button.isConnected) return;
  const masks = await masksOf(image);
  if (!button.isConnected) return;
  if (masks.said) frame.append(element("span", { class: "why" }, withoutName(masks.said, row.name)));
  frame.append(masks.masks ? smallMasks(row, masks) : smallBoxes(row));
}

function smallCanvas(width, height) {
  const scale = Math.min(1, SHARPNESS / Math.max(width, height));
  const canvas = element("canvas", { "aria-hidden": "true" });
  canvas.width = Math.max(1, Math.round(width * scale));
  canvas.height = Math.max(1, Math.round(height * scale));
  return canvas;
}

function smallMasks(row, masks) {
  const canvas = smallCanvas(masks.width, masks.height);
  paint(scratch, segmentMap(row, masks, scratchIds), row);
  canvas.getContext("2d").drawImage(scratch, 0, 0, canvas.width, canvas.height);
  return canvas;
}

function smallBoxes(row) {
  const canvas = smallCanvas(row.width, row.height), context = canvas.getContext("2d"), scale = canvas.width / row.width;
  for (const { box, colour } of largestFirst(row.segments)) {
    const place = box.map((length) => length * scale);
    context.globalAlpha = 0.45;
    context.fillStyle = context.strokeStyle = colour;
    context.fillRect(...place);
    context.globalAlpha = 1;
    context.strokeRect(...place);
  }
  return canvas;
}

/** `/photos/cat.jpg: no such file` as `no such file`: the name stands below. */
function withoutName(reason, name) {
  const found = reason.indexOf(`${name}: `);
  return found < 0 ? reason : reason.slice(found + name.length + 2);
}

/** Arrows, Page up and down, Home and End, as in any grid. */
function move(event) {
  const { columns, height, shown } = gallery, page = Math.max(1, Math.floor(innerHeight / height) - 1) * columns;
  const by = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns, PageUp: -page, PageDown: page, Home: -shown, End: shown }[event.key];
  if (by === undefined) return;
  event.preventDefault();
  focusPlace(Math.min(shown - 1, Math.max(0, gallery.current + by)));
}

function focusPlace(place) {
  const { height, columns } = gallery, grid = byId("grid").getBoundingClientRect();
  const top = grid.top + Math.floor(place / columns) * height, bar = byId("filters").offsetHeight;
  if (top < bar) scrollBy(0, top - bar - GAP);
  else if (top + height > innerHeight) scrollBy(0, top + height - innerHeight);
  gallery.cells.get(gallery.current)?.firstChild.setAttribute("tabindex", "-1");
  gallery.current = place;
  draw();
  const button = gallery.cells.get(place)?.firstChild;
  button?.setAttribute("tabindex", "0");
  button?.focus({ preventScroll: true });
}

/** Back from the dialog to the image that was shown last. */
function focusImage(image) {
  const place = gallery.view.indexOf(image);
  if (place >= 0 && place < gallery.shown) focusPlace(place);
}
