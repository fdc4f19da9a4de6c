// The reading page: asks for the open trial, shows it, sends the answer, goes on. Knows nothing of what an image is.

import { Viewer } from "./viewer.js";

const element = (id) => document.getElementById(id);
const WORDS = {
  real: ["Real", "R"], synthetic: ["Synthetic", "S"], left: ["Left", "←"], right: ["Right", "→"], tie: ["Equal", "E"],
};
const KEYS = {
  r: "real", s: "synthetic", ArrowLeft: "left", ArrowRight: "right", e: "tie", ArrowDown: "tie",
};
// More is better on every scale: what counts faults is shown as their absence.
const SHOWN = { artefacts: "freedom from artefacts", artifacts: "freedom from artifacts" };
const PAN = { ArrowLeft: [40, 0], ArrowRight: [-40, 0], ArrowUp: [0, 40], ArrowDown: [0, -40] };

const viewer = new Viewer(element("panes"), showView);
const fetched = new Map(); // address → promise of its values, for the open trial and the next
let state = null;
let chosen = {};
let active = 0; // the question that keys answer
let began = 0;
let busy = false;

class Refusal extends Error {
  constructor(status, message) { super(message); this.status = status; }
}

async function ask(path, body) {
  const options = body === undefined ? {} : {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
  };
  const response = await fetch(path, { cache: "no-store", ...options });
  if (response.headers.get("content-type")?.startsWith("application/json")) {
    const content = await response.json();
    if (!response.ok) throw new Refusal(response.status, content.error);
    return content;
  }
  if (!response.ok) throw new Refusal(response.status, `The server answered ${response.status}.`);
  return response.arrayBuffer();
}

// The bytes are little-endian, as is every machine that runs a browser.
function values(address) {
  if (!fetched.has(address)) {
    const promise = ask(`${location.pathname}/image/${address}`).then((buffer) => new Uint16Array(buffer));
    promise.catch(() => fetched.delete(address));
    fetched.set(address, promise);
  }
  return fetched.get(address);
}

// ---- what is on the page

function only(section) {
  for (const id of ["start", "reading", "finished", "trouble"]) element(id).hidden = id !== section;
}

function sentence(text) {
  return /[.!?]$/.test(text) ? text : `${text}.`;
}

function trouble(text) {
  only("trouble");
  element("trouble-text").textContent = text;
}

async function render(next) {
  const images = await Promise.all(next.shown.map(values));
  state = next;
  document.title = state.title;
  element("title").textContent = state.title;
  element("reader").textContent = state.reader;
  element("progress").hidden = false;
  element("bar").max = state.of;
  element("bar").value = state.trial ?? state.of;
  if (state.trial === null) {
    viewer.clear();
    element("count").textContent = `${state.of} of ${state.of}`;
    element("help").hidden = true;
    element("finished-text").textContent = `All ${state.of} trials of “${state.title}” are answered.`;
    return only("finished");
  }
  element("count").textContent = `${state.trial + 1} of ${state.of}`;
  element("help").hidden = false;
  element("question").textContent = state.question;
  chosen = {};
  active = 0;
  only("reading");
  renderChoices();
  viewer.show(images.map(described));
  for (const address of fetched.keys()) if (![...state.shown, ...state.next].includes(address)) fetched.delete(address);
  state.next.forEach((address) => values(address).catch(() => {}));
  began = performance.now();
}

function described(image, place, all) {
  const beside = state.reference !== null && place === all.length - 1;
  const shown = all.length - (state.reference === null ? 0 : 1);
  const label = beside ? state.referenceTitle : shown === 1 ? (state.reference ? "Image to judge" : "Image")
    : ["Left", "Right"][place];
  return { values: image, sort: beside ? state.reference : state.pictures, label, beside };
}

function questions() {
  return state.criteria.length ? state.criteria : [""];
}

function renderChoices() {
  const rows = questions().map((question, row) => {
    const group = document.createElement("div");
    group.className = "choice";
    group.setAttribute("role", "radiogroup");
    group.setAttribute("aria-label", SHOWN[question] ?? (question || state.question));
    if (question) {
      const name = document.createElement("span");
      name.className = "criterion";
      name.textContent = SHOWN[question] ?? question;
      group.append(name);
    }
    group.append(...state.answers.map((answer, place) => choiceButton(question, row, answer, place)));
    return group;
  });
  element("choices").classList.toggle("rating", state.kind === "rating");
  element("choices").replaceChildren(...rows);
  if (state.kind === "rating") {
    const scale = document.createElement("p");
    scale.className = "scale quiet";
    scale.append(...["1 worst", "…", `${state.points} best`].map((text) => Object.assign(document.createElement("span"),
      { textContent: text })));
    element("choices").append(scale);
  }
  showChosen();
}

