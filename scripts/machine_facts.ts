/**
 * The machine that a measurement was made on, and when, in a line.
 */

export function machineFacts(): string {
  const cores = `${navigator.hardwareConcurrency} cores${processor()}`;
  const system = `${Deno.build.os} ${Deno.osRelease()}`;
  const date = new Date().toISOString().slice(0, 10);
  return [cores, system, `Deno ${Deno.version.deno}`, date].join(", ");
}

function processor(): string {
  try {
    const info = Deno.readTextFileSync("/proc/cpuinfo");
    const model = /^model name\s*:\s*(.*)$/m.exec(info)?.[1];
    return model === undefined ? "" : ` (${model})`;
  } catch {
    return "";
  }
}
