// Sorts the image that is looked at into labels that a person edits.

import { ask } from "./server.js";

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
    const kept = localStorage.getItem(KEPT);
    if (kept) this.field.value = kept;
    this.field.addEventListener("input", () => {
      localStorage.setItem(KEPT, this.field.value);
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
    this.image = image;
    this.list.replaceChildren();
    return this.update();
  }

  async update() {
    const number = ++this.number;
    if (this.disabled || this.image === null) return;
    const labels = [...new Set(this.field.value.split(/[,\n]/).map((label) => label.trim()))]
      .filter((label) => label);
    if (!labels.length) {
      this.list.replaceChildren();
      this.status.textContent = this.hint;
      return;
    }
    try {
      const body = JSON.stringify({ image: this.image, labels });
      const answer = await ask("/labels", { method: "POST", body });
      if (number !== this.number) return;
      this.draw(labels, answer.probabilities);
      this.status.textContent = this.hint;
    } catch (error) {
      if (number === this.number) this.status.textContent = error.message;
    }
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
