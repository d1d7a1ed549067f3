/** `refl sample`: pictures for prompts, as PNG files that carry what draws them again. */
import { join } from "node:path";
import {
  type DrawnPicture,
  embedSampleRecord,
  picturesGrid,
  type RgbImage,
  type Run,
  readImageParameters,
  runSample,
  type SampleConfig,
  sampleConfig,
  sampleSource,
} from "@refl/refl";
import { encodePng, listFolder, makeFolder, readBytes, readImage, writeFileAtomic } from "@refl/refl/node";
import { DataError } from "@refl/tensor";
import { addConfigOptions, readConfig } from "../config-options.ts";
import { drive } from "../drive.ts";
import { jobContext, onDevice } from "../job.ts";
import type { CommandSlot } from "../program.ts";

/** Writes pictures as `<number>-<seed>-<index>.png` with numbers above all that the folder has, so that none is replaced. */
async function writePictures(folder: string, pictures: readonly DrawnPicture[]): Promise<string[]> {
  await makeFolder(folder);
  const taken = (await listFolder(folder)).map((name) => Number(/^(\d+)-/.exec(name)?.[1] ?? 0));
  let number = Math.max(0, ...taken);
  const files: string[] = [];
  for (const { image, record } of pictures) {
    const file = join(folder, `${String(++number).padStart(5, "0")}-${record.seed}-${record.index}.png`);
    await writeFileAtomic(file, embedSampleRecord(encodePng(image), record));
    files.push(file);
  }
  return files;
}

function sample(
  config: SampleConfig,
  init: RgbImage | null,
  recordedHash: string | undefined,
  signal: AbortSignal,
): Run<void> {
  return onDevice(async function* (device) {
    const pictures = yield* runSample(config, jobContext(device, null, signal), init);
    const hash = pictures[0]?.record.modelHash;
    if (recordedHash !== undefined && hash !== undefined && hash !== recordedHash)
      yield {
        type: "warning",
        message: `the picture was drawn with the weights ${recordedHash}, these are ${hash}: it will not come out the same`,
      };
    const files = await writePictures(config.out, pictures);
    if (config.grid !== undefined && pictures.length) {
      const grid = picturesGrid(pictures, config.count);
      await writeFileAtomic(config.grid, encodePng(grid));
      yield { type: "note", message: `grid: ${config.grid}` };
    }
    const rows = pictures.map(({ record }, i) => [files[i]!, record.prompt]);
    yield { type: "table", title: "Pictures", header: ["file", "prompt"], rows };
    yield { type: "result", summary: pictures.map(({ record }, i) => ({ file: files[i]!, ...record })) };
  }, config.tune);
}

/** Adds the command. */
export function addSampleCommand({ parent, act }: CommandSlot): void {
  const command = parent
    .command("sample")
    .description("draw pictures for prompts")
    .argument("[prompts...]", "prompts")
    .option("--from <image.png>", "take prompt, seed and all else from a picture's own parameters; flags go over them");
  const flags = addConfigOptions(command, sampleConfig, { positional: ["prompts"] });
  command.action((prompts: string[], { from }: { from?: string }) =>
    act(async (context) => {
      const parameters = from === undefined ? undefined : readImageParameters(await readBytes(from), from);
      const under = parameters ? [sampleSource(parameters, from!)] : [];
      const config = await readConfig(sampleConfig, flags, { under, over: prompts.length ? { prompts } : {} });
      if (!config.prompts.length)
        throw new DataError(
          "sample",
          0,
          "prompts",
          'give a prompt, as in refl sample "a big cat on a blue background"',
        );
      const hash = parameters && "version" in parameters ? parameters.modelHash : undefined;
      const init = config.initImage === undefined ? null : await readImage(config.initImage);
      await drive(context, (signal) => sample(config, init, hash, signal));
      return undefined;
    }),
  );
}
