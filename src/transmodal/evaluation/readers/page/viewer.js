// Images of 16 bits on canvases that move together: zoom, pan, window and level.

const FULL = 65535;
const SHARP_FROM = 4; // screen pixels a pixel, from which single pixels are drawn as squares
const MOST_ZOOM = 32;

export class Viewer {
  // panes: the element to fill. onChange: called with the view whenever it has changed.
  constructor(panes, onChange) {
    this.container = panes;
    this.onChange = onChange;
    this.panes = [];
    this.view = { zoom: 1, u: 0.5, v: 0.5, window: 1, level: 0.5 };
    this.pointers = new Map();
    this.observer = new ResizeObserver(() => {
      this.#arrange();
      this.draw();
    });
    panes.addEventListener("contextmenu", (event) => event.preventDefault());
  }

  // Show images: [{values: Uint16Array, sort, label, beside}]. Each trial begins with the whole image at full window.
  show(images) {
    this.observer.disconnect();
    this.panes = images.map((image) => this.#pane(image));
    const judged = document.createElement("div");
    judged.append(...this.panes.filter((pane) => !pane.beside).map((pane) => pane.figure));
    this.container.replaceChildren(judged, ...this.panes.filter((pane) => pane.beside).map((pane) => pane.figure));
    this.container.style.setProperty("--judged", judged.childElementCount);
    this.sort = images[0].sort;
    this.#arrange();
    for (const pane of this.panes) this.observer.observe(pane.canvas);
    this.reset();
  }

  clear() {
    this.observer.disconnect();
    this.panes = [];
    this.container.replaceChildren();
  }

  reset() {
    Object.assign(this.view, { window: 1, level: 0.5 });
    this.fit();
    this.#grey();
  }

  fit() {
    Object.assign(this.view, { zoom: 1, u: 0.5, v: 0.5 });
    this.draw();
  }

  // Zoom by a factor, about a point of a pane (CSS pixels from its middle).
  zoomBy(factor, pane = this.panes[0], x = 0, y = 0) {
    const before = this.#scale(pane);
    const zoom = Math.min(MOST_ZOOM, Math.max(1, this.view.zoom * factor));
    const after = (before * zoom) / this.view.zoom;
    this.view.u += (x / pane.sort.width) * (1 / before - 1 / after);
    this.view.v += (y / (pane.sort.height * pane.sort.aspect)) * (1 / before - 1 / after);
    this.view.zoom = zoom;
    this.draw();
  }

  // Move the image by CSS pixels.
  panBy(dx, dy, pane = this.panes[0]) {
    const scale = this.#scale(pane);
    this.view.u -= dx / (pane.sort.width * scale);
    this.view.v -= dy / (pane.sort.height * pane.sort.aspect * scale);
    this.draw();
  }

  // Set window and level as shares of the whole range.
  grey(window, level) {
    this.view.window = Math.min(1, Math.max(0.002, window));
    this.view.level = Math.min(1, Math.max(0, level));
    this.#grey();
  }

  // The view in the images' own unit, for the record.
  record() {
    const extent = this.sort.high - this.sort.low;
    return {
      window: this.view.window * extent,
      level: this.sort.low + this.view.level * extent,
      zoom: this.#scale(this.panes[0]),
    };
  }

  draw() {
    this.view.u = Math.min(1, Math.max(0, this.view.u));
    this.view.v = Math.min(1, Math.max(0, this.view.v));
    for (const pane of this.panes) this.#drawPane(pane);
    if (this.panes.length) this.onChange(this.view);
  }

  // Put what is shown beside to the right or below: where the judged images become larger.
  #arrange() {
    const judged = this.panes.filter((pane) => !pane.beside).length;
    const { clientWidth: width, clientHeight: height } = this.container;
    const fit = (across, down) => Math.min(width / across / this.sort.width,
      height / down / (this.sort.height * this.sort.aspect));
    const below = judged < this.panes.length && fit(judged, 2) > fit(judged + 1, 1);
    this.container.classList.toggle("below", below);
  }

