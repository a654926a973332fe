/**
 * Numbers for a monitoring system, in the Prometheus text exposition format (version 0.0.4): counters, gauges and
 * histograms, each with a name, a line of help and perhaps labels.
 *
 * Whoever counts registers a metric once and keeps what it gets back. What is known elsewhere anyway is read
 * when somebody asks (`gaugeOf`, `counterOf`), which costs nothing until then. Names and labels are the program's
 * own, never a stranger's; the number of series is bounded all the same.
 */

/** Series of one metric, that is sets of labels; more are counted as one, labelled `overflow="true"`. */
const maxSeries = 256;

const metricName = /^[a-z_][a-z0-9_]*$/;

/** What the text is sent as. */
export const metricsContentType = "text/plain; version=0.0.4; charset=utf-8";

/** Names and values of labels. */
export type Labels = Readonly<Record<string, string>>;

/** Only goes up. */
export interface Counter {
  add(amount?: number, labels?: Labels): void;
}

/** Goes up and down. */
export interface Gauge {
  set(value: number, labels?: Labels): void;
}

/** How observed values spread over ranges. */
export interface Histogram {
  observe(value: number): void;
}

/** One series of a metric that is read when somebody asks. */
export interface Sample {
  value: number;
  labels?: Labels;
}

interface Metric {
  name: string;
  help: string;
  type: "counter" | "gauge" | "histogram";
  lines(): string[];
}

export class MetricsRegistry {
  readonly #metrics = new Map<string, Metric>();

  /** By custom its name ends in `_total`. Throws for a name that is taken or none. */
  counter(name: string, help: string): Counter {
    const series = new SeriesTable(name);
    this.#register({ name, help, type: "counter", lines: () => series.lines() });
    return { add: (amount = 1, labels = {}) => series.add(amount, labels) };
  }

  gauge(name: string, help: string): Gauge {
    const series = new SeriesTable(name);
    this.#register({ name, help, type: "gauge", lines: () => series.lines() });
    return { set: (value, labels = {}) => series.set(value, labels) };
  }

  /** As `counter`, read when somebody asks. */
  counterOf(name: string, help: string, read: () => number | Sample[]): void {
    this.#register({ name, help, type: "counter", lines: () => readLines(name, read) });
  }

  /** As `gauge`, read when somebody asks. */
  gaugeOf(name: string, help: string, read: () => number | Sample[]): void {
    this.#register({ name, help, type: "gauge", lines: () => readLines(name, read) });
  }

  /** `bounds`: the upper ends of the ranges, rising; what lies above the last is counted, too. */
  histogram(name: string, help: string, bounds: readonly number[]): Histogram {
    const counts = bounds.map(() => 0);
    let count = 0;
    let sum = 0;
    const lines = () => {
      const buckets = bounds.map((bound, index) =>
        line(`${name}_bucket`, { le: formatNumber(bound) }, counts[index] ?? 0)
      );
      const all = line(`${name}_bucket`, { le: "+Inf" }, count);
      return [...buckets, all, line(`${name}_sum`, {}, sum), line(`${name}_count`, {}, count)];
    };
    this.#register({ name, help, type: "histogram", lines });
    const observe = (value: number) => {
      count++;
      sum += value;
      // Buckets are cumulative.
      for (const [index, bound] of bounds.entries()) {
        if (value <= bound) counts[index] = (counts[index] ?? 0) + 1;
      }
    };
    return { observe };
  }

  /** All metrics, sorted by name. */
  text(): string {
    const sorted = [...this.#metrics.values()].sort((a, b) => a.name < b.name ? -1 : 1);
    const lines = sorted.flatMap((metric) => [
      `# HELP ${metric.name} ${escapeHelp(metric.help)}`,
      `# TYPE ${metric.name} ${metric.type}`,
      ...metric.lines(),
    ]);
    return lines.map((each) => `${each}\n`).join("");
  }

  #register(metric: Metric): void {
    if (!metricName.test(metric.name)) throw new Error(`Cannot count ${metric.name}: a bad name`);
    if (this.#metrics.has(metric.name)) throw new Error(`Cannot count ${metric.name} twice`);
    this.#metrics.set(metric.name, metric);
  }
}

/** The values of one metric, one for each set of labels. */
class SeriesTable {
  readonly #name: string;
  readonly #values = new Map<string, { labels: Labels; value: number }>();

  constructor(name: string) {
    this.#name = name;
  }

  add(amount: number, labels: Labels): void {
    this.#entry(labels).value += amount;
  }

  set(value: number, labels: Labels): void {
    this.#entry(labels).value = value;
  }

  lines(): string[] {
    return [...this.#values.values()].map(({ labels, value }) => line(this.#name, labels, value));
  }

  #entry(labels: Labels): { labels: Labels; value: number } {
    const key = formatLabels(labels);
    const known = this.#values.get(key);
    if (known !== undefined) return known;
    const isFull = this.#values.size >= maxSeries && labels["overflow"] === undefined;
    if (isFull) return this.#entry({ overflow: "true" });
    const entry = { labels: { ...labels }, value: 0 };
    this.#values.set(key, entry);
    return entry;
  }
}

function readLines(name: string, read: () => number | Sample[]): string[] {
  const found = read();
  const samples = typeof found === "number" ? [{ value: found }] : found.slice(0, maxSeries);
  return samples.map(({ value, labels = {} }: Sample) => line(name, labels, value));
}

function line(name: string, labels: Labels, value: number): string {
  return `${name}${formatLabels(labels)} ${formatNumber(value)}`;
}

function formatLabels(labels: Labels): string {
  const entries = Object.entries(labels).sort(([a], [b]) => a < b ? -1 : 1);
  if (entries.length === 0) return "";
  return `{${entries.map(([name, value]) => `${name}="${escapeLabel(value)}"`).join(",")}}`;
}

function formatNumber(value: number): string {
  if (Number.isNaN(value)) return "NaN";
  if (value === Infinity) return "+Inf";
  return value === -Infinity ? "-Inf" : String(value);
}

function escapeHelp(text: string): string {
  return text.replaceAll("\\", "\\\\").replaceAll("\n", "\\n");
}

function escapeLabel(text: string): string {
  return escapeHelp(text).replaceAll('"', '\\"');
}
