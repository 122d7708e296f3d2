// Short notices in the corner; they are read out, and go by themselves.

const SHOWN_MS = 6000;

export function toast(text) {
  const shown = document.createElement("p");
  shown.className = "toast";
  shown.textContent = text;
  document.getElementById("toasts").append(shown);
  setTimeout(() => shown.remove(), SHOWN_MS);
}

/** Say `text` to who does not see the page: once for an answer, never for a token. */
export function announce(text) {
  document.getElementById("said").textContent = text;
}
