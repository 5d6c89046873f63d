"use strict";
// Bars as inline SVG that stretches; its texts are HTML beside it, so that letters keep their size on a phone.

const SVG = "http://www.w3.org/2000/svg";

function drawing(tag, attributes, ...children) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/**
 * A figure of upright bars. `bars` are `{height, title}`, `ticks` stand below from left to right,
 * `said` tells the whole to who cannot see it.
 */
function barChart(title, bars, ticks, said) {
  const highest = Math.max(...bars.map((bar) => bar.height), 1e-9);
  const rects = bars.map((bar, place) => {
    const height = bar.height ? Math.max(0.8, 100 * bar.height / highest) : 0;
    const shape = { x: place + 0.06, y: 100 - height, width: 0.88, height };
    return drawing("g", {}, drawing("title", {}, bar.title),
      drawing("rect", { class: "hit", x: place, y: 0, width: 1, height: 100 }), drawing("rect", shape));
  });
  const view = { viewBox: `0 0 ${bars.length} 100`, preserveAspectRatio: "none", role: "img", "aria-label": `${title}: ${said}` };
  return element("figure", { class: "chart" },
    element("figcaption", {}, title),
    drawing("svg", view, ...rects),
    element("div", { class: "ticks", "aria-hidden": "true" }, ...ticks.map((tick) => element("span", {}, tick))),
    element("p", { class: "faint said" }, said));
}

/** One bar cut into parts `{name, value, kind}`, with a legend that has the numbers. */
function stackedBar(title, parts, shown) {
  const all = parts.reduce((sum, part) => sum + part.value, 0) || 1;
  let left = 0;
  const rects = parts.map((part) => {
    const shape = { class: `fill-${part.kind}`, x: 100 * left / all, y: 0, width: 100 * part.value / all, height: 10 };
    left += part.value;
    return drawing("rect", shape, drawing("title", {}, `${part.name}: ${shown(part.value)}`));
  });
  const said = parts.map((part) => `${part.name} ${shown(part.value)}`).join(", ");
  const view = { viewBox: "0 0 100 10", preserveAspectRatio: "none", role: "img", "aria-label": `${title}: ${said}` };
  const keys = parts.map((part) => element("li", {},
    element("span", { class: `key fill-${part.kind}`, "aria-hidden": "true" }), `${part.name} `, element("b", {}, shown(part.value))));
  return element("div", { class: "stacked" }, drawing("svg", view, ...rects), element("ul", { class: "legend" }, ...keys));
}

/** A bar lying in a table's cell, as long as its share of the longest. */
function lyingBar(share) {
  const view = { class: "lying", viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" };
  return drawing("svg", view, drawing("rect", { x: 0, y: 1, width: Math.max(0.5, 100 * share), height: 8 }));
}

/** A table from headings (`Name`, `#Name` for numbers, `~Name` for readers alone) and rows of texts and elements. */
function dataTable(caption, headings, rows) {
  const kinds = headings.map((heading) => (heading.startsWith("#") ? "number" : null));
  const names = headings.map((heading, place) => element("th", { scope: "col", class: kinds[place] },
    element("span", { class: heading.startsWith("~") ? "unseen" : null }, heading.replace(/^[#~]/, ""))));
  const lines = rows.map((cells) => element("tr", {}, ...cells.map((cell, place) =>
    element(place ? "td" : "th", { class: kinds[place], scope: place ? null : "row" }, cell))));
  return element("div", { class: "wide", tabindex: "0", role: "region", "aria-label": `Table: ${caption}` },
    element("table", {}, element("caption", { class: "unseen" }, caption),
      element("thead", {}, element("tr", {}, ...names)), element("tbody", {}, ...lines)));
}
