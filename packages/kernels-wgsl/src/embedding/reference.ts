/** Float64 references of the embedding ops. */
import { ndarray, type ReferenceTable } from "../testing/cases.ts";

export const embeddingReference = {
  embedding: ([weight, ids]) => {
    const [rows, width] = weight!.shape as [number, number];
    const out = ndarray([...ids!.shape, width]);
    ids!.data.forEach((id, i) => {
      if (id < 0 || id >= rows) return;
      for (let j = 0; j < width; j++) out.data[i * width + j] = weight!.data[id * width + j]!;
    });
    return out;
  },
  embeddingBackward: ([g, ids], { rows }: { rows: number }) => {
    const width = g!.shape.at(-1)!;
    const out = ndarray([rows, width]);
    ids!.data.forEach((id, i) => {
      if (id < 0 || id >= rows) return;
      for (let j = 0; j < width; j++) out.data[id * width + j]! += g!.data[i * width + j]!;
    });
    return out;
  },
} satisfies ReferenceTable;
