// The map of the embedding space, drawn on a canvas: a dot for every image, photos where they fit.

import { listenToPointers } from "./map_pointers.js";
import { MapView } from "./map_view.js";
import { ask } from "./server.js";
import { imageCount, tell } from "./wording.js";

const PHOTO = 46; // pixels of a photo's side
const GAP = 6;
const FRAME = 3; // pixels of the line around what is marked
const REACH = 16; // pixels from a dot at which the mouse is on it
const MOST_LOADED = 1500; // photos that are kept

export class EmbeddingMap {
  /** `open(image)` is called for an image that is clicked. */
  constructor(pictures, open) {
    this.pictures = pictures;
    this.open = open;
    this.frame = document.getElementById("map");
    this.canvas = this.frame.querySelector("canvas");
    this.card = document.getElementById("card");
    this.status = document.getElementById("map_status");
    this.centre = document.getElementById("map_centre");
    this.photos = document.getElementById("photos");
    this.view = new MapView();
    this.count = 0;
    this.marked = new Set();
    this.loaded = new Map();
    this.shown = []; // places of the photos that are drawn: [number, x, y]
    this.hovered = -1;
  }

  async load() {
    let map;
    try {
      map = await ask("/map");
    } catch (error) {
      tell(this.status, error.message, true);
      return;
    }
    this.count = map.rows.length;
    this.rows = map.rows;
    this.names = map.names;
    this.x = Float32Array.from(map.x, (value) => value / map.units);
    this.y = Float32Array.from(map.y, (value) => value / map.units);
    tell(this.status,
      `${imageCount(this.count)} by ${map.method}; neighbours look alike to the model.`);
    this.listen();
    this.draw();
  }

  /** Highlights images by their rows; returns what `unmark` takes. */
  mark(rows) {
    this.marked = new Set(rows);
    this.draw();
    return this.marked;
  }

  /** Ends highlighting, unless other images are highlighted by now. */
  unmark(marked) {
    if (this.marked === marked) this.mark([]);
  }