function choiceButton(question, row, answer, place) {
  const button = document.createElement("button");
  const [word, key] = state.kind === "rating" ? [answer, String(place + 1)] : WORDS[answer];
  Object.assign(button, { type: "button", textContent: word });
  Object.assign(button.dataset, { row, answer });
  button.setAttribute("role", "radio");
  button.setAttribute("aria-keyshortcuts", { "←": "ArrowLeft", "→": "ArrowRight" }[key] ?? key);
  if (state.kind === "rating") {
    const end = answer === "1" ? ", worst" : answer === String(state.points) ? ", best" : "";
    button.setAttribute("aria-label", `${SHOWN[question] ?? question}: ${answer} of ${state.points}${end}`);
  }
  if (state.kind !== "rating") button.append(Object.assign(document.createElement("kbd"), { textContent: key }));
  button.addEventListener("click", () => choose(row, answer));
  return button;
}

function choose(row, answer) {
  if (busy || !state.answers.includes(answer)) return;
  chosen[questions()[row]] = answer;
  const open = questions().findIndex((question) => !(question in chosen));
  active = open < 0 ? row : open;
  showChosen();
}

function showChosen() {
  for (const button of element("choices").querySelectorAll("button")) {
    const question = questions()[button.dataset.row];
    button.setAttribute("aria-checked", String(chosen[question] === button.dataset.answer));
  }
  [...element("choices").querySelectorAll(".choice")].forEach((group, row) => {
    group.classList.toggle("active", state.kind === "rating" && row === active);
  });
  element("confirm").disabled = busy || Object.keys(chosen).length < questions().length;
}

function showView(view) {
  const { low, high, unit } = viewer.sort;
  const whole = Number.isInteger(low) && Number.isInteger(high) && high - low >= 100;
  const round = (value) => String(whole ? Math.round(value) : Number(value.toPrecision(4)));
  const { window, level } = viewer.record();
  const percent = Math.round(100 * view.zoom); // of the size at which the whole image is seen
  element("zoom").textContent = percent === 100 ? "fit" : `${percent} %`;
  element("window").value = String(1000 * Math.sqrt(view.window)); // finer where windows are narrow
  element("level").value = String(1000 * view.level);
  element("window-value").textContent = round(window);
  element("level-value").textContent = round(level) + (unit && unit !== "intensity" ? ` ${unit}` : "");
  element("window").setAttribute("aria-valuetext", `${round(window)} of ${round(high - low)}`);
  element("level").setAttribute("aria-valuetext", round(level));
}

// ---- answering

async function confirm() {
  if (busy || element("confirm").disabled) return;
  busy = true;
  showChosen();
  element("message").textContent = "";
  const seconds = (performance.now() - began) / 1000;
  const answer = { trial: state.trial, answers: chosen, seconds, ...viewer.record() };
  let next = null;
  try {
    next = await ask(`${location.pathname}/answer`, answer);
  } catch (error) {
    element("message").textContent = error instanceof Refusal ? sentence(error.message)
      : "The answer could not be sent and is not stored. Confirm it again.";
    if (error instanceof Refusal && error.status === 409) next = await ask(`${location.pathname}/state`).catch(() => null);
  }
  try {
    if (next) await render(next);
    document.activeElement?.blur();
  } catch (error) {
    trouble(`${sentence(error.message)} Reload the page.`);
  } finally {
    busy = false;
    if (state.trial !== null) showChosen();
  }
}

function pressed(event) {
  if (element("reading").hidden || element("instructions").open || event.ctrlKey || event.metaKey || event.altKey) return;
  const focused = document.activeElement;
  const slider = focused?.type === "range";
  if (event.shiftKey && PAN[event.key]) viewer.panBy(...PAN[event.key]);
  else if (event.key === "Enter" || event.key === " ") {
    const other = focused?.tagName === "BUTTON" && focused.getAttribute("role") !== "radio";
    const unchosen = focused?.getAttribute("role") === "radio" && focused.getAttribute("aria-checked") !== "true";
    if (other || unchosen) return; // the button itself is meant
    confirm();
  } else if (slider && event.key.startsWith("Arrow")) return;
  else if (event.key === "Backspace") takeBack();
  else if (state.kind === "rating" && /^[1-9]$/.test(event.key)) choose(active, event.key);
  else if (state.kind === "rating" && (event.key === "ArrowUp" || event.key === "ArrowDown")) {
    active = Math.min(questions().length - 1, Math.max(0, active + (event.key === "ArrowUp" ? -1 : 1)));
    showChosen();
  } else if (state.answers.includes(KEYS[event.key] ?? KEYS[event.key.toLowerCase()])) {
    choose(0, KEYS[event.key] ?? KEYS[event.key.toLowerCase()]);
  } else if (!viewKey(event.key)) return;
  event.preventDefault();
}

