"use strict";
// All parts of the page above the images: account, scores, classes, distributions, failures, time, request.

const CLASSES_AT_FIRST = 15;

function showSummary(facts) {
  const { account, gallery } = facts;
  const images = counted(account.submitted, "image");
  document.title = `${images}, ${facts.model}: Maskmill report`;
  byId("title").textContent = `${images}, ${facts.state}`;
  byId("subtitle").textContent = `${facts.model} · job ${facts.job} · ${new Date(facts.finished * 1000).toISOString().slice(0, 16).replace("T", " ")} UTC`;
  show("account", ...accountParts(facts, account));
  if (maskmill.scored) show("score", ...scoreParts(maskmill.scored));
  if (maskmill.compared) show("compare", ...comparisonParts(maskmill.compared));
  show("classes", ...classParts(facts));
  show("spread", ...spreadParts(facts));
  if (facts.failures.length || facts.warnings.length) show("failures", ...failureParts(facts));
  show("time", ...timeParts(facts));
  show("asked", ...askedParts(facts));
  show("images");
  const there = { score: maskmill.scored, compare: maskmill.compared, failures: facts.failures.length + facts.warnings.length };
  for (const link of document.querySelectorAll("[data-needs]")) link.hidden = !there[link.dataset.needs];
  if (gallery.unreadable) byId("images-title").after(element("p", { class: "notice" },
    `${counted(gallery.unreadable, "picture")} without the image or its masks: they could not be read again where this report was made.`));
}

function show(section, ...parts) {
  byId(section).hidden = false;
  byId(section).querySelector(".body")?.append(...parts);
}

function tile(value, name, kind = "") {
  return element("div", { class: `tile ${kind}` }, element("b", {}, value), element("span", {}, name));
}

function accountParts(facts, account) {
  const { counts } = account, leftOut = account.leftOut.reduce((sum, [, found]) => sum + found, 0);
  const masks = counts.stored + counts.reused;
  const parts = [
    element("div", { class: "tiles" },
      tile(number(account.submitted), "submitted"),
      tile(number(masks), "with a mask", "good"),
      tile(number(counts.failed), "failed", counts.failed ? "bad" : ""),
      tile(facts.masks ? percent(facts.nothing / facts.masks) : "–", "of the masks are empty", facts.nothing ? "warn" : ""),
      tile(number(facts.classes.reduce((sum, each) => sum + each[4], 0)), "segments"),
      tile(number(facts.classes.length), facts.classes.length === 1 ? "class" : "classes")),
    stackedBar("Images", STATUSES.filter((status) => counts[status] || status === "stored")
      .map((status) => ({ name: status, value: counts[status], kind: status })), number),
  ];
  if (account.found !== null) parts.push(element("p", {},
    `${number(account.found)} found = ${number(account.submitted)} submitted + ${number(leftOut)} left out; `
    + `${number(account.submitted)} submitted = ${STATUSES.map((status) => `${number(counts[status])} ${status}`).join(" + ")}.`));
  if (account.reason) parts.push(element("p", { class: "notice" }, account.reason));
  if (leftOut) parts.push(dataTable("Left out", ["Left out because", "#Entries", "For example"],
    account.leftOut.map(([reason, found, example]) => [reason, number(found), element("span", { class: "name" }, example)])));
  return parts;
}

function classParts(facts) {
  if (!facts.classes.length) return [element("p", {}, "Nothing was found in any image.")];
  const ordered = facts.classes.map((each, place) => [...each, place]).sort((one, other) => other[4] - one[4]);
  const most = Math.max(...ordered.map((each) => each[5]));
  const rows = ordered.map(([name, colour, , images, segments, share, median, place]) => [
    element("button", { type: "button", class: "plain", title: `Show images with ${name}`, onclick: () => showOnly({ label: place }) },
      element("span", { class: "swatch", style: null, "data-colour": colour, "aria-hidden": "true" }), name),
    number(images), number(segments), percent(share), lyingBar(share / (most || 1)), score(median)]);
  const table = dataTable("Classes", ["Class", "#Images", "#Segments", "#Share of area", "~drawn", "#Median score"], rows);
  paintSwatches(table);
  return [table, ...folded(table.querySelectorAll("tbody tr"), "classes")];
}

