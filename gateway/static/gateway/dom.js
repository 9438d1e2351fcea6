// Elements of the page, looked up with their kind. One that is missing is a mistake in the page and says so.

/**
 * The first element below `parent` that `selector` matches.
 * @template {Element} E
 * @param {ParentNode} parent
 * @param {string} selector
 * @param {new () => E} kind
 */
export function find(parent, selector, kind) {
  return checked(parent.querySelector(selector), selector, kind);
}

/**
 * The control of a form that has this name.
 * @param {HTMLFormElement} form
 * @param {string} name
 */
export function field(form, name) {
  return checked(form.elements.namedItem(name), name, HTMLInputElement);
}

/**
 * @template {Element} E
 * @param {unknown} found
 * @param {string} name
 * @param {new () => E} kind
 */
function checked(found, name, kind) {
  if (!(found instanceof kind)) throw new TypeError(`The page has no ${kind.name} "${name}"`);
  return found;
}
