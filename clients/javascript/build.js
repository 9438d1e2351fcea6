// Builds the package: dist/ for npm with types, or, with a path behind it, one module for the demo page. What it runs is
// among the development packages of the repository.
//
//     node clients/javascript/build.js
//     node clients/javascript/build.js gateway/static/gateway/client.js [--check]

import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { build } from "esbuild";

const here = import.meta.dirname;
const banner = "// Made of clients/javascript/src by `make client`: change that, not this.";

function tsc(...args) {
  const script = join(dirname(createRequire(import.meta.url).resolve("typescript/package.json")), "bin", "tsc");
  execFileSync(process.execPath, [script, "--project", here, ...args], { stdio: "inherit" });
}

async function forNpm() {
  const dist = join(here, "dist");
  rmSync(dist, { recursive: true, force: true });
  tsc();
  // The compiler leaves the names of sources in declarations.
  for (const name of readdirSync(dist).filter((one) => one.endsWith(".d.ts"))) {
    const text = readFileSync(join(dist, name), "utf8");
    writeFileSync(join(dist, name), text.replace(/(from "\.\/[a-z]+)\.ts"/g, '$1.js"'));
  }
}

async function forThePage(outfile) {
  const { outputFiles } = await build({
    stdin: { contents: "export * from './src/index.ts'; export * from './src/ledger.ts';", resolveDir: here },
    outfile,
    write: false,
    absWorkingDir: here,
    bundle: true,
    format: "esm",
    target: "es2022",
    charset: "utf8",
    legalComments: "none",
    banner: { js: banner },
    logLevel: "warning",
  });
  return outputFiles[0].text;
}

const [outfile, check] = process.argv.slice(2);
if (outfile === undefined) await forNpm();
else {
  const text = await forThePage(outfile);
  if (check === undefined) writeFileSync(outfile, text);
  else if (readFileSync(outfile, "utf8") !== text) {
    console.error(`${outfile} is not what clients/javascript/src builds: make client`);
    process.exitCode = 1;
  }
}