/** Styles set by a program pass the page's policy; those in attributes do not. */
function paintSwatches(root) {
  for (const swatch of root.querySelectorAll("[data-colour]")) swatch.style.background = swatch.dataset.colour;
}

/** A button that shows the rows beyond the first ones. */
function folded(rows, name) {
  const rest = [...rows].slice(CLASSES_AT_FIRST);
  if (!rest.length) return [];
  for (const row of rest) row.classList.add("folded");
  const button = element("button", { type: "button", class: "more", onclick: () => {
    for (const row of rest) row.classList.remove("folded");
    button.remove();
  } }, `Show all ${number(rows.length)} ${name}`);
  return [button];
}

function spreadParts(facts) {
  const parts = [], total = (bars) => bars.reduce((sum, bar) => sum + bar[2], 0);
  if (facts.scores.length) {
    const sure = facts.scores.filter(([from]) => from >= 0.9).reduce((sum, bar) => sum + bar[2], 0);
    parts.push(barChart("Scores of segments",
      facts.scores.map(([from, to, found]) => ({ height: found, title: `${from.toFixed(2)} to ${to.toFixed(2)}: ${counted(found, "segment")}` })),
      ["0", "0.25", "0.5", "0.75", "1"], `${percent(sure / total(facts.scores))} of ${counted(total(facts.scores), "segment")} have 0.9 or more.`));
  }
  if (facts.segments.length) {
    const last = facts.segments.at(-1)[1];
    const name = ([from, to]) => (from === to ? number(from) : `${number(from)} to ${number(to)}`);
    parts.push(barChart("Segments in an image",
      facts.segments.map((bar) => ({ height: bar[2], title: `${name(bar)}: ${counted(bar[2], "image")}` })),
      ["0", number(last)], `Nothing was found in ${number(facts.nothing)} of ${counted(facts.masks, "image")}.`));
  }
  if (facts.areas.length) {
    const small = facts.areas.filter(([, to]) => to <= 0.0101).reduce((sum, bar) => sum + bar[2], 0);
    parts.push(barChart("Area of a segment in its image",
      facts.areas.map(([from, to, found]) => ({ height: found, title: `${percent(from)} to ${percent(to)}: ${counted(found, "segment")}` })),
      ["0.0001 %", "0.01 %", "1 %", "100 %"], `${percent(small / total(facts.areas))} of the segments cover less than 1 % of their image.`));
  }
  return parts.length ? parts : [element("p", {}, "There is no mask to look at.")];
}

function failureParts(facts) {
  const row = (kind) => ({ code, number: found, uri, reason, cure }) => [
    element("button", { type: "button", class: "plain code", title: `Show images with ${code}`, onclick: () => showOnly({ code }) }, code),
    kind, number(found), element("span", { class: "name" }, reason.startsWith(uri) ? reason : `${uri}: ${reason}`),
    element("span", {}, ...withCode(cure ?? ""))];
  return [dataTable("Failures and warnings", ["Code", "Became", "#Images", "For example", "What to do"],
    [...facts.failures.map(row("failed")), ...facts.warnings.map(row("warned"))])];
}

/** A text of ours, whose `commands` stand between backticks. */
function withCode(text) {
  return text.split("`").map((part, place) => (place % 2 ? element("code", {}, part) : part));
}

