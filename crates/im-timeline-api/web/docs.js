"use strict";
// A form for each call that the description names.

const make = (kind, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(kind), properties);
  element.append(...children);
  return element;
};

const resolved = (description, schema) =>
  schema.$ref ? schema.$ref.replace("#/", "").split("/").reduce((at, name) => at[name], description) : schema;

/** An example body: each field with the example that the description gives. */
function example(description, schema) {
  const { properties = {} } = resolved(description, schema);
  const value = (field) => field.example ?? ([].concat(field.type).includes("array") ? ["a", "b"] : undefined);
  return Object.fromEntries(Object.entries(properties).map(([name, field]) => [name, value(field)]).filter(([, value]) => value !== undefined));
}

function form(description, path, method, operation) {
  const parameters = (operation.parameters ?? []).map((parameter) => ({
    ...parameter,
    input: make("input", { autocomplete: "off", required: parameter.required === true, name: parameter.name }),
  }));
  const schema = operation.requestBody?.content["application/json"].schema;
  const body = schema && make("textarea", { value: JSON.stringify(example(description, schema), null, 2), rows: 7, name: "body" });
  const answer = make("pre");
  const fields = parameters.map((parameter) =>
    make("label", {}, `${parameter.name}: ${parameter.description}`, parameter.input));
  if (body) fields.push(make("label", {}, "body", body));
  const element = make("form", {}, ...fields, make("button", { className: "main", textContent: `${method.toUpperCase()} ${path}` }));
  element.addEventListener("submit", async (event) => {
    event.preventDefault();
    const query = new URLSearchParams();
    let target = path;
    for (const { in: place, name, input } of parameters) {
      if (place === "path") target = target.replace(`{${name}}`, encodeURIComponent(input.value));
      else if (input.value !== "") query.set(name, input.value);
    }
    const token = document.getElementById("token").value.trim();
    const headers = { ...(token && { authorization: `Bearer ${token}` }), ...(body && { "content-type": "application/json" }) };
    try {
      const response = await fetch(`.${target}${query.size ? `?${query}` : ""}`, { method: method.toUpperCase(), headers, body: body?.value });
      const text = await response.text();
      let pretty = text;
      try { pretty = JSON.stringify(JSON.parse(text), null, 2); } catch { /* shown as it came */ }
      answer.textContent = `${response.status}\n${pretty}`;
    } catch (error) {
      answer.textContent = error.message;
    }
  });
  return make("section", { id: operation.operationId }, make("h2", { textContent: operation.summary ?? operation.operationId }), element, answer);
}

fetch("openapi.json").then((response) => response.json()).then((description) => {
  const calls = Object.entries(description.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => form(description, path, method, operation)));
  document.getElementById("calls").append(...calls);
}).catch((error) => {
  document.getElementById("note").textContent = error.message;
});
