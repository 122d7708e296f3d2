// The page's shortcuts, as its foot shows them. Keys are taken by their place: with Alt some systems write other signs.

/** `devices` gives those of the room. */
export function keys(devices) {
  const focused = () => devices().find(({ panel }) => panel.contains(document.activeElement));
  const acts = {
    KeyS: () => (focused() ?? devices()[0])?.room.stop(),
    KeyX: () => focused()?.drop(),
  };
  const go = (code) => devices().find(({ number }) => code === `Digit${number}`);

  document.addEventListener("keydown", (event) => {
    const act = event.altKey && !event.ctrlKey && !event.metaKey && (acts[event.code] ?? (go(event.code) && (() => go(event.code).focus())));
    const write = event.key === "/" && !event.altKey && !event.target.closest("input, select") && (() => devices()[0]?.focus());
    if (!act && !write) return;
    event.preventDefault();
    (act || write)();
  });
}
