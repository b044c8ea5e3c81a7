// Mouse, pen and fingers on the map: hovering, dragging, pinching, clicking.

const STILL = 4; // pixels that a click may move

/** Moves the view of an EmbeddingMap, and tells it what is hovered over and clicked. */
export function listenToPointers(map) {
  const pointers = new Map(); // those that are down, and where
  let moved = 0;

  map.frame.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return; // the other buttons of a mouse have a meaning of their own
    map.frame.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, map.position(event));
    if (pointers.size === 1) moved = 0;
  });

  map.frame.addEventListener("pointermove", (event) => {
    const [x, y] = map.position(event);
    if (!pointers.has(event.pointerId)) {
      map.hover(map.nearest(x, y));
      return;
    }
    const before = [...pointers.values()];
    const [oldX, oldY] = pointers.get(event.pointerId);
    pointers.set(event.pointerId, [x, y]);
    const after = [...pointers.values()];
    moved += Math.hypot(x - oldX, y - oldY);
    map.view.pan((x - oldX) / after.length, (y - oldY) / after.length);
    if (after.length === 2) {
      const middle = [(after[0][0] + after[1][0]) / 2, (after[0][1] + after[1][1]) / 2];
      map.view.zoomAt(distance(after) / Math.max(distance(before), 1), ...middle);
    }
    if (moved > STILL) {
      map.frame.classList.add("dragged");
      map.hover(-1);
    }
    map.draw();
  });

  const release = (event) => {
    if (!pointers.delete(event.pointerId)) return;
    map.frame.classList.remove("dragged");
    if (event.type !== "pointerup" || moved > STILL || pointers.size) return;
    const number = map.nearest(...map.position(event));
    map.hover(number);
    if (number >= 0) map.open(map.image(number));
  };
  map.frame.addEventListener("pointerup", release);
  map.frame.addEventListener("pointercancel", release);
  map.frame.addEventListener("pointerleave", () => map.hover(-1));
}

function distance([one, other]) {
  return Math.hypot(one[0] - other[0], one[1] - other[1]);
}
