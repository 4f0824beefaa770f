// Small helpers over the document. Text goes in as text, never as markup.

export const $ = (id) => document.getElementById(id);

const SVG = "http://www.w3.org/2000/svg";

/** Make an element: `el("a", { href, class, onclick, text }, ...children)`. Null children are left out. */
export function el(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

/** The same for SVG. */
export function svg(name, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, name), attributes, children);
}

function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "text") node.textContent = value;
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

/** Change text only where it differs: an unchanged page costs no layout and disturbs no selection. */
export function text(node, value) {
  if (node.textContent !== value) node.textContent = value;
}

/** The same for an attribute; null takes it away. */
export function attribute(node, name, value) {
  if (value === null) node.removeAttribute(name);
  else if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value);
}

export function show(node, shown) {
  if (node.hidden === shown) node.hidden = !shown;
}

/** A shape of the page's symbols. */
export function icon(name) {
  return svg("svg", { class: "icon", "aria-hidden": "true" }, svg("use", { href: `#i-${name}` }));
}

/** A word with its shape and colour: never colour alone. */
export function chip(kind, shape, word) {
  return el("span", { class: `chip ${kind}` }, icon(shape), el("span", { text: word }));
}

/** A table's row; roles are written out as narrow screens lay tables out as blocks. Cells: node, or [label, node, class]. */
export function row(...cells) {
  return el("tr", { role: "row" }, ...cells.map(([label, content, kind]) =>
    el("td", { role: "cell", class: kind, "data-label": label || null }, content)));
}

/** Keep children in step with keys: made once per key, in order, gone with their key. Returns the nodes by key. */
export function keyed(parent, keys, make) {
  const present = new Map([...parent.children].map((node) => [node.dataset.key, node]));
  const nodes = new Map();
  let before = parent.firstElementChild;
  for (const key of keys) {
    let node = present.get(key);
    present.delete(key);
    if (!node) {
      node = make(key);
      node.dataset.key = key;
    }
    if (node === before) before = before.nextElementSibling;
    else parent.insertBefore(node, before);
    nodes.set(key, node);
  }
  for (const node of present.values()) node.remove();
  return nodes;
}

/** Tell a screen reader something once, without showing it. */
export function announce(message) {
  text($("announce"), message);
}

/** Ask before something happens; resolves to true or false. Escape is no. */
export function confirmed(title, message, yes) {
  const dialog = $("confirm");
  text($("confirm-title"), title);
  text($("confirm-text"), message);
  text($("confirm-yes"), yes);
  return new Promise((resolve) => {
    let answer = false;
    $("confirm-yes").onclick = () => { answer = true; dialog.close(); };
    $("confirm-no").onclick = () => dialog.close();
    dialog.addEventListener("close", () => resolve(answer), { once: true });
    dialog.showModal();
    $("confirm-no").focus();
  });
}