function timeParts({ times, account, created, finished }) {
  const parts = [], { rate, stages, device, workers, timed } = times;
  if (rate) {
    const seconds = rate.to - rate.from, perSecond = account.submitted / Math.max(seconds, 1e-3);
    parts.push(element("div", { class: "tiles" },
      tile(duration(seconds), "from submission to the last image"),
      tile(perSecond >= 10 ? number(Math.round(perSecond)) : perSecond.toFixed(2), "images a second"),
      tile(number(workers), workers === 1 ? "worker" : "workers")));
    const step = seconds / rate.bars.length;
    if (rate.shards > 2) parts.push(barChart("Images a second as the job went on",
      rate.bars.map((height, place) => ({ height, title: `after ${duration(place * step)}: ${height.toFixed(1)} images a second` })),
      ["0", duration(seconds / 2), duration(seconds)], `The fastest moment had ${Math.max(...rate.bars).toFixed(1)} images a second.`));
  } else parts.push(element("div", { class: "tiles" }, tile(duration(finished - created), "from submission to the end")),
    element("p", { class: "faint" }, "A folder of results does not say when which image was done, nor what took how long."));
  if (device) parts.push(element("h3", {}, "The model's time"),
    stackedBar("The model's time", [
      { name: "at work", value: device.busy, kind: "stored" },
      { name: "waiting for images", value: device.loading, kind: "reused" },
      { name: "waiting for uploads", value: device.storing, kind: "cancelled" }], duration));
  if (stages.length) {
    const longest = Math.max(...stages.map(([, each]) => each));
    parts.push(element("h3", {}, "Milliseconds an image"), dataTable("Time by stage", ["Stage", "#Milliseconds", "~drawn"],
      stages.map(([name, each]) => [name, (1000 * each).toFixed(1), lyingBar(each / longest)])),
    element("p", { class: "faint" }, `The mean of ${counted(timed, "image")}; stages overlap, so their sum is no duration.`));
  } else if (rate) parts.push(element("p", { class: "faint" }, "No image was segmented, so no stage took time."));
  return parts;
}

function askedParts({ asked, command }) {
  const rows = asked.map(([term, text]) => [element("dt", {}, term), element("dd", { class: "name" }, text)]);
  const parts = [element("dl", {}, ...rows.flat())];
  if (command) parts.push(element("p", { class: "faint" }, "The same again:"), element("pre", { tabindex: "0" }, command));
  return parts;
}

function imageLinks(title, images) {
  return dataTable(title, ["Image", "#PQ", "Remark"], images.map(({ image, pq, note }) => [imageLink(image), score(pq), note]));
}

/** Its number stands for an image until its name is there. */
function imageLink(image) {
  const link = element("a", { href: addressOf(image), class: "name" }, `image ${number(image + 1)}`);
  imageRow(image).then((row) => { link.textContent = row.name; }, () => {});
  return link;
}

function numbersAndNotes({ title, numbers, notes }) {
  return [element("p", {}, title),
    element("div", { class: "tiles" }, ...Object.entries(numbers).map(([name, value]) => tile(dash(value, shownNumber), name))),
    ...notes.map((note) => element("p", { class: "faint" }, note))];
}

const shownNumber = (value) => (Number.isInteger(value) && value > 1 ? number(value) : value.toFixed(3));

/** Classes whose quality nobody can say come last. */
const lowestFirst = (classes) => [...classes].sort((one, other) => (one.pq ?? 2) - (other.pq ?? 2));

function scoreParts(scored) {
  const rows = lowestFirst(scored.classes).map((each) => [each.name, dash(each.thing, (thing) => (thing ? "thing" : "stuff")),
    number(each.truth), number(each.found), ...[each.pq, each.sq, each.rq, each.iou, each.ap].map(score)]);
  const table = dataTable("Score by class", ["Class", "Kind", "#In truth", "#Found", "#PQ", "#SQ", "#RQ", "#IoU", "#AP"], rows);
  return [...numbersAndNotes(scored), table, ...folded(table.querySelectorAll("tbody tr"), "classes"),
    ...(scored.worst.length ? [element("h3", {}, "Worst images"), imageLinks("Worst images", scored.worst)] : [])];
}

function comparisonParts(compared) {
  const rows = lowestFirst(compared.classes).map((each) => [each.name, number(each.segments_before), number(each.segments_now),
    dash(each.share_before, percent), dash(each.share_now, percent), score(each.pq)]);
  const table = dataTable("Change by class", ["Class", "#Segments before", "#Now", "#Area before", "#Now", "#PQ"], rows);
  return [...numbersAndNotes(compared), table, ...folded(table.querySelectorAll("tbody tr"), "classes"),
    ...(compared.differing.length ? [element("h3", {}, "Images that differ most"), imageLinks("Images that differ most", compared.differing)] : [])];
}
