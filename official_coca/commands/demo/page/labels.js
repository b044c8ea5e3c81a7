// Sorts the image that is looked at into labels that a person edits.

import { keep, kept } from "./kept.js";
import { ask } from "./server.js";
import { tell } from "./wording.js";

const PAUSE = 350; // milliseconds without a key before the labels are sent
const KEPT = "coca_labels";

export class Labels {
  constructor() {
    this.field = document.getElementById("labels");
    this.status = document.getElementById("labels_status");
    this.list = document.getElementById("probabilities");
    this.hint = this.status.textContent.trim();
    this.image = null;
    this.number = 0; // of the last request: an answer to an earlier one comes too late
    this.field.value = kept(KEPT) || this.field.value;
    this.field.addEventListener("input", () => {
      keep(KEPT, this.field.value);
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.update(), PAUSE);
    });
  }

  disable(reason) {
    this.field.disabled = true;
    this.field.hidden = true;
    this.status.textContent = reason;
    this.disabled = true;
  }

  /** Takes the name that the program gave an image; null for none. */
  show(image) {
    if (this.disabled) return;
    this.image = image;
    this.clear(this.hint);
    this.update();
  }

  async update() {
    const number = ++this.number;
    if (this.image === null) return;
    const labels = [...new Set(this.field.value.split(/[,\n]/).map((label) => label.trim()))]
      .filter((label) => label);
    if (!labels.length) {
      this.clear(this.hint);
      return;
    }
    try {
      const body = JSON.stringify({ image: this.image, labels });
      const answer = await ask("/labels", { method: "POST", body });
      if (number !== this.number) return;
      this.draw(labels, answer.probabilities);
      tell(this.status, this.hint);
    } catch (error) {
      // Probabilities of other labels would pass for those of the labels that are there now.
      if (number === this.number) this.clear(error.message, true);
    }
  }

  clear(message, isProblem = false) {
    this.list.replaceChildren();
    tell(this.status, message, isProblem);
  }

  draw(labels, probabilities) {
    const ranked = labels.map((label, place) => [label, probabilities[place]]);
    ranked.sort((one, other) => other[1] - one[1]);
    this.list.replaceChildren(...ranked.map(([label, probability]) => {
      const name = document.createElement("span");
      name.textContent = label;
      const bar = document.createElement("progress");
      bar.value = probability;
      bar.setAttribute("aria-hidden", "true");
      const share = document.createElement("span");
      share.textContent = `${(100 * probability).toFixed(1)} %`;
      const item = document.createElement("li");
      item.append(name, bar, share);
      return item;
    }));
  }
}
