// Light or dark: as the system says, until the switch says otherwise.

const root = document.documentElement;
const dark = matchMedia("(prefers-color-scheme: dark)");

function now() {
  return root.dataset.theme ?? (dark.matches ? "dark" : "light");
}

function show(button) {
  button.setAttribute("aria-pressed", now() === "dark");
}

export function themed(button) {
  const kept = localStorage.getItem("theme");
  if (kept) root.dataset.theme = kept;
  show(button);
  dark.addEventListener("change", () => show(button));
  button.addEventListener("click", () => {
    root.dataset.theme = now() === "dark" ? "light" : "dark";
    localStorage.setItem("theme", root.dataset.theme);
    show(button);
  });
}
