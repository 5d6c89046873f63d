"use strict";
// One image in a dialog: its masks over its picture, its segments in a table; each can be hidden, or shown alone.

const MOST_SEGMENTS = 500;

const viewer = { image: null, row: null, map: null, hidden: new Set(), hot: 0 };

function startViewer() {
  byId("previous").addEventListener("click", () => step(-1));
  byId("next").addEventListener("click", () => step(1));
  byId("close").addEventListener("click", () => byId("viewer").close());
  byId("viewer").addEventListener("close", leave);
  byId("viewer").addEventListener("keydown", (event) => {
    if (event.target.type === "range" || event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key === "ArrowLeft") step(-1);
    if (event.key === "ArrowRight") step(1);
  });
  byId("show-all").addEventListener("click", () => hide([]));
  byId("hide-all").addEventListener("click", () => hide(viewer.row.segments.map((each) => each.id)));
  byId("strength").addEventListener("input", repaint);
  byId("stage").addEventListener("pointermove", (event) => heat(idUnder(event), event));
  byId("stage").addEventListener("pointerleave", () => heat(0));
  byId("stage").addEventListener("click", (event) => alone(idUnder(event)));
  addEventListener("hashchange", openFromAddress);
}

/** `#i=17` is the seventeenth image. */
function addressOf(image) {
  return `#i=${image + 1}`;
}

function openFromAddress() {
  const found = /^#i=(\d{1,9})$/.exec(location.hash);
  const image = found ? Number(found[1]) - 1 : -1;
  if (image >= 0 && image < maskmill.columns.images) open_(image);
}

/** A close is told later than it happens: an address may have opened another image by then, or be about to. */
function leave() {
  if (byId("viewer").open) return;
  if (location.hash === addressOf(viewer.image)) history.replaceState(null, "", location.pathname + location.search);
  focusImage(viewer.image);
  viewer.image = null;
}

/** The next image of those that the filters show; of all, from one that they do not. Undefined at either end. */
function neighbour(by) {
  const place = gallery.view.indexOf(viewer.image), next = viewer.image + by;
  if (place >= 0) return gallery.view[place + by];
  return next >= 0 && next < maskmill.columns.images ? next : undefined;
}

function step(by) {
  const next = neighbour(by);
  if (next !== undefined) open_(next);
}

async function open_(image) {
  viewer.image = image;
  history.replaceState(null, "", addressOf(image));
  if (!byId("viewer").open) byId("viewer").showModal();
  byId("viewer-title").textContent = `Image ${number(image + 1)}`;
  try {
    const row = await imageRow(image), masks = await masksOf(image);
    if (viewer.image !== image) return;
    Object.assign(viewer, { row, map: segmentMap(row, masks), hidden: new Set(), hot: 0 });
    showImage(image, row, masks);
  } catch (error) {
    byId("viewer-facts").textContent = error.message;
  }
}

function showImage(image, row, masks) {
  const { columns } = maskmill;
  byId("viewer-title").textContent = row.name;
  byId("viewer-facts").textContent = [`image ${number(image + 1)} of ${number(columns.images)}`,
    row.width ? `${number(row.width)} × ${number(row.height)} pixels` : null,
    STATUSES[columns.status[image]], row.mask || null].filter(Boolean).join(" · ");
  byId("viewer-link").href = addressOf(image);
  byId("previous").disabled = neighbour(-1) === undefined;
  byId("next").disabled = neighbour(1) === undefined;
  const picture = byId("stage-picture");
  picture.hidden = columns.picture[image] !== SHOWN;
  if (!picture.hidden) picture.src = `${picturePath(image)}.jpg`;
  else picture.removeAttribute("src");
  picture.alt = row.name;
  byId("stage").hidden = !row.width;
  byId("stage").style.aspectRatio = `${viewer.map.width} / ${viewer.map.height}`;
  byId("viewer-remarks").replaceChildren(...remarksOf(image, row, masks).map((text) => element("li", {}, text)));
  byId("mask-buttons").hidden = byId("segments").hidden = !row.segments.length;
  showSegments(row);
  repaint();
}

