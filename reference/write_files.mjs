/** Writes adapters in every form and a Stable Diffusion shaped folder for `reference/check_files.py`: `node reference/write_files.mjs FOLDER`. */
import { rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { build } from "esbuild";
import { embedWgsl, KERNELS } from "../scripts/embed-wgsl.mjs";

const root = fileURLToPath(new URL("..", import.meta.url));
const folder = process.argv[2];
if (!folder) {
  console.error("usage: node reference/write_files.mjs FOLDER");
  process.exit(2);
}
embedWgsl(KERNELS, { write: true });
const bundle = join(root, ".cache", "write-files.mjs");
await build({
  stdin: {
    contents:
      'export * from "@refl/models"; export * from "@refl/models/node"; export { createDevice } from "@refl/tensor"; export { nodeHost } from "@refl/tensor/node";',
    resolveDir: join(root, "packages", "refl"),
    loader: "ts",
  },
  bundle: true,
  outfile: bundle,
  platform: "node",
  format: "esm",
  target: "node20",
  conditions: ["source"],
  external: ["webgpu"],
});
const {
  AutoencoderCodec,
  AutoencoderKL,
  CLIPTextModel,
  CLIPTokenizer,
  clipVocabulary,
  createDevice,
  fillSeeded,
  float32Entry,
  loraPaths,
  nodeFolder,
  nodeHost,
  peftConfig,
  PNDMScheduler,
  TextToImagePipeline,
  UNet2DConditionModel,
  writeLora,
  writeSafetensors,
} = await import(pathToFileURL(bundle).href);
rmSync(bundle);

/** The same small numbers as in check_files.py. */
const numbers = (shape, first) =>
  Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => (((i * 7 + first) % 23) - 11) / 16);

const target = nodeFolder(folder);
const { unet } = await nodeFolder(join(root, "packages/models/test/golden/checkpoints")).readJson("lora.json");
const shapes = new UNet2DConditionModel(unet).shapes();
const projections = loraPaths(new UNet2DConditionModel(unet)).filter((path) => /\.(to_q|to_k|to_out\.0|proj)$/.test(path));
const weights = new Map(
  projections.map((path, i) => {
    const [out, inside] = shapes.get(`${path}.weight`);
    const rank = i % 3 === 0 ? 3 : 2;
    const matrix = (rows, columns, first) => float32Entry("", [rows, columns], numbers([rows, columns], first));
    return [path, { down: matrix(rank, inside, i), up: matrix(out, rank, i + 5), alpha: i % 4 === 1 ? 5 : 3 }];
  }),
);
await target.writeJson("unet.json", unet);
await target.writeJson(
  "layers.json",
  [...weights].map(([path, { down, alpha }]) => ({ path, rank: down.shape[0], alpha })),
);
// diffusers 0.42 takes the alphas of attention layers from kohya's form only where all are equal.
const equal = new Map([...weights].map(([path, layer]) => [path, { ...layer, alpha: 3 }]));
await target.write("kohya.safetensors", writeLora(equal, "kohya", { metadata: { ss_base_model_version: "sd_v1" } }));
await target.write("diffusers.safetensors", writeLora(weights, "diffusers"));
await target.write("peft/adapter_model.safetensors", writeLora(weights, "peft"));
await target.writeJson("peft/adapter_config.json", peftConfig(weights));
const values = numbers([3, 5], 2);
const dtypes = ["F32", "F16", "BF16"];
const entries = dtypes.map((dtype) => float32Entry(dtype, [3, 5], values, dtype));
await target.write("tensors.safetensors", writeSafetensors(entries, { format: "pt", note: "ünï" }));

/** The model of the golden pictures, through a device and a pipeline's own writer. */
async function writeModel() {
  const model = await nodeFolder(join(root, "packages/models/test/golden")).readJson("pipelines.json");
  const device = await createDevice({ host: nodeHost() });
  const seeded = (made, prefix) => fillSeeded(made, device, { prefix });
  const pipeline = new TextToImagePipeline(device, {
    tokenizer: new CLIPTokenizer({ vocab: clipVocabulary(model.merges), merges: model.merges }),
    textEncoder: seeded(new CLIPTextModel(model.text_encoder), "text_encoder."),
    unet: seeded(new UNet2DConditionModel(model.unet), "unet."),
    scheduler: new PNDMScheduler(model.cases.pndm.scheduler),
    codec: new AutoencoderCodec(seeded(new AutoencoderKL(model.kl), "vae.")),
  });
  await pipeline.save(nodeFolder(join(folder, "stable")));
  pipeline.dispose();
  device.dispose();
}
await writeModel();
// Dawn's threads would keep the process.
process.exit(0);
