"use strict";
const { photos, faces, unread } = DATA;
const PAGE_SIZE = 60, ROWS = 100, UNITS = 10000, MARGIN = 0.3;
const nFaces = faces.photo.length;
const $ = (id) => document.getElementById(id);
const number = (value) => value.toLocaleString("en");
const element = (name, properties = {}, ...children) => {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
};
const genderOf = (face) => faces.gender[face];
const lowerPaths = photos.path.map((path) => path.toLowerCase());

const KEYS = {
  path: null,
  age: (f) => faces.age[f],
  "-age": (f) => -faces.age[f],
  "-width": (f) => faces.low[f] - faces.high[f],
  doubt: (f) => Math.abs(faces.female[f] - 0.5),
  score: (f) => faces.score[f],
  taken: (f) => (photos.taken[faces.photo[f]] ? Date.parse(photos.taken[faces.photo[f]].replace(" ", "T")) : Infinity),
};

let chosen = new Uint32Array(0), page = 0;

function choose() {
  const from = Number($("age-from").value), to = $("age-to").value === "" ? Infinity : Number($("age-to").value);
  const gender = $("gender").value, score = Number($("score").value), text = $("text").value.toLowerCase();
  const fits = text ? lowerPaths.map((path) => path.includes(text)) : null;
  const found = new Uint32Array(nFaces);
  let n = 0;
  for (let f = 0; f < nFaces; f++) {
    if (faces.age[f] < from || faces.age[f] > to || faces.score[f] < score) continue;
    if (gender && genderOf(f) !== gender) continue;
    if (fits && !fits[faces.photo[f]]) continue;
    found[n++] = f;
  }
  chosen = found.subarray(0, n);
  const key = KEYS[$("sort").value];
  if (key) {
    const keys = new Float64Array(nFaces);
    for (const f of chosen) keys[f] = key(f);
    chosen.sort((a, b) => keys[a] - keys[b] || a - b);
  }
  page = 0;
  show();
}

/** The part of a photo's thumbnail that shows one face, in a square. */
function cutOut(face) {
  const photo = faces.photo[face], name = photos.thumbnail[photo];
  const frame = element("span", { className: "cut" });
  if (!name) return frame;
  const width = photos.width[photo], height = photos.height[photo];
  const x1 = (faces.x1[face] / UNITS) * width, x2 = (faces.x2[face] / UNITS) * width;
  const y1 = (faces.y1[face] / UNITS) * height, y2 = (faces.y2[face] / UNITS) * height;
  const side = Math.max(x2 - x1, y2 - y1, 1) * (1 + 2 * MARGIN);
  const left = (x1 + x2 - side) / 2, top = (y1 + y2 - side) / 2;
  const picture = element("img", { loading: "lazy", alt: "", src: "thumbnails/" + encodeURIComponent(name) });
  Object.assign(picture.style, {
    width: `${(100 * width) / side}%`, height: `${(100 * height) / side}%`,
    left: `${(-100 * left) / side}%`, top: `${(-100 * top) / side}%`,
  });
  frame.append(picture);
  return frame;
}

const interval = (face) => (faces.low[face] === null ? "" : `${faces.low[face]}–${faces.high[face]} years`);
const describe = (face) => `${genderOf(face)} ${Math.round(faces.age[face])}`;

function show() {
  const pages = Math.max(1, Math.ceil(chosen.length / PAGE_SIZE));
  const shown = chosen.subarray(page * PAGE_SIZE, (page + 1) * PAGE_SIZE);
  $("gallery").replaceChildren(...Array.from(shown, (face) => {
    const path = photos.path[faces.photo[face]];
    const said = element("span", { className: "said" }, describe(face),
      element("small", { textContent: interval(face) }), element("small", { textContent: path }));
    const button = element("button", { className: `face ${genderOf(face).replace(" ", "-")}`, title: path }, cutOut(face), said);
    button.addEventListener("click", () => openPhoto(face));
    return element("li", {}, button);
  }));
  $("count").textContent = `${number(chosen.length)} of ${number(nFaces)} faces`;
  $("page").textContent = `page ${number(page + 1)} of ${number(pages)}`;
  $("previous").disabled = page === 0;
  $("next").disabled = page + 1 >= pages;
}

function openPhoto(clicked) {
  const photo = faces.photo[clicked], members = [];
  for (let f = 0; f < nFaces; f++) if (faces.photo[f] === photo) members.push(f);
  $("photo-title").textContent = photos.path[photo];
  $("photo-taken").textContent = photos.taken[photo] ? `taken ${photos.taken[photo]}` : "";
  const holder = $("photo-picture"), name = photos.thumbnail[photo];
  holder.replaceChildren();
  if (name) {
    holder.append(element("img", { src: "thumbnails/" + encodeURIComponent(name), alt: `${members.length} faces` }));
  } else {
    holder.append("There is no thumbnail of this photo: batchage thumbnails draws them, report --thumbnails takes their folder.");
  }
  if (name) {
    const box = element("span", { className: "box" });
    Object.assign(box.style, {
      left: `${(100 * faces.x1[clicked]) / UNITS}%`, top: `${(100 * faces.y1[clicked]) / UNITS}%`,
      width: `${(100 * (faces.x2[clicked] - faces.x1[clicked])) / UNITS}%`,
      height: `${(100 * (faces.y2[clicked] - faces.y1[clicked])) / UNITS}%`,
    });
    holder.append(box);
  }
  $("photo-faces").replaceChildren(...members.map((face) => element("li", {
    className: face === clicked ? "clicked" : "",
    textContent: `${describe(face)}, ${interval(face)}, probability of female ${faces.female[face].toFixed(2)}, score ${faces.score[face].toFixed(2)}`,
  })));
  $("photo").showModal();
}

let unreadPage = 0;
function showUnread() {
  const pages = Math.max(1, Math.ceil(unread.length / ROWS));
  $("n-unread").textContent = number(unread.length);
  $("unread-section").hidden = unread.length === 0;
  $("unread").replaceChildren(...unread.slice(unreadPage * ROWS, (unreadPage + 1) * ROWS).map((row) =>
    element("tr", {}, ...["path", "status", "error"].map((key) => element("td", { textContent: row[key] ?? "" })))));
  $("unread-page").textContent = `page ${number(unreadPage + 1)} of ${number(pages)}`;
  $("unread-previous").disabled = unreadPage === 0;
  $("unread-next").disabled = unreadPage + 1 >= pages;
}

$("filters").addEventListener("input", choose);
$("filters").addEventListener("submit", (event) => event.preventDefault());
$("filters").addEventListener("reset", () => setTimeout(choose));
$("previous").addEventListener("click", () => { page--; show(); });
$("next").addEventListener("click", () => { page++; show(); });
$("unread-previous").addEventListener("click", () => { unreadPage--; showUnread(); });
$("unread-next").addEventListener("click", () => { unreadPage++; showUnread(); });
choose();
showUnread();