function remarksOf(image, row, { masks, said }) {
  const remarks = [...row.remarks];
  if (said) remarks.push(`No picture: ${said}`);
  if (row.width && !row.segments.length) remarks.push("Nothing was found in this image.");
  if (row.segments.length && !masks) remarks.push(said ? "Boxes are shown in place of masks."
    : "Boxes are shown in place of masks: this image is not part of the gallery (maskmill report --all).");
  if (row.segments.length > MOST_SEGMENTS) remarks.push(`The first ${number(MOST_SEGMENTS)} of ${number(row.segments.length)} segments are listed.`);
  if (maskmill.columns.status[image] === FAILED) {
    const code = maskmill.columns.codes[maskmill.columns.code[image]];
    remarks[0] = `${code}: ${remarks[0] ?? ""}`;
    remarks.push(maskmill.facts.failures.find((each) => each.code === code)?.cure ?? "");
  }
  return remarks.filter(Boolean);
}

function showSegments(row) {
  const pixels = row.width * row.height || 1;
  const lines = row.segments.slice(0, MOST_SEGMENTS).map((each) => {
    const box = element("input", { type: "checkbox", checked: true, onchange: () => {
      viewer.hidden[box.checked ? "delete" : "add"](each.id);
      markShown();
    } });
    const line = element("tr", { "data-id": each.id, onpointerenter: () => heat(each.id), onpointerleave: () => heat(0),
      onfocusin: () => heat(each.id), onfocusout: () => heat(0) },
    element("th", { scope: "row" }, element("label", {}, box,
      element("span", { class: "swatch", "data-colour": each.colour, "aria-hidden": "true" }), each.name)),
    element("td", { class: "number" }, score(each.score)),
    element("td", { class: "number", title: counted(each.area, "pixel") }, percent(each.area / pixels)),
    element("td", {}, element("button", { type: "button", class: "small", "aria-label": `Show ${each.name} alone`, "aria-pressed": "false",
      onclick: () => alone(each.id) }, "Alone")));
    return line;
  });
  byId("segments").tBodies[0].replaceChildren(...lines);
  paintSwatches(byId("segments"));
}

/** Show one segment alone; again, and all are there. */
function alone(id) {
  if (!id) return;
  const others = viewer.row.segments.map((each) => each.id).filter((each) => each !== id);
  const already = !viewer.hidden.has(id) && others.every((each) => viewer.hidden.has(each)) && others.length;
  hide(already ? [] : others);
}

function hide(ids) {
  viewer.hidden = new Set(ids);
  markShown();
}

function markShown() {
  const shown = viewer.row.segments.filter((each) => !viewer.hidden.has(each.id));
  for (const line of byId("segments").tBodies[0].rows) {
    const id = Number(line.dataset.id);
    line.querySelector("input").checked = !viewer.hidden.has(id);
    line.querySelector("button").setAttribute("aria-pressed", String(shown.length === 1 && shown[0].id === id));
  }
  repaint();
}

/** Make a segment stand out, and name it at the pointer. */
function heat(id, event) {
  const name = byId("stage-name"), segment = viewer.row?.segments.find((each) => each.id === id);
  name.hidden = !segment || !event;
  if (segment && event) {
    name.textContent = segment.score === null ? segment.name : `${segment.name} ${segment.score.toFixed(2)}`;
    name.style.background = segment.colour;
    name.style.color = segment.ink;
    const stage = byId("stage").getBoundingClientRect();
    name.style.left = `${Math.min(event.clientX - stage.left + 12, stage.width - name.offsetWidth)}px`;
    name.style.top = `${Math.max(0, event.clientY - stage.top - 30)}px`;
  }
  if (id === viewer.hot) return;
  viewer.hot = id;
  for (const line of byId("segments").tBodies[0].rows) line.classList.toggle("hot", Number(line.dataset.id) === id);
  repaint();
}

function idUnder(event) {
  if (!viewer.map) return 0;
  const { ids, width, height } = viewer.map, stage = byId("stage").getBoundingClientRect();
  const x = Math.floor((event.clientX - stage.left) / stage.width * width), y = Math.floor((event.clientY - stage.top) / stage.height * height);
  const id = x >= 0 && y >= 0 && x < width && y < height ? ids[y * width + x] : 0;
  return viewer.hidden.has(id) ? 0 : id;
}

function repaint() {
  if (!viewer.map) return;
  paint(byId("stage-masks"), viewer.map, viewer.row, { strength: byId("strength").value / 100, hidden: viewer.hidden, hot: viewer.hot });
}
