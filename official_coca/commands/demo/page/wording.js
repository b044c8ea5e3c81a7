// Words that several parts of the page say.

/** As "1 image" or "1,234 images". */
export function imageCount(number) {
  return `${number.toLocaleString()} ${number === 1 ? "image" : "images"}`;
}

/** Says something in a line of the page, in the colour of a problem if it is one. */
export function tell(line, message, isProblem = false) {
  line.textContent = message;
  line.classList.toggle("problem", isProblem);
}
