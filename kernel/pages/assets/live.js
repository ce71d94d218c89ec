// Keeps a part of a page as it is now: what the server renders anew takes the place of what was shown.
import { enliven } from "./kit.js";

const live = document.getElementById("live");
const events = new EventSource(live.dataset.events);
events.addEventListener("part", (event) => {
  const held = document.activeElement?.closest("#live a")?.getAttribute("href");
  live.innerHTML = event.data;
  enliven(live);
  // Whoever goes by the keyboard stays where they were.
  if (held) live.querySelector(`a[href="${CSS.escape(held)}"]`)?.focus();
});
