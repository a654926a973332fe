import { assertEquals, assertThrows } from "@std/assert";
import { MetricsRegistry } from "../lib/metrics.ts";

Deno.test("text() gives every metric its help, type and series, sorted by name", () => {
  const metrics = new MetricsRegistry();
  const requests = metrics.counter("requests_total", "Requests\nby \\ kind.");
  metrics.gaugeOf("peers", "Peers now.", () => 3);
  requests.add();
  requests.add(2, { kind: 'a "b"\n\\' });
  requests.add(1, { kind: 'a "b"\n\\' });
  assertEquals(metrics.text().split("\n"), [
    "# HELP peers Peers now.",
    "# TYPE peers gauge",
    "peers 3",
    "# HELP requests_total Requests\\nby \\\\ kind.",
    "# TYPE requests_total counter",
    "requests_total 1",
    'requests_total{kind="a \\"b\\"\\n\\\\"} 3',
    "",
  ]);
});

Deno.test("histogram() counts each value in every range that reaches it", () => {
  const metrics = new MetricsRegistry();
  const seconds = metrics.histogram("wait_seconds", "Waiting.", [0.1, 1]);
  for (const value of [0.05, 0.1, 0.5, 7]) seconds.observe(value);
  assertEquals(metrics.text().split("\n").slice(2, -1), [
    'wait_seconds_bucket{le="0.1"} 2',
    'wait_seconds_bucket{le="1"} 3',
    'wait_seconds_bucket{le="+Inf"} 4',
    "wait_seconds_sum 7.65",
    "wait_seconds_count 4",
  ]);
});

Deno.test("gauges hold the last value, and read ones may have labels", () => {
  const metrics = new MetricsRegistry();
  const size = metrics.gauge("size", "Size.");
  size.set(5);
  size.set(-1.5);
  size.set(Infinity, { of: "b" });
  metrics.counterOf("sent_total", "Sent.", () => [{ value: 1, labels: { to: "x", by: "y" } }]);
  assertEquals(metrics.text().split("\n").filter((line) => !line.startsWith("#")), [
    'sent_total{by="y",to="x"} 1',
    "size -1.5",
    'size{of="b"} +Inf',
    "",
  ]);
});

Deno.test("a metric's series are bounded", () => {
  const metrics = new MetricsRegistry();
  const counter = metrics.counter("many_total", "Many.");
  for (let index = 0; index < 1000; index++) counter.add(1, { index: String(index) });
  const series = metrics.text().split("\n").filter((line) => line.startsWith("many_total"));
  assertEquals([series.length, series.at(-1)], [257, 'many_total{overflow="true"} 744']);
});

Deno.test("a metric is registered once, under a name that Prometheus takes", () => {
  const metrics = new MetricsRegistry();
  metrics.counter("a_total", "A.");
  assertThrows(() => metrics.gauge("a_total", "A."), Error, "twice");
  assertThrows(() => metrics.gauge("a-b", "A."), Error, "bad name");
});
