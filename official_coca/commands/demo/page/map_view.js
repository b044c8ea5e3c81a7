// What part of a map is seen: from places (0 to 1) to pixels and back.

const MOST = 400; // times as large as the whole map

export class MapView {
  constructor() {
    this.width = this.height = 1;
    this.showAll();
  }

  resize(width, height) {
    this.width = width;
    this.height = height;
  }

  showAll() {
    this.zoom = 1;
    this.centre = [0.5, 0.5];
  }

  /** Pixels that the whole map would take. */
  get scale() {
    return (Math.min(this.width, this.height) - 70) * this.zoom;
  }

  /** A wide map is stretched to its frame: how far two images are matters, not the shape. */
  get stretch() {
    return Math.max(1, (this.width - 70) / (Math.min(this.width, this.height) - 70));
  }

  toPixels(x, y) {
    return [
      (x - this.centre[0]) * this.scale * this.stretch + this.width / 2,
      (y - this.centre[1]) * this.scale + this.height / 2,
    ];
  }

  pan(right, down) {
    this.centre[0] = limited(this.centre[0] - right / (this.scale * this.stretch), 0, 1);
    this.centre[1] = limited(this.centre[1] - down / this.scale, 0, 1);
  }

  /** Makes everything `factor` times as large; what is at a pixel stays there. */
  zoomAt(factor, x = this.width / 2, y = this.height / 2) {
    const zoom = limited(this.zoom * factor, 1, MOST);
    const grown = zoom / this.zoom;
    const [right, down] = [x - this.width / 2, y - this.height / 2];
    this.pan(-right, -down);
    this.zoom = zoom;
    this.pan(right, down);
    return grown;
  }
}

function limited(value, least, most) {
  return Math.min(Math.max(value, least), most);
}
