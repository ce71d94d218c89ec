// What pieces of a page can do with a script: copy, count down, and show times in the reader's own zone.

const language = document.documentElement.lang;
const clock = new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "medium" });

/** Bring the pieces below an element to life; what was brought to life before stays as it is. */
export function enliven(root) {
  for (const button of root.querySelectorAll("button.copy[hidden]")) button.hidden = false;
  for (const time of root.querySelectorAll("time[datetime]:not([data-local])")) {
    time.dataset.local = "";
    time.title = time.textContent.trim();
    time.textContent = clock.format(new Date(time.dateTime));
  }
}

async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Pages without TLS have no clipboard of their own; this old way works there.
    const area = document.createElement("textarea");
    area.value = text;
    area.className = "sr";
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest?.("button.copy");
  if (!button || !(await copied(button.dataset.copy))) return;
  const [shown, label] = [button.innerHTML, button.getAttribute("aria-label")];
  if (button.dataset.copied !== undefined) return;
  button.dataset.copied = "";
  button.textContent = "✓";
  button.setAttribute("aria-label", button.dataset.done);
  button.focus();
  setTimeout(() => {
    button.innerHTML = shown;
    button.setAttribute("aria-label", label);
    delete button.dataset.copied;
  }, 1500);
});

enliven(document);