// Answers are final once confirmed; before, the last one is taken back.
function takeBack() {
  const given = questions().filter((question) => question in chosen);
  if (!given.length) return;
  const last = questions()[active] in chosen ? questions()[active] : given[given.length - 1];
  delete chosen[last];
  active = questions().indexOf(last);
  showChosen();
}

function viewKey(key) {
  const { window, level } = viewer.view;
  const actions = {
    "+": () => viewer.zoomBy(1.25), "=": () => viewer.zoomBy(1.25), "-": () => viewer.zoomBy(0.8),
    0: () => viewer.fit(), x: () => viewer.reset(), h: () => element("instructions").showModal(),
    n: () => viewer.grey(window / 1.15, level), w: () => viewer.grey(window * 1.15, level),
    d: () => viewer.grey(window, level + 0.04 * window), b: () => viewer.grey(window, level - 0.04 * window),
  };
  const action = actions[key.toLowerCase()];
  if (!action) return false;
  action();
  return true;
}

// ---- instructions

function explain() {
  const answer = state.kind === "rating" ? [`1 – ${state.points}`, "rate the marked criterion; ↑ ↓ change it"]
    : [state.answers.map((each) => WORDS[each][1]).join("  "), state.answers.map((each) => WORDS[each][0]).join(", ")];
  const lines = [
    answer, ["Enter, Space", "confirm"], ["Backspace", "take back before confirming"],
    ["+ −  wheel", "zoom; 0 fits"], ["drag, Shift + arrows", "move"],
    ["n  w", "narrower, wider window"], ["d  b", "darker, brighter"],
    ["right or Shift-drag", "window across, level down"], ["x", "reset the view"], ["h", "this help"],
  ];
  element("keys").replaceChildren(...lines.flatMap(([keys, meaning]) => [
    Object.assign(document.createElement("dt"), { textContent: keys }),
    Object.assign(document.createElement("dd"), { textContent: meaning }),
  ]));
  const what = {
    "real-or-synthetic": "You will see one image at a time. Say of each whether it is real or was made by a computer.",
    "which-is-real": "You will see two images of the same subject. One is real, the other was made by a computer.",
    preference: "You will see two images of the same subject, made in two ways.",
    rating: `You will see one image at a time. Rate it on each criterion from 1 (worst) to ${state.points} (best).`,
  };
  const { of, repeated } = state;
  const items = `${of - repeated} ${of - repeated === 1 ? "item" : "items"}, ${repeated || "none"} repeated`;
  element("workload").textContent = `You will give ${of} ${of === 1 ? "answer" : "answers"} (${items}).`;
  element("instructions-text").textContent = `${what[state.kind]} ${state.question}`;
}

async function begin() {
  element("start-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      location.assign((await ask("/start", { name: element("name").value })).link);
    } catch (error) {
      trouble(`${sentence(error.message)} Reload the page to try again.`);
    }
  });
  if (location.pathname === "/") {
    only("start");
    return element("name").focus();
  }
  document.addEventListener("keydown", pressed);
  element("answering").addEventListener("submit", (event) => { event.preventDefault(); confirm(); });
  const clicks = {
    "zoom-in": () => viewer.zoomBy(1.25), "zoom-out": () => viewer.zoomBy(0.8), fit: () => viewer.fit(),
    reset: () => viewer.reset(), help: () => element("instructions").showModal(),
  };
  for (const [id, action] of Object.entries(clicks)) element(id).addEventListener("click", action);
  element("window").addEventListener("input", (event) => {
    viewer.grey((event.target.value / 1000) ** 2, viewer.view.level);
  });
  element("level").addEventListener("input", (event) => viewer.grey(viewer.view.window, event.target.value / 1000));
  element("instructions").addEventListener("close", () => { began = performance.now(); });
  try {
    await render(await ask(`${location.pathname}/state`));
    explain();
    if (state.trial === 0) element("instructions").showModal();
  } catch (error) {
    trouble(`${sentence(error.message)} Reload the page.`);
  }
}

begin();
