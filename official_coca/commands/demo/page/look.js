// The image that is looked at: dropped, pasted, chosen as a file, or one of the indexed ones.

import { showGallery } from "./gallery.js";
import { askForLines } from "./server.js";

export class Look {
  /** `start` is what /start answered, `labels` a Labels; `marked(rows)` is told similar images. */
  constructor(start, labels, marked) {
    this.start = start;
    this.labels = labels;
    this.marked = marked;
    for (const name of ["drop", "file", "looked_at", "looked_at_name", "look_problem", "caption",
      "similar", "similar_hint"]) {
      this[name] = document.getElementById(name);
    }
    this.section = document.getElementById("look");
    if (start.caption_problem) this.caption.textContent = start.caption_problem;
    this.looked_at.addEventListener("error", () => {
      this.looked_at.hidden = true;
      this.drop.classList.remove("shows");
    });
    this.acceptFiles();
  }

  acceptFiles() {
    this.file.addEventListener("change", () => {
      if (this.file.files.length) this.openFile(this.file.files[0]);
      this.file.value = ""; // the same file may be chosen again
    });
    document.addEventListener("dragover", (event) => {
      event.preventDefault();
      this.drop.classList.add("over");
    });
    document.addEventListener("dragleave", (event) => {
      if (!event.relatedTarget) this.drop.classList.remove("over");
    });
    // Anywhere on the page: a browser would show a file that misses the field instead of the page.
    document.addEventListener("drop", (event) => {
      event.preventDefault();
      this.drop.classList.remove("over");
      if (event.dataTransfer.files.length) this.openFile(event.dataTransfer.files[0]);
      else this.problem("That is no file. Save the image first, then drop the file.");
    });
    document.addEventListener("paste", (event) => {
      if (event.clipboardData.files.length) this.openFile(event.clipboardData.files[0]);
    });
  }

  openFile(file) {
    const limit = this.start.max_image_bytes;
    if (file.size > limit) {
      this.problem(`${file.name} is larger than ${Math.floor(limit / 2 ** 20)} MB.`);
      return;
    }
    this.preview(URL.createObjectURL(file), file.name);
    this.run("/look", { method: "POST", body: file });
  }

  openIndexed(image) {
    this.preview(`${this.start.pictures}large/${image.row}`, image.name);
    this.run(`/look/${image.row}`, {});
    // On a narrow screen the image is elsewhere than what was clicked.
    this.section.scrollIntoView({ block: "nearest" });
  }

  preview(address, name) {
    if (this.looked_at.src.startsWith("blob:")) URL.revokeObjectURL(this.looked_at.src);
    this.looked_at.src = address;
    this.looked_at.alt = name;
    this.looked_at.hidden = false;
    this.looked_at_name.textContent = name;
    this.drop.classList.add("shows");
  }

  async run(path, options) {
    if (this.running) this.running.abort();
    const running = this.running = new AbortController();
    this.clear();
    try {
      await askForLines(path, { ...options, signal: running.signal }, (answer) => {
        if (running === this.running) this.take(answer);
      });
    } catch (error) {
      if (error.name !== "AbortError" && running === this.running) this.problem(error.message);
    } finally {
      if (running === this.running) this.caption.setAttribute("aria-busy", "false");
    }
  }

  clear() {
    this.look_problem.hidden = true;
    this.similar.replaceChildren();
    this.similar_hint.hidden = true;
    this.labels.show(null);
    this.marked([]);
    if (this.start.caption_problem) return;
    this.caption.textContent = "";
    this.caption.classList.remove("empty");
    this.caption.setAttribute("aria-busy", "true");
  }

  take(answer) {
    if (answer.similar) {
      const open = (image) => this.openIndexed(image);
      showGallery(this.similar, answer.similar, this.start.pictures, open);
      this.marked(answer.similar.map((image) => image.row));
      this.labels.show(answer.image);
    }
    if (answer.caption !== undefined) this.caption.textContent = answer.caption;
    if (answer.done && !answer.caption) {
      this.caption.textContent = "The model has nothing to say about this image.";
      this.caption.classList.add("empty");
    }
    if (answer.error) this.problem(answer.error);
  }

  problem(message) {
    this.look_problem.textContent = message;
    this.look_problem.hidden = false;
  }
}
