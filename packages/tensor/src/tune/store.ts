/** Where tuners keep their tables between runs. */

/** Texts by name. Both methods may reject; a tuner then warns and goes on without. */
export interface TuneStore {
  /** Where a name's text lies, for messages. */
  place(name: string): string;
  /** Null where there is none. */
  load(name: string): Promise<string | null>;
  /** Replaces the text as a whole: a reader finds the old or the new one. */
  save(name: string, text: string): Promise<void>;
}

/** The part of `localStorage` that is used. */
export type KeyValueStorage = Pick<globalThis.Storage, "getItem" | "setItem">;

/** A store in a page's `localStorage`, whose items are replaced as a whole. */
export function webTuneStore(storage: KeyValueStorage): TuneStore {
  return {
    place: (name) => `localStorage item refl/${name}`,
    load: async (name) => storage.getItem(`refl/${name}`),
    save: async (name, text) => storage.setItem(`refl/${name}`, text),
  };
}

/** A store in memory: what is learnt ends with the process. */
export function memoryTuneStore(): TuneStore {
  const texts = new Map<string, string>();
  return {
    place: (name) => `${name} in memory`,
    load: async (name) => texts.get(name) ?? null,
    save: async (name, text) => void texts.set(name, text),
  };
}