  listen() {
    new ResizeObserver(() => this.draw()).observe(this.frame);
    this.photos.addEventListener("change", () => this.draw());
    const buttons = {
      zoom_in: () => this.view.zoomAt(1.6),
      zoom_out: () => this.view.zoomAt(1 / 1.6),
      zoom_all: () => this.view.showAll(),
    };
    for (const [name, act] of Object.entries(buttons)) {
      document.getElementById(name).addEventListener("click", () => { act(); this.draw(); });
    }
    this.frame.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.view.zoomAt(Math.exp(-event.deltaY * 0.0015), ...this.position(event));
      this.draw();
    }, { passive: false });
    listenToPointers(this);
    this.frame.addEventListener("keydown", (event) => this.key(event));
    this.frame.addEventListener("blur", () => {
      this.hover(-1);
      this.centre.textContent = "";
    });
    // The colours are those of the theme, which the button sets or the system.
    new MutationObserver(() => this.draw()).observe(document.documentElement, { attributes: true });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  key(event) {
    const step = 60;
    const acts = {
      ArrowLeft: () => this.view.pan(step, 0), ArrowRight: () => this.view.pan(-step, 0),
      ArrowUp: () => this.view.pan(0, step), ArrowDown: () => this.view.pan(0, -step),
      "+": () => this.view.zoomAt(1.4), "=": () => this.view.zoomAt(1.4),
      "-": () => this.view.zoomAt(1 / 1.4), 0: () => this.view.showAll(),
      Enter: () => this.open(this.image(this.central())),
    };
    if (!(event.key in acts) || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    acts[event.key]();
    this.draw();
    this.hover(this.central());
    // For who hears the page: a canvas says nothing. The same text again is not repeated.
    this.centre.textContent = this.image(this.hovered).name;
  }

  /** The number of the image nearest to the centre. */
  central() {
    return this.nearest(this.view.width / 2, this.view.height / 2, Infinity);
  }

  image(number) {
    return { row: this.rows[number], name: this.names[number] };
  }

  position(event) {
    const box = this.frame.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  /** The number of the image at a pixel, -1 for none. */
  nearest(x, y, reach = REACH) {
    const half = PHOTO / 2 + FRAME;
    // Where it is now: the view may have moved since it was drawn.
    const photo = this.shown.findLast(([number]) => {
      const [left, top] = this.view.toPixels(this.x[number], this.y[number]);
      return Math.abs(x - left) <= half && Math.abs(y - top) <= half;
    });
    if (photo && reach === REACH) return photo[0];
    let best = -1;
    let least = reach * reach;
    for (let number = 0; number < this.count; number++) {
      const [right, down] = this.view.toPixels(this.x[number], this.y[number]);
      const square = (right - x) ** 2 + (down - y) ** 2;
      if (square < least) [best, least] = [number, square];
    }
    return best;
  }

  hover(number) {
    if (number === this.hovered && !(number < 0)) return;
    this.hovered = number;
    this.card.hidden = number < 0;
    this.draw();
    if (number < 0) return;
    const { row, name } = this.image(number);
    const picture = this.card.querySelector("img");
    picture.src = `${this.pictures}small/${row}`;
    this.card.querySelector("p").textContent = name;
    this.placeCard();
  }

  /** Puts the card beside the image that is hovered over. */
  placeCard() {
    const number = this.hovered;
    const [x, y] = this.view.toPixels(this.x[number], this.y[number]);
    const [width, height] = [this.card.offsetWidth, this.card.offsetHeight];
    const left = x + 34 + width < this.view.width ? x + 34 : Math.max(x - 34 - width, 4);
    const top = Math.min(Math.max(y - height / 2, 4), Math.max(this.view.height - height - 4, 4));
    this.card.style.left = `${left}px`;
    this.card.style.top = `${top}px`;
  }

  /** Draws at the next frame, once, however often it is called. */
  draw() {
    if (this.waiting || !this.count) return;
    this.waiting = requestAnimationFrame(() => {
      this.waiting = null;
      this.paint();
    });
  }

  paint() {
    const ratio = window.devicePixelRatio || 1;
    const { clientWidth: width, clientHeight: height } = this.frame;
    this.canvas.width = width * ratio;
    this.canvas.height = height * ratio;
    this.view.resize(width, height);
    const pen = this.canvas.getContext("2d");
    pen.scale(ratio, ratio);
    const colours = getComputedStyle(document.documentElement);
    const [dot, accent] = ["--soft", "--accent"].map((name) => colours.getPropertyValue(name));
    const inside = this.inside(width, height);
    this.paintDots(pen, inside, dot);
    this.shown = this.photos.checked ? this.chosen(inside) : [];
    for (const [number, x, y] of this.shown) this.paintPhoto(pen, number, x, y, accent);
    const marks = inside.filter(([number]) => this.marked.has(this.rows[number]));
    const photos = new Set(this.shown.map(([number]) => number));
    for (const [number, x, y] of marks) if (!photos.has(number)) ring(pen, x, y, 6, accent);
    const [hovered] = inside.filter(([number]) => number === this.hovered);
    if (hovered) ring(pen, hovered[1], hovered[2], 9, accent);
    if (this.hovered >= 0) this.placeCard(); // the view or the size of the map may have changed
  }

  inside(width, height) {
    const inside = [];
    for (let number = 0; number < this.count; number++) {
      const [x, y] = this.view.toPixels(this.x[number], this.y[number]);
      if (x > -PHOTO && y > -PHOTO && x < width + PHOTO && y < height + PHOTO) {
        inside.push([number, x, y]);
      }
    }
    return inside;
  }

  paintDots(pen, inside, colour) {
    const radius = inside.length > 5000 ? 1.2 : 2.5;
    pen.fillStyle = colour;
    pen.globalAlpha = inside.length > 5000 ? 0.5 : 0.75;
    for (const [, x, y] of inside) pen.fillRect(x - radius, y - radius, 2 * radius, 2 * radius);
    pen.globalAlpha = 1;
  }

  /** Images whose photos do not cover each other; marked ones come first. */
  chosen(inside) {
    const taken = new Map(); // cell: photos whose centre lies in it
    const side = PHOTO + GAP;
    const isFree = (x, y) => {
      const [column, line] = [Math.floor(x / side), Math.floor(y / side)];
      for (let right = -1; right <= 1; right++) {
        for (let down = -1; down <= 1; down++) {
          for (const [otherX, otherY] of taken.get(`${column + right},${line + down}`) ?? []) {
            if (Math.abs(otherX - x) < side && Math.abs(otherY - y) < side) return false;
          }
        }
      }
      const cell = `${column},${line}`;
      taken.set(cell, [...(taken.get(cell) ?? []), [x, y]]);
      return true;
    };
    const first = inside.filter(([number]) => this.marked.has(this.rows[number]));
    return [...first, ...inside].filter(([, x, y]) => isFree(x, y));
  }

  paintPhoto(pen, number, x, y, accent) {
    const picture = this.picture(this.rows[number]);
    const [left, top] = [x - PHOTO / 2, y - PHOTO / 2];
    if (picture.complete && picture.naturalWidth) {
      const side = Math.min(picture.naturalWidth, picture.naturalHeight);
      pen.drawImage(picture, (picture.naturalWidth - side) / 2, (picture.naturalHeight - side) / 2,
        side, side, left, top, PHOTO, PHOTO);
    }
    if (!this.marked.has(this.rows[number])) return;
    pen.strokeStyle = accent;
    pen.lineWidth = FRAME;
    pen.strokeRect(left, top, PHOTO, PHOTO);
  }

  picture(row) {
    let picture = this.loaded.get(row);
    if (!picture) {
      if (this.loaded.size >= MOST_LOADED) this.loaded.delete(this.loaded.keys().next().value);
      picture = new Image();
      picture.addEventListener("load", () => this.draw());
      picture.src = `${this.pictures}small/${row}`;
      this.loaded.set(row, picture);
    }
    return picture;
  }
}

function ring(pen, x, y, radius, colour) {
  pen.strokeStyle = colour;
  pen.lineWidth = FRAME;
  pen.beginPath();
  pen.arc(x, y, radius, 0, 2 * Math.PI);
  pen.stroke();
}