  #pane({ values, sort, label, beside }) {
    const figure = document.createElement("figure");
    const canvas = document.createElement("canvas");
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", label);
    figure.append(canvas);
    if (label !== "Image") {
      const caption = document.createElement("figcaption");
      caption.textContent = label;
      figure.append(caption);
    }
    const source = new OffscreenCanvas(sort.width, sort.height);
    const pane = { figure, canvas, source, values, sort, beside };
    this.#listen(pane);
    if (beside) this.#paint(pane, 1, 0.5);
    return pane;
  }

  #grey() {
    for (const pane of this.panes) if (!pane.beside) this.#paint(pane, this.view.window, this.view.level);
    this.draw();
  }

  // Put the values through window and level into the hidden canvas.
  #paint({ source, values, sort }, window, level) {
    const table = new Uint8ClampedArray(FULL + 1);
    const low = (level - window / 2) * FULL;
    for (let value = 0; value <= FULL; value++) table[value] = (255 * (value - low)) / (window * FULL);
    const context = source.getContext("2d");
    const image = context.createImageData(sort.width, sort.height);
    const [green, blue] = sort.channels === 3 ? [1, 2] : [0, 0];
    for (let from = 0, to = 0; to < image.data.length; from += sort.channels, to += 4) {
      image.data[to] = table[values[from]];
      image.data[to + 1] = table[values[from + green]];
      image.data[to + 2] = table[values[from + blue]];
      image.data[to + 3] = 255;
    }
    context.putImageData(image, 0, 0);
  }

  // CSS pixels a pixel, across.
  #scale({ canvas, sort }) {
    const fitting = Math.min(canvas.clientWidth / sort.width, canvas.clientHeight / (sort.height * sort.aspect));
    return Math.max(fitting, 1e-6) * this.view.zoom;
  }

  #drawPane(pane) {
    const { canvas, source, sort } = pane;
    const ratio = window.devicePixelRatio || 1;
    const [width, height] = [Math.round(canvas.clientWidth * ratio), Math.round(canvas.clientHeight * ratio)];
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    const context = canvas.getContext("2d");
    const scale = this.#scale(pane) * ratio;
    const [w, h] = [sort.width * scale, sort.height * sort.aspect * scale];
    context.clearRect(0, 0, width, height);
    context.imageSmoothingEnabled = scale < SHARP_FROM * ratio;
    context.imageSmoothingQuality = "high";
    context.drawImage(source, width / 2 - this.view.u * w, height / 2 - this.view.v * h, w, h);
  }

  #listen(pane) {
    const { canvas } = pane;
    const middle = (event) => {
      const box = canvas.getBoundingClientRect();
      return [event.clientX - box.left - box.width / 2, event.clientY - box.top - box.height / 2];
    };
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoomBy(Math.exp(-event.deltaY * 0.0015), pane, ...middle(event));
    }, { passive: false });
    canvas.addEventListener("dblclick", () => this.fit());
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      const grey = event.button === 2 || event.shiftKey;
      this.pointers.set(event.pointerId, { x: event.clientX, y: event.clientY, grey });
    });
    canvas.addEventListener("pointermove", (event) => this.#moved(event, pane, middle));
    for (const ended of ["pointerup", "pointercancel", "lostpointercapture"]) {
      canvas.addEventListener(ended, (event) => this.pointers.delete(event.pointerId));
    }
  }

  #moved(event, pane, middle) {
    const held = this.pointers.get(event.pointerId);
    if (!held) return;
    const [dx, dy] = [event.clientX - held.x, event.clientY - held.y];
    const other = [...this.pointers].find(([id]) => id !== event.pointerId)?.[1];
    if (other) { // two fingers
      const apart = (point) => Math.hypot(point.x - other.x, point.y - other.y) || 1;
      this.zoomBy(apart({ x: event.clientX, y: event.clientY }) / apart(held), pane, ...middle(event));
    } else if (held.grey) {
      this.grey(this.view.window * Math.exp(dx * 0.004), this.view.level + dy * 0.002 * this.view.window);
    } else {
      this.panBy(dx, dy, pane);
    }
    Object.assign(held, { x: event.clientX, y: event.clientY });
  }
}
