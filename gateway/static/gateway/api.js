// The page of the HTTP API: Swagger UI, shown the gateway's own OpenAPI document. Nothing comes from elsewhere.

const page = /** @type {HTMLElement} */ (document.querySelector("#api"));
const { SwaggerUIBundle } = /** @type {any} */ (window);

// Its dark colours are behind a class.
const dark = matchMedia("(prefers-color-scheme: dark)");
const follow = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", follow);
follow();

SwaggerUIBundle({ domNode: page, url: page.dataset.document, deepLinking: true, validatorUrl: null });
