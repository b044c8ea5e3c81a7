// A list of indexed images. File names are text, never markup.

/** Fills `list` with images [{row, name, score}]; `open(image)` is called for a chosen one. */
export function showGallery(list, images, pictures, open) {
  list.replaceChildren(...images.map((image) => {
    const picture = document.createElement("img");
    picture.loading = "lazy";
    picture.alt = image.name;
    picture.addEventListener("error", () => picture.classList.add("missing"));
    picture.src = `${pictures}small/${image.row}`;
    const score = document.createElement("span");
    score.className = "score";
    score.textContent = image.score.toFixed(2);
    const button = document.createElement("button");
    button.type = "button";
    button.title = image.name;
    button.append(picture, score);
    button.addEventListener("click", () => open(image));
    const item = document.createElement("li");
    item.append(button);
    return item;
  }));
}
