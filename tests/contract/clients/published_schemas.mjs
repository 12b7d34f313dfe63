// Reads [[validator, body], ...] from stdin and prints what the validators that Rocket.Chat publishes say: [true, ...].
import { existsSync, readFileSync } from "node:fs";
import { register } from "node:module";
import { pathToFileURL } from "node:url";

// The package is written for bundlers: its imports leave out extensions and name folders. This hook fills them in.
const hook = `
  import { existsSync } from "node:fs";
  import { fileURLToPath } from "node:url";
  export async function resolve(name, context, next) {
    if (name.startsWith(".") && context.parentURL) {
      const path = fileURLToPath(new URL(name, context.parentURL));
      for (const tail of ["", ".js", "/index.js"])
        if ((path + tail).endsWith(".js") && existsSync(path + tail)) return next(name + tail, context);
    }
    try {
      return await next(name, context);
    } catch (error) {
      if (error.code === "ERR_MODULE_NOT_FOUND") return next(name + ".js", context);
      throw error;
    }
  }`;
register(`data:text/javascript,${encodeURIComponent(hook)}`);

const entry = `${process.env.MODULES}/@rocket.chat/rest-typings/dist/index.js`;
if (!existsSync(entry)) throw new Error(`${entry} is missing`);
const validators = await import(pathToFileURL(entry).href);
const verdicts = JSON.parse(readFileSync(0, "utf8")).map(([name, body]) => {
  if (!validators[name]) throw new Error(`no validator ${name}`);
  return Boolean(validators[name](body));
});
process.stdout.write(`${JSON.stringify(verdicts)}\n`);
