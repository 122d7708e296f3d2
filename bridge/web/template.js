// Copies of what index.html keeps in templates.

export function copyOf(id) {
  return document.getElementById(id).content.firstElementChild.cloneNode(true);
}
