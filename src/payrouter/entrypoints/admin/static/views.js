// Which part of the page is shown, by the address behind the #, and the search field.

import { $, attribute, show } from "/assets/dom.js";

/**
 * Follow the address. `views`: { name: { show(parameter), hide() } } for `#name` and `#name=parameter`; anything else
 * is the first. The first view is shown without moving the focus.
 */
export function follow(views) {
  const names = Object.keys(views);
  let current = null;

  function go() {
    const [name, ...rest] = location.hash.slice(1).split("=");
    const known = names.includes(name) ? name : names[0];
    if (current !== null && current !== known) views[current].hide();
    for (const one of names) show($(`view-${one}`), one === known);
    for (const link of document.querySelectorAll("nav a")) {
      attribute(link, "aria-current", link.getAttribute("href") === `#${known}` ? "page" : null);
    }
    const moved = current !== null && current !== known;
    current = known;
    if (moved) {
      scrollTo(0, 0);
      $(`view-${known}`).querySelector("h1").focus({ preventScroll: true });
    }
    views[known].show(decoded(rest.join("=")));
  }

  window.addEventListener("hashchange", go);
  $("skip").addEventListener("click", (event) => {
    event.preventDefault();
    $("main").focus();
  });
  $("find").addEventListener("submit", (event) => {
    event.preventDefault();
    const hash = `#payment=${encodeURIComponent($("find-id").value.trim())}`;
    if (location.hash === hash) go();
    else location.hash = hash;
  });
  go();
  return () => current;
}

function decoded(parameter) {
  try {
    return decodeURIComponent(parameter);
  } catch {
    return parameter;
  }
}
