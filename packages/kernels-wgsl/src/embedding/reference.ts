/** Float64 references of the embedding ops. */
import { ndarray, type ReferenceTable } from "../testing/cases.ts";

export const embeddingReference = {
  embedding: ([table, ids]) => {
    const [rows, width] = table!.shape as [number, number];
    const out = ndarray([...ids!.shape, width]);
    ids!.data.forEach((id, i) => {
      if (id >= 0 && id < rows) out.data.set(table!.data.subarray(id * width, (id + 1) * width), i * width);
    });
    return out;
  },
  embeddingBackward: ([gradient, ids], { rows }: { rows: number }) => {
    const width = gradient!.shape.at(-1)!;
    const out = ndarray([rows, width]);
    ids!.data.forEach((id, i) => {
      if (id < 0 || id >= rows) return;
      for (let c = 0; c < width; c++) out.data[id * width + c]! += gradient!.data[i * width + c]!;
    });
    return out;
  },
} satisfies ReferenceTable;
