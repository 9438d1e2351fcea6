// The page of the HTTP API: Swagger UI, shown the gateway's own OpenAPI document. Nothing comes from elsewhere.

const page = /** @type {HTMLElement} */ (document.querySelector("#api"));
const { SwaggerUIBundle } = /** @type {any} */ (window);

SwaggerUIBundle({ domNode: page, url: page.dataset.document, deepLinking: true, validatorUrl: null });
