/** Runs targets on inputs that it makes, and keeps those that reach something new. */

import { mutated } from "./mutate.ts";
import { Random } from "./random.ts";

export interface Target {
  readonly name: string;
  readonly seeds: readonly string[];
  /** @throws where something is not as it must be. */
  readonly run: (input: string) => void;
}

export interface Limits {
  readonly seed: number;
  readonly seconds?: number;
  readonly executions?: number;
  /** How often each branch was taken; the instrumented code adds to it. */
  readonly hits?: Uint32Array;
}

export interface Found {
  readonly target: string;
  readonly input: string;
  readonly error: string;
}

export interface Report {
  readonly executions: number;
  readonly taken: number;
  readonly found: readonly Found[];
  readonly targets: readonly {
    readonly name: string;
    readonly executions: number;
    readonly corpus: number;
    readonly taken: number;
  }[];
}

/** Milliseconds that one input may take, on a machine that does other work too. */
const PATIENCE = 5000;

/** Of one fault the first few inputs are enough. */
const MOST_FOUND = 20;

class Campaign {
  readonly target: Target;
  readonly corpus: string[];
  /** Of each branch how often it was taken at most, by powers of two. */
  readonly seen: Uint8Array;
  executions = 0;

  constructor(target: Target, branches: number) {
    this.target = target;
    this.corpus = [...target.seeds];
    this.seen = new Uint8Array(branches);
  }

  get taken(): number {
    return this.seen.reduce((sum, level) => sum + Number(level > 0), 0);
  }

  /** Run one input; what was found, if anything. */
  step(random: Random, hits: Uint32Array): Found | undefined {
    const known = this.corpus[this.executions];
    const fresh = this.executions++ >= this.target.seeds.length || known === undefined;
    const input = fresh ? mutated(random.one(this.corpus), random.one(this.corpus), random) : known;
    hits.fill(0);
    const start = performance.now();
    try {
      this.target.run(input);
    } catch (error) {
      const { name } = this.target;
      return { target: name, input, error: error instanceof Error ? String(error.stack) : "" };
    }
    const took = performance.now() - start;
    if (took > PATIENCE) return { target: this.target.name, input, error: `took ${took} ms` };
    if (this.#isNew(hits) && fresh) this.corpus.push(input);
    return undefined;
  }

  /** Whether a branch was taken more often than ever before. */
  #isNew(hits: Uint32Array): boolean {
    let found = false;
    for (let branch = 0; branch < hits.length; branch++) {
      const level = 32 - Math.clz32(hits[branch] ?? 0);
      if (level <= (this.seen[branch] ?? 0)) continue;
      this.seen[branch] = level;
      found = true;
    }
    return found;
  }
}

export function fuzz(targets: readonly Target[], limits: Limits): Report {
  const { seed, seconds = Infinity, executions = Infinity, hits = new Uint32Array(0) } = limits;
  const random = new Random(seed);
  const campaigns = targets.map((target) => new Campaign(target, hits.length));
  const found: Found[] = [];
  const until = performance.now() + seconds * 1000;
  let done = 0;
  while (done < executions && performance.now() < until && found.length < MOST_FOUND) {
    for (const campaign of campaigns) {
      const fault = campaign.step(random, hits);
      if (fault !== undefined) found.push(fault);
      done++;
    }
  }
  const taken = hits.reduce(
    (sum, _, branch) => sum + Number(campaigns.some(({ seen }) => seen[branch])),
    0,
  );
  return {
    executions: done,
    taken,
    found,
    targets: campaigns.map(({ target: { name }, executions, corpus, taken }) => ({
      name,
      executions,
      corpus: corpus.length,
      taken,
    })),
  };
}
