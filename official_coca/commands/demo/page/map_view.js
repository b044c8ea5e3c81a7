// What part of a map is seen: from places (0 to 1) to pixels and back.

const MOST = 400; // times as large as the whole map
const MARGIN = 35; // pixels around the whole map: half of a photo, and some

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

  /** Pixels that the whole map takes from left to right. */
  get across() {
    return (this.width - 2 * MARGIN) * this.zoom;
  }

  /** Pixels that the whole map takes from top to bottom. */
  get down() {
    return (this.height - 2 * MARGIN) * this.zoom;
  }

  toPixels(x, y) {
    return [
      (x - this.centre[0]) * this.across + this.width / 2,
      (y - this.centre[1]) * this.down + this.height / 2,
    ];
  }

  pan(right, down) {
    this.centre[0] = limited(this.centre[0] - right / this.across, 0, 1);
    this.centre[1] = limited(this.centre[1] - down / this.down, 0, 1);
  }

  /** Makes everything `factor` times as large; what is at a pixel stays there. */
  zoomAt(factor, x = this.width / 2, y = this.height / 2) {
    const zoom = limited(this.zoom * factor, 1, MOST);
    const [right, down] = [x - this.width / 2, y - this.height / 2];
    this.pan(-right, -down);
    this.zoom = zoom;
    this.pan(right, down);
  }
}

function limited(value, least, most) {
  return Math.min(Math.max(value, least), most);
}
