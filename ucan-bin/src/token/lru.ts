/** A map with a limit, which drops the least recently used entry. */

export class LruCache<Value> {
  readonly #limit: number;
  readonly #values = new Map<string, Value>();

  constructor(limit: number) {
    this.#limit = limit;
  }

  get(name: string): Value | undefined {
    const value = this.#values.get(name);
    if (value !== undefined) this.#putLast(name, value);
    return value;
  }

  set(name: string, value: Value): void {
    this.#putLast(name, value);
    for (const oldest of this.#values.keys()) {
      if (this.#values.size <= this.#limit) break;
      this.#values.delete(oldest);
    }
  }

  /** A map iterates in order of insertion. */
  #putLast(name: string, value: Value): void {
    this.#values.delete(name);
    this.#values.set(name, value);
  }
}
