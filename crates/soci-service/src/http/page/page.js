// Asks for the page again and again and puts what has changed into place, so that the reader's
// selection, focus and scroll position stay.
(() => {
  "use strict";
  const PERIOD = 2000;
  const PERIOD_UNSEEN = 15000;
  const PATIENCE = 5000;

  const page = document.getElementById("page");
  const silence = document.getElementById("silence");
  let answered = new Date();
  let timer;
  let asking = false;

  async function turn() {
    if (asking) return;
    asking = true;
    clearTimeout(timer);
    try {
      const response = await fetch(location.pathname + location.search, {
        cache: "no-store",
        signal: AbortSignal.timeout(PATIENCE),
      });
      if (!response.ok) throw new Error(`status ${response.status}`);
      const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
      if (fresh.documentElement.dataset.build !== document.documentElement.dataset.build) {
        location.reload();
        return;
      }
      const next = fresh.getElementById("page");
      asTheReadersClock(next);
      keepWhatIsTyped(next);
      patch(page, next);
      document.title = fresh.title;
      hear();
    } catch {
      tellSilence();
    }
    asking = false;
    timer = setTimeout(turn, document.hidden ? PERIOD_UNSEEN : PERIOD);
  }

  // Points in time are written in UTC; the reader has another clock.
  function asTheReadersClock(part) {
    for (const time of part.querySelectorAll("time[datetime]")) {
      const at = new Date(time.dateTime);
      if (Number.isNaN(at.getTime())) continue;
      const local = at.toLocaleString([], { dateStyle: "medium", timeStyle: "medium" });
      time.title = `${local} (${time.dateTime})`;
      if (time.classList.contains("clock")) time.textContent = local;
    }
  }

  // A choice that the reader makes and has not sent yet stays.
  function keepWhatIsTyped(part) {
    const form = page.querySelector("form.filter");
    const fresh = part.querySelector("form.filter");
    if (form && fresh && form.matches(":focus-within")) fresh.replaceWith(document.importNode(form, true));
  }

  function hear() {
    answered = new Date();
    silence.hidden = true;
    silence.textContent = "";
    document.body.classList.remove("is-silent");
  }

  function tellSilence() {
    if (silence.hidden) {
      silence.textContent =
        `The service has not answered since ${answered.toLocaleTimeString()}. ` +
        "What is shown is from then; it goes on as soon as there is an answer.";
      silence.hidden = false;
      document.body.classList.add("is-silent");
    }
  }

  // Makes an element like a fresh one and keeps its nodes where they stand for the same.
  function patch(old, fresh) {
    for (const { name } of [...old.attributes]) {
      if (!fresh.hasAttribute(name) && name !== "open") old.removeAttribute(name);
    }
    for (const { name, value } of fresh.attributes) {
      if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
    const known = new Map();
    for (const child of old.children) {
      if (child.dataset.key) known.set(child.dataset.key, child);
    }
    let at = old.firstChild;
    for (const child of [...fresh.childNodes]) {
      const key = keyOf(child);
      const match = key ? known.get(key) : at;
      if (!match || !standsFor(match, child, key)) {
        old.insertBefore(document.importNode(child, true), at);
        continue;
      }
      if (match === at) at = at.nextSibling;
      else old.insertBefore(match, at);
      if (child.nodeType === Node.ELEMENT_NODE) patch(match, child);
      else if (match.data !== child.data) match.data = child.data;
    }
    while (at) {
      const next = at.nextSibling;
      at.remove();
      at = next;
    }
  }

  function keyOf(node) {
    return node.nodeType === Node.ELEMENT_NODE ? node.dataset.key : undefined;
  }

  function standsFor(node, fresh, key) {
    return node.nodeName === fresh.nodeName && keyOf(node) === key;
  }

  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) turn();
  });
  asTheReadersClock(page);
  timer = setTimeout(turn, PERIOD);
})();
