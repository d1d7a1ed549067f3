/** Pulls the files of a model with this project's client: `node reference/pull_files.mjs OWNER/NAME [FOLDER]`, and prints each file's state. Hub and cache come from the environment. */
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const SOURCE = `
  import { parseModelId } from "@refl/models";
  import { hubSettings, pullModel } from "@refl/models/node";
  export const pull = async (id, localDir) => pullModel(parseModelId(id), { settings: await hubSettings(), localDir });
`;

const { outputFiles } = await build({
  stdin: { contents: SOURCE, resolveDir: fileURLToPath(new URL("../packages/refl", import.meta.url)) },
  absWorkingDir: dirname(fileURLToPath(import.meta.url)),
  bundle: true,
  write: false,
  platform: "node",
  format: "esm",
  conditions: ["source"],
  logLevel: "error",
});
const { pull } = await import(`data:text/javascript;base64,${Buffer.from(outputFiles[0].text).toString("base64")}`);
const [id, folder] = process.argv.slice(2);
const { files } = await pull(id, folder);
console.log(JSON.stringify(Object.fromEntries(files.map(({ file, state }) => [file, state]))));
