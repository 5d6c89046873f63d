"use strict";
// What data files call, and where their rows and masks are kept while somebody looks at them.
// A page on file:// may not fetch, so a data file is a script: `maskmill.rows(17, [...])`.

const NO_SCORE = 65535, SCORE_STEPS = 65534;
const STATUSES = ["stored", "reused", "failed", "cancelled"];
const FAILED = STATUSES.indexOf("failed");
const NOT_CHOSEN = 0, SHOWN = 1;

/** Files of one kind: `await shelf.get(17)` loads a file once; the `most` last used are kept. */
class Shelf {
  constructor(most, address) {
    this.most = most;
    this.address = address;
    this.kept = new Map();
    this.waiting = new Map();
  }

  /** What a file brings when it is loaded. */
  put(key, value) {
    this.kept.set(key, value);
    if (this.kept.size > this.most) this.kept.delete(this.kept.keys().next().value);
    this.waiting.get(key)?.resolve(value);
    this.waiting.delete(key);
  }

  get(key) {
    if (this.kept.has(key)) {
      const value = this.kept.get(key);
      this.kept.delete(key);
      this.kept.set(key, value);
      return Promise.resolve(value);
    }
    if (!this.waiting.has(key)) this.load(key);
    return this.waiting.get(key).promise;
  }

  load(key) {
    const asked = {};
    asked.promise = new Promise((resolve, reject) => Object.assign(asked, { resolve, reject }));
    this.waiting.set(key, asked);
    const script = document.createElement("script");
    script.src = this.address(key);
    script.onload = () => script.remove();
    script.onerror = () => {
      script.remove();
      this.waiting.delete(key);
      asked.reject(new Error(`${script.getAttribute("src")} is missing`));
    };
    document.head.append(script);
  }
}

const rowFiles = new Shelf(60, (file) => `data/c${String(file).padStart(5, "0")}.js`);
const maskFiles = new Shelf(60, (image) => `${picturePath(image)}.js`);

/** `pictures/00012/012345`, without the ending. */
function picturePath(image) {
  const folder = String(Math.floor(image / 1000)).padStart(5, "0");
  return `pictures/${folder}/${String(image).padStart(6, "0")}`;
}

/** The methods that data files call; `index` comes last and shows the page. */
const maskmill = {
  facts: null,
  scored: null,
  compared: null,
  columns: null,
  rows: (file, rows) => rowFiles.put(file, rows),
  masks: (image, width, height, masks, said) => maskFiles.put(image, { width, height, masks, said }),
  score(value) { this.scored = value; },
  compare(value) { this.compared = value; },
  index(facts) {
    this.columns = unpackedColumns(facts.columns);
    facts.columns = null;
    this.facts = facts;
    showSummary(facts);
    startGallery();
    document.getElementById("incomplete").remove();
    document.body.dataset.ready = "";
  },
};

/** Columns of all images as typed arrays; the classes of image i are `classes[starts[i]]` to `classes[starts[i + 1]]`. */
function unpackedColumns(packed) {
  const counts = unpacked(packed.classCounts, Uint16Array), starts = new Uint32Array(packed.images + 1);
  counts.forEach((count, image) => { starts[image + 1] = starts[image] + count; });
  return {
    images: packed.images,
    rowsInFile: packed.rowsInFile,
    codes: packed.codes,
    status: unpacked(packed.status, Uint8Array),
    code: unpacked(packed.code, Uint16Array),
    segments: unpacked(packed.segments, Uint16Array),
    low: unpacked(packed.low, Uint16Array),
    picture: unpacked(packed.picture, Uint8Array),
    classes: unpacked(packed.classes, packed.classBytes === 2 ? Uint16Array : Uint32Array),
    starts,
  };
}

function unpacked(text, Type) {
  const binary = atob(text), bytes = new Uint8Array(binary.length);
  for (let place = 0; place < binary.length; place++) bytes[place] = binary.charCodeAt(place);
  return new Type(bytes.buffer);
}

/** What is known of one image; its segments are objects. */
async function imageRow(image) {
  const { rowsInFile } = maskmill.columns;
  const rows = await rowFiles.get(Math.floor(image / rowsInFile));
  const [name, width, height, mask, remarks, segments] = JSON.parse(rows[image % rowsInFile]);
  return { name, width, height, mask, remarks, segments: segments.map(asSegment) };
}

function asSegment([label, id, score, area, ...box]) {
  const [name, colour, ink] = maskmill.facts.classes[label];
  return { id, score, area, box, name, colour, ink };
}

/** An element with attributes and children; a child that is no element is text, never markup. */
function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== null && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

const byId = (id) => document.getElementById(id);
const number = (value) => value.toLocaleString("en");
const counted = (value, one, many = `${one}s`) => `${number(value)} ${value === 1 ? one : many}`;
const dash = (value, shown) => (value === null || value === undefined ? "–" : shown(value));
const score = (value) => dash(value, (found) => found.toFixed(2));

/** `0.0712` as `7.1 %`; what is nearly nothing is not shown as nothing. */
function percent(share) {
  const hundredths = share * 100;
  if (hundredths === 0) return "0 %";
  if (hundredths < 0.01) return "< 0.01 %";
  return `${hundredths >= 10 ? hundredths.toFixed(0) : hundredths >= 1 ? hundredths.toFixed(1) : hundredths.toFixed(2)} %`;
}

/** `3,725 s` as `1 h 2 min`. */
function duration(seconds) {
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  return minutes % 60 ? `${number(Math.floor(minutes / 60))} h ${minutes % 60} min` : `${number(minutes / 60)} h`;
}
